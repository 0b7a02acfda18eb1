"""Rows: vectors run along the row, and folds fold them.

Note [Two ways to fold a row]
    Short bodies are written once for each of the 32 / count accumulators, which stay in registers.
    Long bodies, and rows of several axes, first fill a chunk in the thread's memory, in order; then
    the chunk is folded. The bits are the same.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bcai.vm.backends.native.llvm import I64, Loop, Number, Value
from bcai.vm.backends.native.loops.accumulate import (
    accumulate,
    accumulate_rest,
    accumulate_run,
    flat,
    identities,
    joined,
    nothing,
    shaped,
)
from bcai.vm.backends.native.loops.folding import Folding, Parts
from bcai.vm.backends.native.loops.recursion import Recursion
from bcai.vm.backends.native.loops.schedule import Pass, operands_of
from bcai.vm.backends.native.loops.sweep import goes_around, unrolled, vectors
from bcai.vm.backends.native.loops.writer import Cursor, Writer, kept_bytes
from bcai.vm.compiler.plan import Fold
from bcai.vm.isa.order import CHUNK, LANES

PAD = 64
"""Elements before and behind a filled chunk that overlapping vectors may touch."""


@dataclass(frozen=True, slots=True)
class Run:
    """Elements `low` to `high` of the last axis; `origin` is the place of its first in the row."""

    cursor: Cursor
    low: Value
    high: Value
    origin: Value
    loop: Loop


@dataclass(slots=True)
class Rows:
    """Writes all passes over one row.

    Attributes
    ----------
    filled
        Addresses of chunks to be filled, by fold; empty if accumulators stay in registers.
    recursions
        Memory for rows of more than one chunk, by fold.
    """

    w: Writer
    passes: Sequence[Pass]
    filled: Mapping[int, Value]
    recursions: Mapping[int, Value]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the row's axes."""
        return self.w.form.row

    @property
    def length(self) -> int:
        """Elements of a row."""
        return math.prod(self.sizes)

    def write(self, cursor: Cursor) -> None:
        """Write the passes over the row at the cursor, and what is stored once a row."""
        for pass_ in self.passes:
            for number in pass_.steady if pass_.level else ():
                self.w.one(number, cursor)
            if pass_.folds:
                self._fold(pass_, cursor)
            elif pass_.stores and self.length:
                self._runs(pass_, cursor, 0, self.length, None)
        for store in self.w.form.stores:
            if store.once_a_row:
                self.w.store_one(store.access, self.w.scalar(store.node), cursor)

    def write_chunk(self, cursor: Cursor, low: Number, high: Number) -> None:
        """Fold one chunk of the only pass, and store its values."""
        f, w = self.w.f, self.w
        pass_ = self.passes[0]
        foldings = foldings_of(w, pass_)
        last = f.equal(high, self.length)
        found = self._chunk(pass_, foldings, cursor, low, high, last)
        values = {
            number: folding.finish(parts)
            for number, folding, parts in zip(pass_.folds, foldings, found, strict=True)
        }
        for store in w.form.stores:
            w.store_one(store.access, values[store.node], cursor, f.div(low, CHUNK))

    def write_part(self, cursor: Cursor, low: Number, high: Number) -> None:
        """Write the only pass for a part of the row."""
        (pass_,) = self.passes
        if goes_around(self.w.form, self.w.target, self.w.count):
            low = self._around(pass_, cursor, low, high)
        self._run(pass_, cursor, low, high, 0, None)

    def _around(self, pass_: Pass, cursor: Cursor, low: Number, high: Number) -> Value:
        """Write whole vectors past the caches if all are aligned; where what is left begins."""
        f, w, form = self.w.f, self.w, self.w.form
        start = w.moved(cursor, len(form.outer), low)
        bits = f.number(0)
        for each in form.stores:
            bits = f.b.or_(bits, f.b.ptrtoint(start.addresses[each.access.slot], I64))
        aligned = f.equal(f.rem(bits, w.target.vector_bytes), 0)
        around = replace(w, around=True)
        step = w.count * unrolled(pass_, form, w.target, w.count, self.length)
        whole = f.sub(high, f.rem(f.sub(high, low), step))
        whole = f.b.select(aligned, whole, f.number(low))
        with f.loop(low, whole, step) as loop:
            for place in range(0, step, w.count):
                around.vector(pass_, cursor, f.add(loop.index, place))
        f.fence()
        return whole

    def _fold(self, pass_: Pass, cursor: Cursor) -> None:
        """One pass with folds; their values go to the scalars."""
        f, w = self.w.f, self.w
        foldings = foldings_of(w, pass_)
        if self.length <= CHUNK:
            found = self._chunk(pass_, foldings, cursor, 0, self.length, None)
            results = [each.finish(parts) for each, parts in zip(foldings, found, strict=True)]
        else:
            levels = [
                Recursion(f, folding, self.recursions[number], self.length)
                for number, folding in zip(pass_.folds, foldings, strict=True)
            ]
            for each in levels:
                each.clear()
            chunks = -(-self.length // CHUNK)
            with f.loop(0, chunks) as loop:
                start = f.mul(loop.index, CHUNK)
                stop = f.minimum(f.add(start, CHUNK), self.length)
                last = f.equal(loop.index, chunks - 1)
                found = self._chunk(pass_, foldings, cursor, start, stop, last)
                for each, folding, parts in zip(levels, foldings, found, strict=True):
                    each.push(loop.index, folding.finish(parts))
                    each.settle(loop.index)
            results = [each.result() for each in levels]
        for number, folding, value in zip(pass_.folds, foldings, results, strict=True):
            w.scalars[number] = w.of_count(1).lanes.rounded(value, folding.dtype)

    def _chunk(
        self,
        pass_: Pass,
        foldings: Sequence[Folding],
        cursor: Cursor,
        start: Number,
        stop: Number,
        last: Value | None,
    ) -> list[Parts]:
        """Fold elements from `start` to `stop`; `last` says whether it is the last chunk."""
        f, w, rest = self.w.f, self.w, self.length % LANES
        if not self.length:
            return [each.identity(1) for each in foldings]
        if self.filled:
            return self._filled_chunk(pass_, foldings, cursor, start, stop)

        if len(self.sizes) > 1:
            return self._chunk_of_runs(pass_, foldings, cursor, start, stop)

        def values(at: Value) -> list[Value]:
            return self._operands(pass_, cursor, at)

        sums: Sequence[Sequence[Parts | None]] = nothing(foldings, w.count)
        if self.length >= LANES:
            whole = f.sub(stop, f.rem(stop, LANES))
            none = identities(foldings, w.count)
            sums = accumulate(f, foldings, values, w.count, start, whole, none)
        if rest and last is None:
            sums = accumulate_rest(f, foldings, values, w.count, self.length, sums)
        elif rest and last is not None:
            before = f.block
            with f.when(last):
                more = accumulate_rest(f, foldings, values, w.count, self.length, sums)
                inside = f.block
            sums = joined(f, sums, before, more, inside)
        return [each.tree(group) for each, group in zip(foldings, sums, strict=True)]

    def _operands(
        self, pass_: Pass, cursor: Cursor, at: Value, place: Number | None = None
    ) -> list[Value]:
        """Write a vector of the pass: what its folds fold."""
        found = self.w.vector(pass_, cursor, at, place)
        operands = (operands_of(self.w.form, each)[0] for each in pass_.folds)
        return [self.w.value(each, found) for each in operands]

    def _chunk_of_runs(
        self,
        pass_: Pass,
        foldings: Sequence[Folding],
        cursor: Cursor,
        start: Number,
        stop: Number,
    ) -> list[Parts]:
        """Fold runs that begin and end with whole vectors."""
        f, w = self.w.f, self.w
        none = identities(foldings, w.count)
        with self._walk(cursor, start, stop, flat(none)) as run:

            def values(at: Value) -> list[Value]:
                return self._operands(pass_, run.cursor, at, f.add(run.origin, at))

            sums = shaped(run.loop.carried, none)
            lane = f.add(run.origin, run.low)
            sums = accumulate_run(f, foldings, values, w.count, run.low, run.high, lane, sums)
            run.loop.following[:] = flat(sums)
        sums = shaped(run.loop.following, none)
        return [each.tree(group) for each, group in zip(foldings, sums, strict=True)]

    def _filled_chunk(
        self,
        pass_: Pass,
        foldings: Sequence[Folding],
        cursor: Cursor,
        start: Number,
        stop: Number,
    ) -> list[Parts]:
        f, w = self.w.f, self.w
        self._runs(pass_, cursor, start, stop, start)
        size = f.sub(stop, start)
        found: list[Parts] = []
        for number, folding in zip(pass_.folds, foldings, strict=True):
            memory, dtype = self.filled[number], folding.dtype
            wide = w.of_count(min(LANES, w.target.vector_bytes // kept_bytes(dtype)))
            for lane in range(0, LANES, wide.count):
                place = f.add(size, PAD + lane)
                wide.store_scratch(memory, folding.neutral(wide.count), dtype, place)

            def values(
                at: Value, wide: Writer = wide, folding: Folding = folding, memory: Value = memory
            ) -> list[Value]:
                return [wide.load_scratch(memory, folding.dtype, f.add(at, PAD))]

            none = identities([folding], wide.count)
            (sums,) = accumulate(f, [folding], values, wide.count, 0, size, none)
            found.append(folding.tree(sums))
        return found

    def _runs(
        self, pass_: Pass, cursor: Cursor, start: Number, stop: Number, base: Number | None
    ) -> None:
        """Write the pass for elements from `start` to `stop`, run by run of the last axis.

        With `base` the folds' operands go to their chunks, from that element on.
        """
        if len(self.sizes) == 1:
            self._run(pass_, cursor, start, stop, 0, base)
            return
        with self._walk(cursor, start, stop, ()) as run:
            self._run(pass_, run.cursor, run.low, run.high, run.origin, base)

    @contextmanager
    def _walk(
        self, cursor: Cursor, start: Number, stop: Number, carry: Sequence[Value]
    ) -> Generator[Run, None, None]:
        """Loop over the runs of the last axis that hold elements from `start` to `stop`."""
        f, w, inner = self.w.f, self.w, self.sizes[-1]
        first, beyond = f.div(start, inner), f.div(f.add(stop, inner - 1), inner)
        with f.loop(first, beyond, 1, carry) as loop:
            at_run, left = cursor, loop.index
            for place in reversed(range(len(self.sizes) - 1)):
                index = f.rem(left, self.sizes[place]) if place else left
                at_run = w.moved(at_run, len(w.form.outer) + place, index)
                left = f.div(left, self.sizes[place]) if place else left
            origin = f.mul(loop.index, inner)
            low = f.maximum(f.sub(start, origin), 0)
            high = f.minimum(f.sub(stop, origin), inner)
            yield Run(at_run, low, high, origin, loop)

    def _run(
        self,
        pass_: Pass,
        cursor: Cursor,
        low: Number,
        high: Number,
        origin: Number,
        base: Number | None,
    ) -> None:
        """Vectors from `low` to `high` of the last axis; `origin` is its place in the row."""
        f, w, inner = self.w.f, self.w, self.sizes[-1]

        def body(at: Value) -> None:
            place = f.add(origin, at)
            values = w.vector(pass_, cursor, at, place)
            for number in pass_.folds if base is not None else ():
                operand = operands_of(w.form, number)[0]
                value, dtype = w.value(operand, values), w.form.dtype(operand)
                filled = f.add(f.sub(place, base or 0), PAD)
                w.store_scratch(self.filled[number], value, dtype, filled)

        vectors(w, body, low, high, inner, unrolled(pass_, w.form, w.target, w.count, inner))


def foldings_of(w: Writer, pass_: Pass) -> list[Folding]:
    """The folds of a pass."""
    nodes = (w.form.nodes[each] for each in pass_.folds)
    return [Folding(w.f, each) for each in nodes if isinstance(each, Fold)]
