"""Backends that compute wrongly, and sides that say what is not true."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.backend import Observer
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import Array
from bcai.vm.program.program import VerifiedProgram

Change = Callable[[Array], Array]


def flip_bit(array: Array) -> Array:
    """One low bit of the last element: not so low that the next rounding would hide it."""
    changed = np.array(array)
    changed.reshape(-1).view(np.uint8)[1 - changed.itemsize] ^= 4
    return changed


class _Wrong(ReferenceInterpreter):
    """Changes the first result of one instruction."""

    def __init__(self, position: int, change: Change) -> None:
        super().__init__()
        self.position, self.change = position, change
        self.at, self.depth = 0, 0

    def step(
        self, version: int, op: Op, operands: Sequence[Array | None], attributes: Mapping[str, Any]
    ) -> tuple[Array, ...]:
        self.depth += 1
        results = super().step(version, op, operands, attributes)
        self.depth -= 1
        if self.depth:
            return results
        self.at += 1
        if self.at - 1 != self.position:
            return results
        return (self.change(results[0]), *results[1:])


@dataclass
class WrongExecutable:
    """Computes one instruction of one step wrongly; the step is known by the input `step`."""

    program: VerifiedProgram
    step: int
    position: int
    change: Change = flip_bit
    bytes_peak: int = field(default=0)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        return self._interpreter(values).run(self.program, values)

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        return self._interpreter(values).run(self.program, values, observe)

    def _interpreter(self, values: Mapping[str, Array]) -> ReferenceInterpreter:
        if int(values["step"]) != self.step:
            return ReferenceInterpreter()
        return _Wrong(self.position, self.change)
