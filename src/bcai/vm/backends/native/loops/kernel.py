"""The kernel of a loop: units become outer indices, and at each a row is written."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import Module, Number, Value
from bcai.vm.backends.native.loops.columns import Columns
from bcai.vm.backends.native.loops.form import Form
from bcai.vm.backends.native.loops.lanes32 import write_lanes
from bcai.vm.backends.native.loops.memory import Memory, memory_of
from bcai.vm.backends.native.loops.rows import Rows
from bcai.vm.backends.native.loops.schedule import Pass
from bcai.vm.backends.native.loops.shares import Shares, shares, vector_count
from bcai.vm.backends.native.loops.tiles import Tiles
from bcai.vm.backends.native.loops.writer import Cursor, Writer, hoisted
from bcai.vm.backends.native.target import Target


@dataclass(frozen=True, slots=True)
class LoopKernel:
    """One form of loop; arguments are the addresses of its accesses."""

    symbol: str
    form: Form = field(compare=False)

    @property
    def library(self) -> str | None:
        """Compiled with the program's own code."""
        return None

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        e = entry(module, self.symbol)
        count = vector_count(self.form, target)
        writer = Writer(e.f, target, self.form, count)
        memory = memory_of(self.form, target)
        _Nest(e, writer, memory, shares(self.form, target)).write()
        e.f.give(0)


@dataclass(slots=True)
class _Nest:
    """The loops around a row."""

    e: Entry
    w: Writer
    memory: Memory
    cut: Shares
    hoisted: Sequence[Sequence[int]] = ()

    def write(self) -> None:
        f, w = self.e.f, self.w
        self.hoisted = hoisted(w.form)
        cursor = w.start([self.e.pointer(each.slot) for each in w.form.accesses])
        self._settle(0, cursor)
        with f.loop(self.e.begin, self.e.end) as loop:
            unit, low, high = self._block(loop.index)
            for axis in reversed(range(self.cut.axes)):
                size = w.form.outer[axis]
                index = f.rem(unit, size) if axis else unit
                unit = f.div(unit, size) if axis else unit
                cursor = w.moved(cursor, axis, index)
            for axis in range(self.cut.axes):
                self._settle(axis + 1, cursor)
            self._axes(self.cut.axes, cursor, low, high)

    def _block(self, unit: Value) -> tuple[Value, Number, Number]:
        """The row of a unit and its part of the axis that vectors run along."""
        f, size = self.e.f, self.w.form.block_size
        if self.cut.blocks == 1:
            return unit, 0, size
        place = f.rem(unit, self.cut.blocks) if self.cut.rows > 1 else unit
        if self.w.form.columns and self.w.form.partial:
            return f.div(unit, self.cut.blocks), place, place
        low = f.mul(place, self.cut.block)
        last = f.equal(place, self.cut.blocks - 1)
        high = f.b.select(last, f.number(size), f.add(low, self.cut.block))
        return f.div(unit, self.cut.blocks) if self.cut.rows > 1 else unit, low, high

    def _settle(self, entry_: int, cursor: Cursor) -> None:
        """Write the nodes that are known once the axes so far are."""
        for number in self.hoisted[entry_]:
            self.w.one(number, cursor)

    def _axes(self, axis: int, cursor: Cursor, low: Number, high: Number) -> None:
        form = self.w.form
        if axis == len(form.walked):
            self._row(cursor, low, high)
            return
        with self.e.f.loop(0, form.outer[axis]) as loop:
            moved = self.w.moved(cursor, axis, loop.index)
            self._settle(axis + 1, moved)
            self._axes(axis + 1, moved, low, high)

    def _row(self, cursor: Cursor, low: Number, high: Number) -> None:
        memory, w = self.memory, self.w
        passes: Sequence[Pass] = memory.passes
        places = memory.addresses(w.f, self.e.scratch)
        if w.form.columns:
            width = self.cut.width
            columns = Columns(w, passes, width, places.kept, places.sums, places.recursions)
            if w.form.partial:
                write_lanes(columns, cursor, low)
            else:
                columns.write(cursor, low, high)
            return
        if w.form.tiles:
            axis = len(w.form.outer)
            tiles = Tiles(w, passes[0], lambda at: self._settle(axis, at), places.filled)
            tiles.write(cursor, low, high)
            return
        w.kept.update(places.kept)
        rows = Rows(w, passes, places.filled, places.recursions)
        if w.form.partial:
            rows.write_chunk(cursor, low, high)
        elif self.cut.blocks > 1:
            rows.write_part(cursor, low, high)
        else:
            rows.write(cursor)
