"""What is asked of NVIDIA's driver, and what its refusals become; a fake plays the driver.

The fake does work as late as streams and events allow: a copy from memory that has been filled anew
too soon copies the wrong bytes.
"""

import ctypes
import sys
from collections import Counter
from collections.abc import Callable
from enum import Enum, IntEnum
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.vm.backends.cuda.emulated_device import EmulatedDevice, run_grid

from bcai.base.errors import RefusedError, ResourceError
from bcai.vm.backends.cuda.backend import CudaBackend, what_is_missing
from bcai.vm.backends.cuda.device import Stream
from bcai.vm.backends.cuda.driver import CudaDevice
from bcai.vm.backends.cuda.executable import CudaExecutable
from bcai.vm.backends.cuda.grid import THREADS_PER_BLOCK
from bcai.vm.backends.cuda.product import ProductKernel
from bcai.vm.backends.cuda.work import BLOCK_BYTES
from bcai.vm.backends.native.objects import this_machine
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.types import Array, DType, parse_type
from bcai.vm.program.builder import Builder

KERNEL = ProductKernel(DType.float32, (2, 3), (4, 0, 1), (0, 1, 3), (3, 1), 4)


MEMORY_BYTES = 3 * BLOCK_BYTES
"""Most that the fake allocates at once."""


