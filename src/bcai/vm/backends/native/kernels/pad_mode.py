"""`PadMode` natively: a line of the result is a run of `x` with some elements on both sides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import cast

from bcai.vm.backends.native.kernels.index_kernels import move_row
from bcai.vm.backends.native.kernels.strided import GRAIN_BYTES, address, contiguous, landed
from bcai.vm.backends.native.launch import Entry, Launch, entry
from bcai.vm.backends.native.llvm import Function, Module, Number, Value
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import OpTask

AXIS_SLOTS = 3
"""Arguments of an axis: its elements in x and in the result, and those put before."""


@dataclass(frozen=True, slots=True)
class PadModeKernel:
    """Slots: x, result, elements of a cell, then the axes, of which the last one is a line.

    A unit is one line of the result. A cell is what is padded as one; `single` ones are elements.
    """

    size: int
    mode: str
    rank: int
    single: bool
    library: str | None = "index"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"pad_{self.mode}_{self.size}_{self.rank}_{self.single:d}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f, x, result = at.f, at.pointer(0), at.pointer(1)
        cell = f.number(1) if self.single else at.number(2)
        count, padded, before = self._axis(at, self.rank - 1)
        after = f.add(before, count)

        def cell_at(base: Value, line: Value, length: Value, place: Number) -> Value:
            place = f.add(f.mul(line, length), place)
            return f.offset(base, f.mul(f.mul(place, cell), self.size))

        with f.loop(at.begin, at.end) as unit:
            line = self._line(at, unit.index)
            from_ = cell_at(x, line, count, 0)
            to = cell_at(result, unit.index, padded, before)
            move_row(f, target, self.size, from_, to, f.mul(count, cell), single=False)
            for start, stop in ((f.number(0), before), (after, padded)):
                with f.loop(start, stop) as edge:
                    place = self._place(f, f.sub(edge.index, before), count)
                    from_ = cell_at(x, line, count, place)
                    to = cell_at(result, unit.index, padded, edge.index)
                    move_row(f, target, self.size, from_, to, cell, single=self.single)
        f.give(0)

    @staticmethod
    def _axis(at: Entry, axis: int) -> list[Value]:
        return [at.number(3 + AXIS_SLOTS * axis + slot) for slot in range(AXIS_SLOTS)]

    def _line(self, at: Entry, unit: Value) -> Value:
        """Number of the line of x that a line of the result is made from."""
        f, line, lines = at.f, at.f.number(0), at.f.number(1)
        for axis in reversed(range(self.rank - 1)):
            count, padded, before = self._axis(at, axis)
            place = self._place(f, f.sub(f.rem(unit, padded), before), count)
            line = f.add(line, f.mul(place, lines))
            unit, lines = f.div(unit, padded), f.mul(lines, count)
        return line

    def _place(self, f: Function, place: Value, count: Value) -> Value:
        """Where the element comes from that is put at `place`, which may be outside the axis."""
        last = f.sub(count, 1)
        match self.mode:
            case "reflect":
                place = f.maximum(place, f.sub(0, place))
                return f.minimum(place, f.sub(f.add(last, last), place))
            case "replicate":
                return f.maximum(f.minimum(place, last), 0)
            case _:
                place = f.b.select(f.less(place, 0), f.add(place, count), place)
                return f.b.select(f.less(last, place), f.sub(place, count), place)


def pad_mode(task: OpTask, scope: Scope) -> Sequence[Launch]:
    """Launches for `PadMode`."""
    (given,) = task.operands
    assert given is not None
    x, before = contiguous(given, scope, task.position)
    result, after = landed(task.results[0], scope, task.position)
    axes = _joined(x.type.shape, result.type.shape, cast(Sequence[int], task.attributes["before"]))
    cell = axes.pop()[0] if len(axes) > 1 and axes[-1][0] == axes[-1][1] else 1
    line, size = axes[-1][1] * cell, x.type.dtype.itemsize
    launch = Launch(
        PadModeKernel(size, str(task.attributes["mode"]), len(axes), cell == 1),
        (address(x), address(result), cell, *(each for axis in axes for each in axis)),
        units=result.type.elements // line if line else 0,
        reads=(x.buffer,),
        writes=(result.buffer,),
        position=task.position,
        grain=max(1, GRAIN_BYTES // max(1, line * size)),
    )
    return [*before, launch, *after]


def _joined(
    shape: Sequence[int], padded: Sequence[int], before: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Axes with their `AXIS_SLOTS`; neighbours that are not padded are one."""
    axes: list[tuple[int, int, int]] = []
    for plain, group in groupby(zip(shape, padded, before, strict=True), lambda at: at[0] == at[1]):
        if plain:
            size = math.prod(each[0] for each in group)
            axes.append((size, size, 0))
        else:
            axes += group
    return axes or [(1, 1, 0)]
