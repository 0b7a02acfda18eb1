"""Backends that compute wrongly, for the tests and for bench/proof_dispute.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.backend import Executable, Observer
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
    """Computes one instruction of one step wrongly; the step is known by the input `step`.

    All other steps are left to `honest`; None: to the definition.
    """

    program: VerifiedProgram
    step: int
    position: int
    change: Change = flip_bit
    honest: Executable | None = None
    bytes_peak: int = field(default=0)

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        if self._lies(values):
            return _Wrong(self.position, self.change).run(self.program, values)
        return self._honest().run(values)

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        if self._lies(values):
            return _Wrong(self.position, self.change).run(self.program, values, observe)
        return self._honest().run_traced(values, observe)

    def _lies(self, values: Mapping[str, Array]) -> bool:
        return int(values["step"]) == self.step

    def _honest(self) -> Executable:
        if self.honest is None:
            self.honest = ReferenceBackend().compile(self.program)
        return self.honest
