"""Programs on every machine, and the ways in which one can be run there."""

import ctypes
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from tests.conformance.vm.golden.laid import Laid
from tests.conformance.vm.golden.machines import targets_here
from tests.conformance.vm.golden.operands import floats_of_all_kinds
from tests.conformance.vm.golden.programs import PROGRAMS
from tests.conformance.vm.golden.training import MODELS, train

from bcai.vm.backends.native.executable import NativeExecutable, open_machine
from bcai.vm.backends.native.target import NEON, Target
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.program import VerifiedProgram

FLUSHING = 0x9FC0
"""MXCSR with every exception masked, results and operands flushed to zero."""
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class TrainingCase:
    """A model of `MODELS`, trained; named after it."""

    model: str
    is_long: bool = True

    @property
    def name(self) -> str:
        """What the golden file calls it."""
        return f"train.{self.model}"

    def compute(self, target: Target) -> Iterator[tuple[str, Sequence[Array]]]:
        """In every way; all steps before the next way."""
        model = MODELS[self.model]
        for way, run in ways(model.step().program, target):
            yield way, train(model, run)

    def define(self) -> Sequence[Array]:
        """By the interpreter."""
        model = MODELS[self.model]
        return train(model, ReferenceBackend().compile(model.step().program).run)


@dataclass(frozen=True, slots=True)
class ProgramCase:
    """A program of `PROGRAMS`, on usual floats and on floats of all kinds; named after it."""

    program: str
    is_long: bool = True

    @property
    def name(self) -> str:
        """What the golden file calls it."""
        return f"program.{self.program}"

    def compute(self, target: Target) -> Iterator[tuple[str, Sequence[Array]]]:
        """In every way."""
        program = PROGRAMS[self.program]()
        given = _values(program)  # made before any way sets a hostile float mode
        for way, run in ways(program, target):
            yield way, [each for values in given for each in run(values).values()]

    def define(self) -> Sequence[Array]:
        """By the interpreter."""
        program = PROGRAMS[self.program]()
        run = ReferenceBackend().compile(program).run
        return [each for values in _values(program) for each in run(values).values()]


def ways(program: VerifiedProgram, target: Target) -> Iterator[tuple[str, Run]]:
    """Ways of running a program on a target: threads, a hostile float mode, pieces cut by hand."""
    if target in targets_here():
        alone, both = (_executable(program, target, threads) for threads in (1, 2))
        yield "one thread", alone.run
        yield "two threads", both.run
        with _subnormals_flushed(target):
            yield "subnormals flushed outside", both.run
    yield "in pieces", Laid(program, target, 3 if target in targets_here() else 1).run


def _executable(program: VerifiedProgram, target: Target, threads: int) -> NativeExecutable:
    machine = replace(open_machine(None, threads, time.perf_counter), target=target)
    return NativeExecutable(program, machine)


@contextmanager
def _subnormals_flushed(target: Target) -> Generator[None, None, None]:
    """Run the body in a mode that a careless library leaves behind; nothing on AArch64."""
    if target is NEON:
        yield
        return
    library = ctypes.CDLL("libm.so.6")
    before = ctypes.create_string_buffer(64)
    library.fegetenv(before)
    changed = ctypes.create_string_buffer(before.raw)
    changed[28:32] = FLUSHING.to_bytes(4, "little")  # fenv_t of x86-64: MXCSR comes last
    library.fesetenv(changed)
    try:
        assert np.float32(1e-40) * np.float32(1) == 0, "the mode has no effect"
        yield
    finally:
        library.fesetenv(before)


def _values(program: VerifiedProgram) -> list[dict[str, Array]]:
    """Usual floats, and some of all kinds: a long sum of those is not a number."""
    ports = program.program.ports
    return [
        {port.name: _value(port.type, 50 + at, kinds) for at, port in enumerate(ports)}
        for kinds in (False, True)
    ]


def _value(type_: TensorType, seed: int, kinds: bool) -> Array:
    """Floats in [-4, 4), if `kinds` one in sixteen of any kind; integers in [0, 7)."""
    random = np.random.default_rng(seed)
    if not type_.dtype.is_float:
        return random.integers(0, 7, type_.shape).astype(type_.dtype.numpy)
    value = random.integers(-(1 << 16), 1 << 16, type_.shape) * 2.0**-14
    if kinds:
        other = floats_of_all_kinds(DType.float32, type_.elements, seed).reshape(type_.shape)
        value = np.where(random.integers(0, 16, type_.shape) == 0, other, value)
    with np.errstate(all="ignore"):
        return value.astype(type_.dtype.numpy)
