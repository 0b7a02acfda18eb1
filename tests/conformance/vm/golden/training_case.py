"""Training runs on every machine: whole programs, through everything that the backend has."""

import ctypes
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from tests.conformance.vm.golden.image import POISON, lay_out
from tests.conformance.vm.golden.machines import run_image, targets_here
from tests.conformance.vm.golden.training import Model, train

from bcai.vm.backends.native.executable import NativeExecutable, open_machine, plan
from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.refusal import keep_refusals
from bcai.vm.backends.native.steps import Steps, lower_plan
from bcai.vm.backends.native.target import NEON, Target
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.backends.reference.interpreter import canonical
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.plan import Role
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram


@dataclass(frozen=True, slots=True)
class TrainingCase:
    """A model of `MODELS`, trained."""

    model: Model
    is_long: bool = True

    @property
    def name(self) -> str:
        """What the golden file calls it."""
        return f"train.{self.model.name}"

    def compute(self, target: Target) -> Iterator[tuple[str, Sequence[Array]]]:
        """With one thread and two, with a hostile float mode, and cut in pieces by hand."""
        program = self.model.step().program
        if target in targets_here():
            for threads in (1, 2):
                run = _executable(self.model, target, threads).run
                yield f"{threads} threads", train(self.model, run)
            with subnormals_flushed(target):
                found = train(self.model, _executable(self.model, target, 1).run)
            yield "subnormals flushed outside", found
        pieces = 3 if target in targets_here() else 1
        yield "in pieces", train(self.model, Laid(program, target, pieces).run)

    def define(self) -> Sequence[Array]:
        """By the interpreter."""
        run = ReferenceBackend().compile(self.model.step().program).run
        return train(self.model, run)


@lru_cache(4)
def _executable(model: Model, target: Target, threads: int) -> NativeExecutable:
    machine = replace(open_machine(None, threads, time.perf_counter), target=target)
    return NativeExecutable(model.step().program, machine)


class Laid:
    """A program whose launches are laid out as memory images, for a target that may be foreign."""

    def __init__(self, program: VerifiedProgram, target: Target, pieces: int) -> None:
        self._target, self._pieces = target, pieces
        self._steps: Steps = lower_plan(plan(keep_refusals(expand(program))), target, 1)
        self.launches = [each for each in self._steps.steps if isinstance(each, Launch)]
        foreign = [each.op.name for each in self._steps.steps if not isinstance(each, Launch)]
        assert not foreign, f"no native code for {foreign}"

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run on inputs and parameters by name; return the outputs by name."""
        contents: list[bytes] = []
        for buffer in self._steps.buffers:
            if buffer.role is Role.INPUT:
                contents.append(np.ascontiguousarray(values[buffer.name]).tobytes())
            else:
                contents.append(buffer.data or bytes([POISON]) * buffer.nbytes)
        image = lay_out(self.launches, [*map(len, contents)], contents, self._pieces)
        memory = run_image(image, self._target)
        found: dict[str, Array] = {}
        for name, view in self._steps.outputs.items():
            start = image.buffers[view.buffer] + view.offset * view.type.dtype.itemsize
            raw = memory[start : start + view.type.nbytes]
            found[name] = canonical(raw.view(view.type.dtype.numpy).reshape(view.type.shape))
        return found


FLUSHING = 0x9FC0
"""MXCSR with every exception masked, results and operands flushed to zero."""


@contextmanager
def subnormals_flushed(target: Target) -> Generator[None, None, None]:
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
