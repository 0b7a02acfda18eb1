"""A library that sets this process's float mode changes no bit, native or by the definition."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.backends.native.code import load_kernels
from bcai.vm.backends.native.float_mode import MXCSR_DEFAULT
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.memory import address_of
from bcai.vm.backends.native.objects import ObjectCache, compile_assembly, this_machine
from bcai.vm.backends.native.pool import Pool
from bcai.vm.backends.native.tape import ALL_DONE, RECORD_WORDS, Probe
from bcai.vm.backends.native.target import NEON
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.backends.reference.float_mode import default_float_mode
from bcai.vm.compiler.backend import Backend
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

from .small_kernels import FLUSHING, Flush, Halve

HOST = this_machine()
pytestmark = pytest.mark.skipif(
    HOST is None or HOST is NEON, reason="sets MXCSR; needs an x86-64 processor"
)
CACHE = ObjectCache(None)
LEAST = np.uint32(2)
"""Bits of a float32 subnormal whose half is the next smaller one."""


@pytest.fixture
def mode() -> Iterator[Callable[[], int]]:
    """Reads this thread's mode, which a hostile library has set."""
    assert HOST is not None
    code = load_kernels([Flush(), Probe()], HOST, CACHE)
    flush = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.addresses[Flush().symbol])
    probe = ctypes.CFUNCTYPE(ctypes.c_int64)(code.addresses[Probe().symbol])
    memory = np.zeros(1, np.int64)
    with default_float_mode():
        flush(address_of(memory))
        yield lambda: probe() & ~0x3F  # the exceptions that were met do not count
        assert probe() & ~0x3F == FLUSHING
    assert probe() & ~0x3F == MXCSR_DEFAULT


@pytest.mark.parametrize("threads", [1, 3])
def test_native_code_keeps_subnormals(mode: Callable[[], int], threads: int) -> None:
    assert HOST is not None
    assert mode() == FLUSHING
    pool = Pool(HOST, CACHE, threads)
    code = load_kernels([Halve()], HOST, CACHE)
    bits = np.full(4000, LEAST)
    assert (bits.view(np.float32) * np.float32(0.5)).view(np.uint32).max() == 0
    arguments = np.array([address_of(bits)], np.int64)
    tape = np.zeros((1, RECORD_WORDS), np.int64)
    tape[0, :4] = code.addresses[Halve().symbol], address_of(arguments), bits.size, 1
    assert pool.run(tape, 0, 1, 0) == ALL_DONE
    pool.close()
    assert (bits == LEAST // 2).all()
    assert mode() == FLUSHING


def test_bodies_of_the_definition_keep_subnormals(mode: Callable[[], int]) -> None:
    with default_float_mode():
        assert mode() == MXCSR_DEFAULT
        bits = np.full(100, LEAST)
        half = bits.view(np.float32) * np.float32(0.5)
        assert (half.view(np.uint32) == LEAST // 2).all()
    assert mode() == FLUSHING


@pytest.fixture(params=["flushing", "rounding up"])
def hostile(request: pytest.FixtureRequest, mode: Callable[[], int]) -> Iterator[None]:
    """Runs a test in a float mode that is not the default one."""
    assert mode() == FLUSHING
    if request.param == "flushing":
        yield
        return
    with default_float_mode():
        ctypes.CDLL("libm.so.6").fesetround(0x800)
        third = -np.ones(1, np.float32) / np.full(1, 3, np.float32)
        assert third.view(np.uint32) == 0xBEAAAAAA  # the nearest ends in B
        yield


def roundings() -> tuple[VerifiedProgram, dict[str, Array]]:
    """What flushing and rounding up change, with constants that are computed while compiling."""
    builder = Builder()
    x = builder.input("x", "float32[20,30]")
    tiny, tenth = (
        builder.emit("Full", (), {"shape": (), "value": value, "dtype": x.dtype})[0]
        for value in (1e-40, 0.1)
    )
    halves, norm = x * tiny, x.emit("LayerNorm")
    program = builder.finish(
        third=x / 3.0, e=x.emit("Exp"), halves=halves, norm=norm, constant=tiny * tenth
    )
    return program, {"x": np.linspace(-1, 1, 600, dtype=np.float32).reshape(20, 30)}


PROGRAM, VALUES = roundings()
EXPECTED = ReferenceBackend().compile(PROGRAM).run(VALUES)


@pytest.mark.usefixtures("hostile")
def test_the_definition_keeps_its_bits() -> None:
    found = ReferenceBackend().compile(PROGRAM).run(VALUES)
    for name, array in EXPECTED.items():
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.usefixtures("hostile")
def test_code_that_is_compiled_then_keeps_its_bits(tmp_path: Path) -> None:
    found = NativeBackend(cache=tmp_path).compile(PROGRAM).run(VALUES)
    for name, array in EXPECTED.items():
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize(
    "backend", [ReferenceBackend(), NativeBackend()], ids=["reference", "native"]
)
def test_a_process_that_raises_floating_point_errors_runs_programs(
    backend: Backend, tmp_path: Path
) -> None:
    if isinstance(backend, NativeBackend):
        backend.cache = tmp_path
    builder = Builder()
    x = builder.input("x", "float16[3]")
    with np.errstate(all="raise"):
        program = builder.finish(masked=x - 1e9, tiny=x * 1e-9)
        found = backend.compile(program).run({"x": np.ones(3, np.float16)})
    assert found["masked"].tolist() == [-np.inf] * 3
    assert found["tiny"].tolist() == [0.0] * 3


def test_the_other_processors_registers_are_set_too() -> None:
    module = Module("mode", NEON.triple)
    Probe().write(module, NEON)
    text = compile_assembly(str(module), NEON)
    assert "mrs\tx0, FPCR" in text
    assert text.count("msr\tFPCR") == 2
