"""What is asked of NVIDIA's driver, and what its refusals become; a fake plays the driver."""

import ctypes
import sys
from enum import Enum, IntEnum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bcai.base.errors import RefusedError
from bcai.vm.backends.cuda.backend import CudaBackend, what_is_missing
from bcai.vm.backends.cuda.driver import CudaDevice
from bcai.vm.backends.cuda.product import ProductKernel
from bcai.vm.isa.types import DType

KERNEL = ProductKernel(DType.float32, (2, 3), (4, 0, 1), (0, 1, 3), (3, 1), 4)


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
        if nbytes > 1000:
            return (Status.CUDA_ERROR_OUT_OF_MEMORY, 0)
        memory = ctypes.create_string_buffer(nbytes)
        address = ctypes.addressof(memory)
        self.memory[address] = memory
        return (Status.CUDA_SUCCESS, address)

    def cuMemcpyHtoD(self, to: int, source: int, nbytes: int) -> Any:  # noqa: N802
        ctypes.memmove(to, source, nbytes)
        return (Status.CUDA_SUCCESS,)

    def cuMemcpyDtoH(self, to: int, source: int, nbytes: int) -> Any:  # noqa: N802
        ctypes.memmove(to, source, nbytes)
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


def test_memory_goes_there_and_back(driver: FakeDriver) -> None:
    device, data = CudaDevice(), np.arange(10, dtype=np.uint8)
    address = device.allocate(10)
    device.upload(address, data)
    assert device.download(address, 10).tobytes() == data.tobytes()
    assert device.download(address, 0).size == 0
    device.free(address)
    assert ("cuMemFree", (address,)) in driver.calls


def test_no_memory_left_is_a_memory_error(driver: FakeDriver) -> None:
    with pytest.raises(MemoryError):
        CudaDevice().allocate(1001)


def test_code_is_loaded_once_and_launched_in_whole_blocks(driver: FakeDriver) -> None:
    device = CudaDevice()
    for _ in range(2):
        device.load([KERNEL])
    device.launch(KERNEL.symbol, 129, [1, 2, 3])
    device.launch(KERNEL.symbol, 0, [1, 2, 3])
    assert f".entry {KERNEL.symbol}(" in driver.ptx
    (wanted,) = [each for name, each in driver.calls if name == "cuModuleGetFunction"]
    assert wanted == ("module", KERNEL.symbol.encode())
    (launched,) = [each for name, each in driver.calls if name == "cuLaunchKernel"]
    values = ((1, 2, 3), (ctypes.c_void_p,) * 3)
    assert launched == ("a cuModuleGetFunction", 2, 1, 1, 128, 1, 1, 0, 0, values, 0)


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
