"""Programs on an emulated grid give the bits of the definition."""

from collections.abc import Callable

import numpy as np
import pytest
from tests.conformance.vm.golden.operands import floats_of_all_kinds
from tests.unit.vm.backends.cuda.emulated_device import EmulatedDevice, EmulatedWork, RaceError

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.cuda import loop
from bcai.vm.backends.cuda.device import Event, Stream
from bcai.vm.backends.cuda.executable import CudaExecutable, GridLaunch
from bcai.vm.backends.cuda.ptx import compile_ptx
from bcai.vm.backends.native.objects import this_machine
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType, parse_type
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

pytestmark = pytest.mark.skipif(
    this_machine() is None, reason="the grid is emulated by native code; needs x86-64 or AArch64"
)

LONG = 500
"""Elements from which an operand holds usual floats only."""


def unary(body: Callable[[Symbol], Symbol], x: str) -> VerifiedProgram:
    builder = Builder()
    return builder.finish(result=body(builder.input("0", parse_type(x))))


def binary(body: Callable[[Symbol, Symbol], Symbol], x: str, y: str) -> VerifiedProgram:
    builder = Builder()
    operands = (builder.input("0", parse_type(x)), builder.input("1", parse_type(y)))
    return builder.finish(result=body(*operands))


def values_of(verified: VerifiedProgram, seed: int = 0) -> dict[str, Array]:
    return {
        port.name: _values(port.type, seed + at) for at, port in enumerate(verified.program.ports)
    }


def _values(type_: TensorType, seed: int) -> Array:
    random = np.random.default_rng(seed)
    if type_.dtype in (DType.float32, DType.float64):
        found = floats_of_all_kinds(type_.dtype, type_.elements, seed)
        usual = random.normal(size=type_.elements).astype(type_.dtype.numpy)
        share = 0.02 if type_.elements < LONG else 0.0  # or every long sum is not a number
        return np.where(random.random(type_.elements) < share, found, usual).reshape(type_.shape)
    if type_.dtype.is_float:
        return random.normal(size=type_.shape).astype(type_.dtype.numpy)
    return random.integers(0, 5, type_.shape).astype(type_.dtype.numpy)