class Status(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100


class Attribute(Enum):
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class FakeDriver:
    """The functions of `cuda.bindings.driver` that are used: each gives a status and results."""

    CUdevice_attribute = Attribute

    def __init__(self, capability: tuple[int, int] = (9, 0), init: Status | None = None) -> None:
        self.capability, self.init = capability, init or Status.CUDA_SUCCESS
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.memory: dict[int, Any] = {}
        self.ptx = ""
        self.queues: list[list[Callable[[], object]]] = []
        self.finished: Counter[int] = Counter()
        self.events: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return (Status.CUDA_SUCCESS, f"a {name}")

        return call

    def cuInit(self, _: int) -> Any:  # noqa: N802
        return (self.init,)

    def cuDeviceGetAttribute(self, which: Attribute, _: str) -> Any:  # noqa: N802
        return (Status.CUDA_SUCCESS, self.capability[which.value - 75])

    def cuDeviceGetName(self, length: int, _: str) -> Any:  # noqa: N802
        return (Status.CUDA_SUCCESS, b"A fast one".ljust(length, b"\0"))

    def cuModuleLoadData(self, address: int) -> Any:  # noqa: N802
        self.ptx = ctypes.string_at(address).decode()
        return (Status.CUDA_SUCCESS, "module")

    def cuMemAlloc(self, nbytes: int) -> Any:  # noqa: N802
        if nbytes > MEMORY_BYTES:
            return (Status.CUDA_ERROR_OUT_OF_MEMORY, 0)
        memory = ctypes.create_string_buffer(nbytes)
        address = ctypes.addressof(memory)
        self.memory[address] = memory
        return (Status.CUDA_SUCCESS, address)

    cuMemAllocHost = cuMemAlloc  # noqa: N815

    def cuMemFree(self, address: int) -> Any:  # noqa: N802
        del self.memory[address]
        return (Status.CUDA_SUCCESS,)

    cuMemFreeHost = cuMemFree  # noqa: N815

    def cuStreamCreate(self, flags: int) -> Any:  # noqa: N802
        assert flags == 1, "it would be ordered with stream 0"
        self.queues.append([])
        return (Status.CUDA_SUCCESS, len(self.queues) - 1)

    def cuStreamDestroy(self, stream: int) -> Any:  # noqa: N802
        assert not self.queues[stream], "work is left"
        self.calls.append(("cuStreamDestroy", (stream,)))
        return (Status.CUDA_SUCCESS,)

    def cuEventCreate(self, _: int) -> Any:  # noqa: N802
        self.events.append((0, -1))
        return (Status.CUDA_SUCCESS, len(self.events) - 1)

    def cuEventRecord(self, event: int, stream: int) -> Any:  # noqa: N802
        self.queues[stream].append(lambda: None)
        self.events[event] = stream, self.finished[stream] + len(self.queues[stream])
        return (Status.CUDA_SUCCESS,)

    def cuStreamWaitEvent(self, stream: int, event: int, _: int) -> Any:  # noqa: N802
        self.queues[stream].append(lambda: self.cuEventSynchronize(event))
        return (Status.CUDA_SUCCESS,)

    def cuEventSynchronize(self, event: int) -> Any:  # noqa: N802
        stream, number = self.events[event]
        while self.finished[stream] < number:
            self.finished[stream] += 1
            self.queues[stream].pop(0)()
        return (Status.CUDA_SUCCESS,)

    def cuStreamSynchronize(self, stream: int) -> Any:  # noqa: N802
        while self.queues[stream]:
            self.finished[stream] += 1
            self.queues[stream].pop(0)()
        return (Status.CUDA_SUCCESS,)

    def cuMemcpyHtoDAsync(self, to: int, source: int, nbytes: int, stream: int) -> Any:  # noqa: N802
        self.queues[stream].append(lambda: ctypes.memmove(to, source, nbytes))
        self.calls.append(("cuMemcpyHtoDAsync", (nbytes,)))
        return (Status.CUDA_SUCCESS,)

    def cuMemcpyDtoHAsync(self, to: int, source: int, nbytes: int, stream: int) -> Any:  # noqa: N802
        self.queues[stream].append(lambda: ctypes.memmove(to, source, nbytes))
        return (Status.CUDA_SUCCESS,)


def install(monkeypatch: pytest.MonkeyPatch, driver: object) -> None:
    bindings = ModuleType("cuda.bindings")
    bindings.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver()
    install(monkeypatch, fake)
    return fake


def test_the_backend_names_its_gpu(driver: FakeDriver) -> None:
    assert CudaBackend().name == "cuda"
    assert CudaBackend().device == "A fast one"
    assert what_is_missing() == ""


def test_memory_goes_there_and_back_and_is_given_back(driver: FakeDriver) -> None:
    work, data = CudaDevice().open(), np.arange(10, dtype=np.uint8)
    address = work.allocate(10)
    work.upload(address, data)
    work.wait(Stream.DOWNLOADS, work.record(Stream.UPLOADS))
    data[:] = 0  # the caller may
    nothing, ten, never = (work.download(address, each) for each in (0, 10, 10))
    assert nothing().size == 0
    assert ten().tobytes() == bytes(range(10))
    del never
    work.close()
    assert not driver.memory
    assert [name for name, _ in driver.calls].count("cuStreamDestroy") == 3
    assert [name for name, _ in driver.calls].count("cuEventDestroy") == len(driver.events)


def test_a_download_that_waits_for_no_upload_gets_other_bytes(driver: FakeDriver) -> None:
    work = CudaDevice().open()
    address = work.allocate(10)
    work.upload(address, np.arange(10, dtype=np.uint8))
    assert work.download(address, 10)().tobytes() == bytes(10)
    work.close()


def test_a_long_upload_goes_through_two_blocks(driver: FakeDriver) -> None:
    nbytes = 2 * BLOCK_BYTES + 100
    data = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
    work = CudaDevice().open()
    address = work.allocate(nbytes)
    for _ in range(2):
        work.upload(address, data)
    assert len(driver.memory) == 3
    work.wait(Stream.DOWNLOADS, work.record(Stream.UPLOADS))
    assert work.download(address, nbytes)().tobytes() == data.tobytes()
    work.close()
    copied = [each for name, (each, *_) in driver.calls if name == "cuMemcpyHtoDAsync"]
    assert copied == [BLOCK_BYTES, BLOCK_BYTES, 100] * 2


def test_a_block_is_not_filled_while_it_is_copied(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without the wait the fake copies what came later."""

    def forget(_: int) -> Any:
        return (Status.CUDA_SUCCESS,)

    monkeypatch.setattr(driver, "cuEventSynchronize", forget)
    work = CudaDevice().open()
    address = work.allocate(MEMORY_BYTES)
    work.upload(address, np.repeat(np.arange(3, dtype=np.uint8), BLOCK_BYTES))
    driver.cuStreamSynchronize(0)
    assert ctypes.string_at(address, 1) == b"\2"


@pytest.mark.parametrize(
    ("call", "whose"), [("allocate", "GPU's memory"), ("download", "page-locked memory")]
)
def test_no_memory_left_is_said(driver: FakeDriver, call: str, whose: str) -> None:
    work, too_much = CudaDevice().open(), MEMORY_BYTES + 1
    with pytest.raises(ResourceError, match=whose):
        work.allocate(too_much) if call == "allocate" else work.download(1, too_much)


@pytest.mark.parametrize("opened", [0, 1, 2])
def test_streams_are_given_back_where_the_next_one_is_refused(
    driver: FakeDriver, opened: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = driver.cuStreamCreate

    def refuse(flags: int) -> Any:
        full = len(driver.queues) == opened
        return (Status.CUDA_ERROR_OUT_OF_MEMORY, 0) if full else create(flags)

    monkeypatch.setattr(driver, "cuStreamCreate", refuse)
    with pytest.raises(ResourceError, match="GPU's memory"):
        CudaDevice().open()
    destroyed = [each for name, (each, *_) in driver.calls if name == "cuStreamDestroy"]
    assert destroyed == [*range(opened)]


def test_a_program_that_does_not_fit_is_told_with_what_it_needs(driver: FakeDriver) -> None:
    builder = Builder()
    x = builder.input("x", parse_type(f"float32[{MEMORY_BYTES // 2}]"))
    executable = CudaExecutable(builder.finish(y=x + 1), CudaDevice())
    with pytest.raises(ResourceError, match=r"needs 24\.0 MiB: there is none of the GPU's memory"):
        executable.run({"x": np.zeros(MEMORY_BYTES // 2, np.float32)})
    assert not driver.memory


def test_code_is_loaded_once_and_launched_in_whole_blocks(driver: FakeDriver) -> None:
    device = CudaDevice()
    for _ in range(2):
        device.load([KERNEL])
    work = device.open()
    work.launch(KERNEL.symbol, 129, [1, 2, 3])
    work.launch(KERNEL.symbol, 0, [1, 2, 3])
    assert f".entry {KERNEL.symbol}(" in driver.ptx
    (wanted,) = [each for name, each in driver.calls if name == "cuModuleGetFunction"]
    assert wanted == ("module", KERNEL.symbol.encode())
    (launched,) = [each for name, each in driver.calls if name == "cuLaunchKernel"]
    values = ((1, 2, 3), (ctypes.c_void_p,) * 3)
    assert launched == ("a cuModuleGetFunction", 2, 1, 1, 128, 1, 1, 0, 1, values, 0)


@pytest.mark.skipif(this_machine() is None, reason="kernels run on this processor")
def test_a_whole_run_is_right_though_everything_is_done_as_late_as_it_may(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Builder()
    types = {"x": "float32[5,3]", "i": "int64[4]", "c": "float32[3]"}
    x, i, c = (builder.input(name, parse_type(type_)) for name, type_ in types.items())
    chosen = (x * 2.0).emit("Gather", i, axis=0)
    verified = builder.finish(chosen=chosen, sum=(chosen + c).sum(0), kept=c)
    emulated = EmulatedDevice()
    CudaExecutable(verified, emulated)

    def launch(name: bytes, blocks: int, *rest: Any) -> Any:
        stream: int = rest[-3]
        (arguments, _) = rest[-2]
        kernel, address = emulated.kernels[name.decode()]
        run: Callable[[], object] = partial(
            run_grid, kernel, address, blocks * THREADS_PER_BLOCK, arguments
        )
        driver.queues[stream].append(run)
        return (Status.CUDA_SUCCESS,)

    def find(_: str, name: bytes) -> Any:
        return (Status.CUDA_SUCCESS, name)

    monkeypatch.setattr(driver, "cuLaunchKernel", launch, raising=False)
    monkeypatch.setattr(driver, "cuModuleGetFunction", find, raising=False)
    random = np.random.default_rng(0)
    x_value, c_value = (random.normal(size=n).astype(np.float32) for n in ((5, 3), 3))
    values: dict[str, Array] = {"x": x_value, "i": np.array([4, 0, 0, 2]), "c": c_value}
    found = CudaExecutable(verified, CudaDevice()).run(values)
    expected = ReferenceBackend().compile(verified).run(values)
    assert {k: v.tobytes() for k, v in found.items()} == {
        k: v.tobytes() for k, v in expected.items()
    }
    assert not driver.memory


def test_without_the_bindings_the_reason_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cuda", None)
    assert "cuda-bindings does not load" in what_is_missing()
    with pytest.raises(RefusedError) as refused:
        CudaDevice()
    assert refused.value.hint == "pip install 'bcai[cuda]'"


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (FakeDriver(init=Status.CUDA_ERROR_NO_DEVICE), "cuInit failed with CUDA_ERROR_NO_DEVICE"),
        (FakeDriver(capability=(7, 0)), "A fast one is too old"),
    ],
)
def test_a_machine_without_a_gpu_that_will_do_says_why(
    fake: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, fake)
    assert reason in what_is_missing()


def test_no_driver_on_the_system_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_: int) -> None:
        raise RuntimeError("no libcuda")  # what cuda-bindings raises

    install(monkeypatch, SimpleNamespace(cuInit=find))
    assert what_is_missing() == "no GPU: no libcuda"
