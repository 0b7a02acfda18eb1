"""Sums of chunk sums, of those sums, and so on: rows of any length.

A level holds 32 lanes in the thread's memory. Level 0 takes the values of chunks of 4096 elements;
a level that has taken 4096 is folded and handed on to the next (Note [Order of a sum]).
"""

from dataclasses import dataclass

from bcai.vm.backends.native.llvm import Function, Value, bits_of
from bcai.vm.backends.native.loops.folding import Folding, Parts
from bcai.vm.isa.order import CHUNK, LANES


def levels_of(length: int) -> int:
    """How often chunk sums are summed for a row."""
    count, values = 0, -(-length // CHUNK)
    while values > 1:
        count, values = count + 1, -(-values // CHUNK)
    return count


def recursion_bytes(length: int, width: int = 1) -> int:
    """Memory of one fold of rows of this length, for `width` rows side by side."""
    return levels_of(length) * 3 * LANES * 8 * width


@dataclass(slots=True)
class Recursion:
    """The levels of one fold.

    Attributes
    ----------
    memory
        Address of `recursion_bytes`.
    length
        Elements of a row, more than 4096.
    width
        Rows that are folded side by side, in vectors of `count`.
    """

    f: Function
    folding: Folding
    memory: Value
    length: int
    width: int = 1
    count: int = 1

    @property
    def _levels(self) -> int:
        return levels_of(self.length)

    def clear(self) -> None:
        """Let every level hold nothing."""
        for level in range(self._levels):
            self._clear(level)

    def push(self, chunk: Value, value: Value, column: Value | int = 0) -> None:
        """Take the value of a chunk, at `column` of the rows that are side by side."""
        self._add(0, self.f.rem(chunk, LANES), value, column)

    def settle(self, chunk: Value) -> None:
        """Hand on levels that are full, after all columns of a chunk have been taken."""
        chunks = -(-self.length // CHUNK)
        self._hand_on(0, chunk, chunks)

    def _hand_on(self, level: int, index: Value, count: int) -> None:
        if level + 1 >= self._levels:
            return
        f = self.f
        full = f.equal(f.rem(index, CHUNK), CHUNK - 1)
        with f.when(f.b.or_(full, f.equal(index, count - 1)), likely=False):
            above = f.div(index, CHUNK)
            with f.loop(0, self.width, self.count) as loop:
                value = self.folding.finish(self._tree(level, loop.index))
                self._add(level + 1, f.rem(above, LANES), value, loop.index)
            self._clear(level)
            self._hand_on(level + 1, above, -(-count // CHUNK))

    def result(self, column: Value | int = 0) -> Value:
        """The fold of the whole row."""
        return self.folding.finish(self._tree(self._levels - 1, column))

    def _clear(self, level: int) -> None:
        f = self.f
        with f.loop(0, LANES * self.width, self.count) as loop:
            for part, value in enumerate(self.folding.identity(self.count)):
                f.store(value, self._at(level, part, 0, loop.index))

    def _add(self, level: int, lane: Value, value: Value, column: Value | int) -> None:
        held = self._load(level, lane, column)
        merged = self.folding.merge(held, self.folding.parts_of(value))
        for part, each in enumerate(merged):
            self.f.store(each, self._at(level, part, lane, column))

    def _tree(self, level: int, column: Value | int) -> Parts:
        lanes = [self._load(level, lane, column) for lane in range(LANES)]
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [self.folding.merge(lanes[at], lanes[at + half]) for at in range(half)]
        return lanes[0]

    def _load(self, level: int, lane: Value | int, column: Value | int) -> Parts:
        return tuple(
            self.f.load(self._at(level, part, lane, column), type_)
            for part, type_ in enumerate(self.folding.types(self.count))
        )

    def _at(self, level: int, part: int, lane: Value | int, column: Value | int) -> Value:
        f, type_ = self.f, self.folding.types(1)[part]
        start = (level * 3 + part) * LANES * self.width
        place = f.add(f.add(f.mul(lane, self.width), column), start)
        return f.offset(self.memory, f.mul(place, max(1, bits_of(type_) // 8)))