PROGRAMS = {
    "elementwise": binary(
        lambda x, y: (x * y + y).emit("Tanh") / (x - y).emit("Exp"), "float32[3,50]", "float32[50]"
    ),
    "transposed": unary(lambda x: x.transpose(1, 0) + 1.0, "float64[5,7]"),
    "narrow": binary(lambda x, y: (x * y).emit("Sigmoid") + x, "bfloat16[33]", "bfloat16[33]"),
    "half": binary(lambda x, y: (x * y).emit("Erf") + x, "float16[33]", "float16[33]"),
    "whole numbers": binary(lambda x, y: x * y - y, "int32[40]", "int32[40]"),
    "float64 functions": unary(lambda x: x.emit("Log") + x.emit("Sin"), "float64[70]"),
    "sum of a row": unary(lambda x: x.sum(1), "float32[3,77]"),
    "sum of three chunks": unary(lambda x: x.sum(0), "float32[8200]"),
    "sum of columns": unary(lambda x: x.sum(0, keepdims=True), "float64[40,3]"),
    "sum of narrow": unary(lambda x: x.sum(1), "bfloat16[2,100]"),
    "sum of nothing": unary(lambda x: x.sum(1), "float32[2,0]"),
    "largest": unary(lambda x: x.emit("ReduceMax", axes=(1,), keepdims=False), "float32[4,70]"),
    "least": unary(lambda x: x.emit("ReduceMin", axes=(0,), keepdims=False), "int64[40,2]"),
    "product": unary(lambda x: x.emit("Prod", axes=(1,), keepdims=False), "float32[2,45]"),
    "softmax": unary(lambda x: x.emit("Softmax", axis=1), "float32[3,50]"),
    "matrix": binary(lambda a, b: a.emit("MatMul", b), "float32[3,1030]", "float32[1030,2]"),
    "matrices": binary(lambda a, b: a.emit("MatMul", b), "float64[2,1,3,5]", "float64[4,5,2]"),
    "vectors": binary(lambda a, b: a.emit("MatMul", b), "float32[600]", "float32[600]"),
    "vector and matrix": binary(lambda a, b: a.emit("MatMul", b), "int32[4]", "int32[2,4,3]"),
    "matrix and vector": binary(lambda a, b: a.emit("MatMul", b), "float16[5,4]", "float16[4]"),
    "no depth": binary(lambda a, b: a.emit("MatMul", b), "float32[2,0]", "float32[0,3]"),
    "one after the other": binary(
        lambda x, i: (
            (x + 1.0).emit("Gather", i, axis=0).emit("Tanh").emit("Gather", i, axis=0) * x.sum()
        ),
        "float32[5,3]",
        "int64[5]",
    ),
    "nothing else": unary(lambda x: x + 1.0, "float32[4]"),
    "nothing": unary(lambda x: x + 1.0, "float32[0,3]"),
    "on the host": binary(
        lambda x, i: x.emit("Gather", i, axis=0) * 2.0, "float32[5,3]", "int64[4]"
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_bits_are_those_of_the_definition(name: str) -> None:
    verified = PROGRAMS[name]
    values = values_of(verified)
    device = EmulatedDevice()
    found = CudaExecutable(verified, device).run(values)["result"]
    expected = ReferenceBackend().compile(verified).run(values)["result"]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()
    assert not device.memory


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_kernels_compile_to_exact_ptx(name: str) -> None:
    steps = CudaExecutable(PROGRAMS[name], EmulatedDevice()).steps
    launches = [each for each in steps if isinstance(each, GridLaunch)]
    text = compile_ptx({each.kernel.symbol: each.kernel for each in launches}.values())
    assert all(f".entry {each.kernel.symbol}(" in text for each in launches)


def test_what_can_be_done_there_is_done_there() -> None:
    device = EmulatedDevice()
    CudaExecutable(PROGRAMS["matrix"], device).run(values_of(PROGRAMS["matrix"]))
    assert [each.partition("_")[0] for each in device.launched] == ["product"]


def test_copies_go_on_beside_kernels() -> None:
    builder = Builder()
    a, b, c = (builder.input(each, parse_type("float32[4,4]")) for each in "abc")
    first = a.emit("MatMul", b)
    verified = builder.finish(first=first, second=first.emit("MatMul", c))
    device = EmulatedDevice()
    CudaExecutable(verified, device).run(values_of(verified))
    assert [stream for stream, _ in device.done] == [
        Stream.UPLOADS, Stream.UPLOADS, Stream.KERNELS, Stream.DOWNLOADS,
        Stream.UPLOADS, Stream.KERNELS, Stream.DOWNLOADS,
    ]  # fmt: skip


def test_what_the_next_kernel_needs_is_copied_while_the_host_computes() -> None:
    builder = Builder()
    types = {"x": "float32[5,3]", "i": "int64[4]", "c": "float32[3]"}
    x, i, c = (builder.input(name, parse_type(type_)) for name, type_ in types.items())
    verified = builder.finish(y=(x * 2.0).emit("Gather", i, axis=0) + c)
    device = EmulatedDevice()
    CudaExecutable(verified, device).run(values_of(verified))
    copies = [each for each in device.done if each[0] is not Stream.KERNELS]
    assert copies == [
        (Stream.UPLOADS, 60), (Stream.DOWNLOADS, 60), (Stream.UPLOADS, 12), (Stream.UPLOADS, 48),
        (Stream.DOWNLOADS, 48),
    ]  # fmt: skip


def test_an_event_orders_what_was_asked_before_it_and_no_more() -> None:
    work = EmulatedDevice().open()
    first, second = (work.allocate(16) for _ in range(2))
    work.upload(first, np.zeros(16, np.uint8))
    there = work.record(Stream.UPLOADS)
    work.upload(second, np.zeros(16, np.uint8))
    work.wait(Stream.DOWNLOADS, there)
    work.download(first, 16)
    with pytest.raises(RaceError, match="downloads did not wait for uploads"):
        work.download(second, 16)


def test_what_no_kernel_needs_stays_on_the_host() -> None:
    builder = Builder()
    x, i = (builder.input(n, parse_type(t)) for n, t in (("0", "float32[5,3]"), ("1", "int64[4]")))
    verified = builder.finish(result=x.emit("Gather", i, axis=0), same=x)
    device = EmulatedDevice()
    values = values_of(verified)
    found = CudaExecutable(verified, device).run(values)
    assert found["same"].tobytes() == values["0"].tobytes()
    assert not np.shares_memory(found["same"], values["0"])
    assert Stream.UPLOADS not in {stream for stream, what in device.done if what == 60}


@pytest.mark.parametrize(
    ("deaf", "race"),
    [
        (Stream.KERNELS, "kernels did not wait for uploads"),
        (Stream.DOWNLOADS, "downloads did not wait for kernels"),
    ],
)
def test_a_missing_wait_is_seen(deaf: Stream, race: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = EmulatedWork.wait

    def wait(work: EmulatedWork, stream: Stream, event: Event) -> None:
        if stream is not deaf:
            plain(work, stream, event)

    monkeypatch.setattr(EmulatedWork, "wait", wait)
    verified = PROGRAMS["matrix"]
    with pytest.raises(RaceError, match=race):
        CudaExecutable(verified, EmulatedDevice()).run(values_of(verified))


def test_an_upload_over_what_a_kernel_reads_is_seen() -> None:
    device = EmulatedDevice()
    executable = CudaExecutable(PROGRAMS["nothing else"], device)
    (step,) = [each for each in executable.steps if isinstance(each, GridLaunch)]
    work = device.open()
    x, y = (work.allocate(16) for _ in range(2))
    work.upload(x, np.zeros(16, np.uint8))
    work.wait(Stream.KERNELS, work.record(Stream.UPLOADS))
    work.launch(step.kernel.symbol, step.kernel.threads, [x, y])
    with pytest.raises(RaceError, match="uploads did not wait for kernels"):
        work.upload(x, np.zeros(16, np.uint8))
    done = work.record(Stream.KERNELS)
    work.wait(Stream.UPLOADS, done)
    work.upload(x, np.zeros(16, np.uint8))


def test_a_wrong_index_is_named_as_the_definition_names_it() -> None:
    verified = PROGRAMS["on the host"]
    values = values_of(verified) | {"1": np.array([0, 1, 2, 99])}
    with pytest.raises(InputError, match=r"instruction 0 \(Gather\)"):
        CudaExecutable(verified, EmulatedDevice()).run(values)


def test_python_code_is_refused() -> None:
    builder = Builder()
    (ran,) = builder.emit(
        "PythonExecute", [], {"code": "pass", "outputs": "", "sandbox": "high", "gpu": False}
    )
    with pytest.raises(RefusedError, match="no Python code"):
        CudaExecutable(builder.finish(ran=ran), EmulatedDevice())


def test_a_row_too_long_for_a_warp_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcai.vm.backends.cuda.executable.ROW_MAX", 8199)
    with pytest.raises(RefusedError, match="8200"):
        CudaExecutable(PROGRAMS["sum of three chunks"], EmulatedDevice())
    assert loop.ROW_MAX == 4096 * 4096
