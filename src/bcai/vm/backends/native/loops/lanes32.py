"""Writes the folds of a few lanes of columns into memory (Note [Lanes as units])."""

import math
from dataclasses import dataclass

from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY
from bcai.vm.backends.native.llvm import Number, Value, vector
from bcai.vm.backends.native.loops.columns import Columns
from bcai.vm.backends.native.loops.folding import Folding
from bcai.vm.backends.native.loops.form import Access
from bcai.vm.backends.native.loops.lane_units import (
    COLUMNS_OF_UNIT,
    LANES_OF_UNIT,
    column_blocks,
)
from bcai.vm.backends.native.loops.rows import foldings_of
from bcai.vm.backends.native.loops.schedule import operands_of
from bcai.vm.backends.native.loops.writer import Cursor, Writer
from bcai.vm.isa.order import CHUNK, LANES


@dataclass(frozen=True, slots=True)
class _Lane:
    """A lane's sums in memory, one for each column."""

    w: Writer
    folding: Folding
    access: Access
    start: Value

    def clear(self, column: Value) -> None:
        (nothing,) = self.folding.identity(self.w.count)
        self.w.f.store(nothing, self._at(column))

    def add(self, column: Value, value: Value) -> None:
        f, type_ = self.w.f, vector(IN_MEMORY[self.access.dtype], self.w.count)
        held = (f.load(self._at(column), type_),)
        (merged,) = self.folding.merge(held, self.folding.parts_of(value))
        f.store(merged, self._at(column))

    def _at(self, column: Value) -> Value:
        return self.w.f.offset(self.start, column, IN_MEMORY[self.access.dtype])


def write_lanes(columns: Columns, cursor: Cursor, unit: Number) -> None:
    """Write the lanes of one unit; the stores are of 32 lanes of every chunk."""
    w, f = columns.w, columns.w.f
    form, pass_ = w.form, columns.passes[0]
    blocks, groups = column_blocks(form), LANES // LANES_OF_UNIT
    block, left = f.rem(unit, blocks), f.div(unit, blocks)
    group, chunk = f.rem(left, groups), f.div(left, groups)
    low = f.mul(block, COLUMNS_OF_UNIT)
    last = f.equal(block, blocks - 1)
    high = f.b.select(last, f.number(form.outer[-1]), f.add(low, COLUMNS_OF_UNIT))
    part = columns.begin(pass_)
    foldings = dict(zip(pass_.folds, foldings_of(w, pass_), strict=True))

    def lanes(lane: Value) -> dict[int, _Lane]:
        place = f.mul(f.add(f.mul(chunk, LANES), lane), math.prod(form.outer))
        found: dict[int, _Lane] = {}
        for store in form.stores:
            address = cursor.addresses[store.access.slot]
            start = f.offset(address, place, IN_MEMORY[store.access.dtype])
            found[store.node] = _Lane(w, foldings[store.node], store.access, start)
        return found

    first = f.mul(group, LANES_OF_UNIT)
    with f.loop(0, LANES_OF_UNIT) as loop:
        cleared = lanes(f.add(first, loop.index))
        with f.loop(low, high, w.count) as across:
            for each in cleared.values():
                each.clear(across.index)
    start = f.mul(chunk, CHUNK)
    stop = f.minimum(f.add(start, CHUNK), form.row[0])
    with f.loop(f.add(start, first), stop, LANES) as rows:
        few = f.minimum(f.sub(stop, rows.index), LANES_OF_UNIT)
        with f.loop(0, few) as loop:
            moved = w.moved(cursor, len(form.outer), f.add(rows.index, loop.index))
            for number in columns.singles(part):
                w.one(number, moved)
            held = lanes(f.add(first, loop.index))
            with f.loop(low, high, w.count) as across:
                w.prefetch(part, moved, across.index, LANES)
                values = w.vector(part, moved, across.index)
                for number, lane in held.items():
                    lane.add(across.index, w.value(operands_of(form, number)[0], values))
