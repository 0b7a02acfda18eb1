"""Columns: vectors run along a kept axis, and many folds go on side by side.

Note [Folding columns]
    Memory is read along the contiguous, kept axis, a block of columns at a time. Row k of the
    folded elements is added to lane k mod 32 of the block's accumulators, which lie in the thread's
    memory and stay in the first cache. After 4096 rows the lanes are folded. What belongs to a
    column and follows from a fold is kept there too.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bcai.vm.backends.native.llvm import Function, Number, Value, bits_of
from bcai.vm.backends.native.loops.folding import Folding, Parts
from bcai.vm.backends.native.loops.recursion import Recursion
from bcai.vm.backends.native.loops.rows import foldings_of
from bcai.vm.backends.native.loops.schedule import Pass, operands_of, varying
from bcai.vm.backends.native.loops.writer import Cursor, Writer, strides_of
from bcai.vm.compiler.plan import Fold, Literal
from bcai.vm.isa.order import CHUNK, LANES

PREFETCH_ROWS = 4
"""How far ahead rows are asked for: the processor does not see that a block goes on there."""


@dataclass(slots=True)
class Lanes32:
    """Accumulators of one fold for a block of columns.

    Attributes
    ----------
    memory
        Address of 3 parts, each of 32 lanes of `width` elements.
    used
        Lanes that can hold something.
    """

    f: Function
    folding: Folding
    memory: Value
    width: int
    count: int
    used: int

    def clear(self) -> None:
        """Let all lanes hold nothing."""
        with self.f.loop(0, self.used * self.width, self.count) as loop:
            for part, value in enumerate(self.folding.identity(self.count)):
                self.f.store(value, self._at(part, 0, loop.index))

    def add(self, lane: Value, column: Value, value: Value) -> None:
        """Fold a vector of columns into a lane."""
        held = self._load(lane, column)
        merged = self.folding.merge(held, self.folding.parts_of(value))
        for part, each in enumerate(merged):
            self.f.store(each, self._at(part, lane, column))

    def fold(self, column: Value) -> Value:
        """The lanes of a vector of columns, folded."""
        lanes: list[Parts | None] = [self._load(lane, column) for lane in range(self.used)]
        lanes += [None] * (LANES - self.used)
        return self.folding.finish(self.folding.halved(lanes))

    def _load(self, lane: Value | int, column: Value) -> Parts:
        return tuple(
            self.f.load(self._at(part, lane, column), type_)
            for part, type_ in enumerate(self.folding.types(self.count))
        )

    def _at(self, part: int, lane: Value | int, column: Value) -> Value:
        f, type_ = self.f, self.folding.types(1)[part]
        place = f.add(f.mul(f.add(lane, part * LANES), self.width), column)
        return f.offset(self.memory, f.mul(place, bits_of(type_) // 8))


def sums_bytes(width: int) -> int:
    """Memory of the accumulators of one fold for `width` columns."""
    return 3 * LANES * width * 8


@dataclass(slots=True)
class Columns:
    """Writes all passes over one block of columns.

    Attributes
    ----------
    width
        Columns of a block at most, in whole vectors.
    steady
        Memory for what belongs to a column and follows from a fold, by node.
    sums, recursions
        Memory of accumulators, by fold.
    """

    w: Writer
    passes: Sequence[Pass]
    width: int
    steady: Mapping[int, Value]
    sums: Mapping[int, Value]
    recursions: Mapping[int, Value]
    _low: Number = 0
    _high: Number = 0
    _apart: set[int] = field(default_factory=set[int])

    @property
    def length(self) -> int:
        """Elements that are folded into one."""
        return math.prod(self.w.form.row)

    def write(self, cursor: Cursor, low: Number, high: Number) -> None:
        """Write the passes for columns from `low` to `high`."""
        w, form = self.w, self.w.form
        self._low, self._high = low, high
        self._settle()
        w.kept.update(self.steady)
        for pass_ in self.passes:
            self._between(pass_, cursor)
            if pass_.folds and not self.length:
                self._nothing(pass_)
            elif pass_.folds or (pass_.stores and self.length):
                self._pass(pass_, cursor)
        once = tuple(place for place, each in enumerate(form.stores) if each.once_a_row)
        if once:
            part = self._part((form.stores[each].node for each in once), stores=once)
            self._vectors(part, cursor)

    def _settle(self) -> None:
        """Find what does not vary along the columns."""
        self._apart = {
            number
            for number, varies in enumerate(varying(self.w.form))
            if not self._along_columns(number) and (varies or number in self.w.scalars)
        }

    def begin(self, pass_: Pass) -> Pass:
        """What is written for a vector of columns so that the first folds can take it."""
        self._settle()
        operands = [operands_of(self.w.form, each)[0] for each in pass_.folds]
        return self._part(operands, folds=pass_.folds)

    def _along_columns(self, number: int) -> bool:
        """Whether a node varies along the columns."""
        form = self.w.form
        axis = form.vector_axis
        found: set[int] = set()
        for place in range(number + 1):
            strides = strides_of(form.nodes[place])
            below = any(each in found for each in operands_of(form, place))
            if below or isinstance(form.nodes[place], Fold) or (strides and strides[axis]):
                found.add(place)
        return number in found

    def _part(
        self,
        wanted: Iterable[int],
        *,
        folds: tuple[int, ...] = (),
        stores: tuple[int, ...] = (),
        fresh: tuple[int, ...] = (),
    ) -> Pass:
        """What is written for a vector of columns so that `wanted` are there; `fresh` are kept."""
        form = self.w.form
        needed, order, reloaded = set(wanted), list[int](), list[int]()
        for number in reversed(range(len(form.nodes))):
            apart = number in self._apart or isinstance(form.nodes[number], Literal)
            if number not in needed or apart:
                continue
            if number in self.steady and number not in fresh:
                reloaded.append(number)
                continue
            order.append(number)
            needed.update(operands_of(form, number))
        return Pass(0, tuple(reversed(order)), fresh, tuple(reloaded), folds, stores, ())

    def _vectors(self, part: Pass, cursor: Cursor) -> None:
        """Write a part for every vector of columns."""
        with self.w.f.loop(0, self._count()) as loop:
            at, column = self._column(loop.index)
            self.w.vector(part, cursor, at, column)

    def _count(self) -> Value:
        """Vectors of the block."""
        f, count = self.w.f, self.w.count
        return f.div(f.add(f.sub(self._high, self._low), count - 1), count)

    def _column(self, index: Value) -> tuple[Value, Value]:
        """Where vector `index` starts, among all columns and in the thread's memory."""
        f, form, count = self.w.f, self.w.form, self.w.count
        column = f.mul(index, count)
        at = f.add(column, self._low)
        if form.vector_size % count:
            at = f.minimum(at, form.vector_size - count)
        return at, column

    def _between(self, pass_: Pass, cursor: Cursor) -> None:
        """Write what follows from the folds of earlier passes."""
        nodes = self.w.form.nodes
        fresh = tuple(
            each
            for each in pass_.steady
            if each in self.steady and not isinstance(nodes[each], Fold)
        )
        if fresh:
            self._vectors(self._part(fresh, fresh=fresh), cursor)

    def _nothing(self, pass_: Pass) -> None:
        """Folds of no elements."""
        w = self.w
        for number, folding in zip(pass_.folds, foldings_of(w, pass_), strict=True):
            with w.f.loop(0, self._count()) as loop:
                value = folding.finish(folding.identity(w.count))
                w.store_kept(number, value, w.f.mul(loop.index, w.count))

    def _pass(self, pass_: Pass, cursor: Cursor) -> None:
        f, w = self.w.f, self.w
        foldings = foldings_of(w, pass_)
        used = min(LANES, self.length)
        sums = [
            Lanes32(f, folding, self.sums[number], self.width, w.count, used)
            for number, folding in zip(pass_.folds, foldings, strict=True)
        ]
        levels = [
            Recursion(f, folding, memory, self.length, self.width, w.count)
            for number, folding in zip(pass_.folds, foldings, strict=True)
            if (memory := self.recursions.get(number)) is not None
        ]
        for each in (*sums, *levels):
            each.clear()
        operands = [operands_of(w.form, each)[0] for each in pass_.folds]
        stored = [w.form.stores[each].node for each in pass_.stores]
        part = self._part((*operands, *stored), folds=pass_.folds, stores=pass_.stores)
        self._rows(0, part, sums, levels, cursor, f.number(0))
        for number, folding, held in zip(pass_.folds, foldings, sums, strict=True):
            level = levels[pass_.folds.index(number)] if levels else None
            with f.loop(0, self._count()) as loop:
                column = f.mul(loop.index, w.count)
                value = level.result(column) if level else held.fold(column)
                w.store_kept(number, w.lanes.rounded(value, folding.dtype), column)

    def _rows(
        self,
        axis: int,
        part: Pass,
        sums: Sequence[Lanes32],
        levels: Sequence[Recursion],
        cursor: Cursor,
        row: Value,
    ) -> None:
        """The loops over the folded axes; `row` counts through all of them."""
        f, w, form = self.w.f, self.w, self.w.form
        if axis < len(form.row):
            with f.loop(0, form.row[axis]) as loop:
                moved = w.moved(cursor, len(form.outer) + axis, loop.index)
                following = f.add(f.mul(row, form.row[axis]), loop.index)
                self._rows(axis + 1, part, sums, levels, moved, following)
            return
        for number in self.singles(part):
            w.one(number, cursor)
        lane = f.rem(row, LANES)
        with f.loop(0, self._count()) as loop:
            at, column = self._column(loop.index)
            w.prefetch(part, cursor, at, PREFETCH_ROWS)
            values = w.vector(part, cursor, at, column)
            for number, held in zip(part.folds, sums, strict=True):
                held.add(lane, column, w.value(operands_of(form, number)[0], values))
        if levels:
            self._hand_on(sums, levels, row)

    def singles(self, part: Pass) -> list[int]:
        """Nodes that vary along the rows only and that a part needs, ascending."""
        form, varies = self.w.form, varying(self.w.form)
        needed = {each for number in part.order for each in operands_of(form, number)}
        needed |= {operands_of(form, each)[0] for each in part.folds}
        needed |= {form.stores[each].node for each in part.stores}
        for number in reversed(range(len(form.nodes))):
            if number in needed and number in self._apart and varies[number]:
                needed.update(operands_of(form, number))
        return sorted(each for each in needed if each in self._apart and varies[each])

    def _hand_on(self, sums: Sequence[Lanes32], levels: Sequence[Recursion], row: Value) -> None:
        """After a chunk: fold its lanes and start anew."""
        f, w = self.w.f, self.w
        full = f.equal(f.rem(row, CHUNK), CHUNK - 1)
        with f.when(f.b.or_(full, f.equal(row, self.length - 1)), likely=False):
            chunk = f.div(row, CHUNK)
            for held, level in zip(sums, levels, strict=True):
                with f.loop(0, self._count()) as loop:
                    column = f.mul(loop.index, w.count)
                    level.push(chunk, held.fold(column), column)
                held.clear()
                level.settle(chunk)
