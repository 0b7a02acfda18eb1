"""A stable sort of lines, by digits of their keys.

Note [Sorting by digits]
    Elements are keys (Note [Keys]) with the sign bit turned, so that they compare as unsigned.
    Keys of 32 bits stand above their place in one word of 64, those of 64 bits beside it. From the
    lowest byte of the key on, a pass counts each digit and moves every element to the next free
    place of its digit: equal digits keep their order, so the sort is stable. A pass in which all
    digits agree moves nothing. Short lines are ranked: an element's place is the number of those
    that come before it.
"""

from dataclasses import dataclass

from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY, Lanes, load_element
from bcai.vm.backends.native.kernels.ordered import WIDE, key_of
from bcai.vm.backends.native.kernels.strided import MOVED
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I64, Function, Module, Value
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

DIGITS = 256
SHORT = 24
"""Elements of a line that is ranked."""


@dataclass(frozen=True, slots=True)
class SortKernel:
    """Slots: x, values, places (int64), n, inner. A unit is one line of `T[outer, n, inner]`."""

    dtype: DType
    descending: bool
    library: str | None = "scan"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"sort_{self.dtype.name}_{self.descending:d}"

    @property
    def _is_wide(self) -> bool:
        return self.dtype in WIDE

    def scratch_bytes(self, n: int) -> int:
        """Two copies of a line's words, and of their places beside wide keys."""
        return 8 * n * (4 if self._is_wide else 2)

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f = at.f
        n, inner = at.number(3), at.number(4)
        counts = f.stack(I64, DIGITS)
        half = 2 if self._is_wide else 1
        other = f.offset(at.scratch, f.mul(n, half), I64)
        with f.loop(at.begin, at.end) as loop:
            start = f.mul(f.mul(f.div(loop.index, inner), n), inner)
            start = f.add(start, f.rem(loop.index, inner))
            self._read(at, Lanes(f, target, 1), start, n, inner)
            with f.either(f.less(SHORT, n)) as (long, short):
                with long:
                    sorted_ = self._passes(f, counts, at.scratch, other, n)
                    self._write(at, sorted_, start, n, inner)
                with short:
                    self._rank(f, at.scratch, other, n)
                    self._write(at, other, start, n, inner)
        f.give(0)

    def _read(self, at: Entry, lanes: Lanes, start: Value, n: Value, inner: Value) -> None:
        f, x = at.f, at.pointer(0)
        with f.loop(0, n) as loop:
            place = f.add(start, f.mul(loop.index, inner))
            value = load_element(lanes, f.offset(x, place, IN_MEMORY[self.dtype]), self.dtype)
            last = not self.descending
            key = key_of(lanes, value, self.dtype, falling=self.descending, nan_last=last)
            key = f.b.xor(key, f.constant(key.type, 1 << (63 if self._is_wide else 31)))
            if not self._is_wide:
                key = f.b.or_(f.b.shl(f.b.zext(key, I64), f.number(32)), loop.index)
            f.store(key, f.offset(at.scratch, loop.index, I64))
            if self._is_wide:
                f.store(loop.index, f.offset(at.scratch, f.add(n, loop.index), I64))

    def _passes(self, f: Function, counts: Value, from_: Value, to: Value, n: Value) -> Value:
        """Sort; returns where the sorted words are."""
        first, last = (0, 64) if self._is_wide else (32, 64)
        with f.loop(first, last, 8, carry=[from_, to]) as loop:
            source, target = loop.carried
            self._count(f, counts, source, loop.index, n)
            word = f.load(source, I64)
            all_alike = f.equal(f.load(self._digit(f, counts, word, loop.index), I64), n)
            with f.when(f.b.not_(all_alike)):
                self._starts(f, counts)
                self._move(f, counts, source, target, loop.index, n)
            loop.following[:] = [
                f.b.select(all_alike, source, target),
                f.b.select(all_alike, target, source),
            ]
        return loop.following[0]

    @staticmethod
    def _digit(f: Function, counts: Value, word: Value, shift: Value) -> Value:
        """Address of the count of a word's digit."""
        return f.offset(counts, f.b.and_(f.b.lshr(word, shift), f.number(DIGITS - 1)), I64)

    def _count(self, f: Function, counts: Value, source: Value, shift: Value, n: Value) -> None:
        with f.loop(0, DIGITS) as clear:
            f.store(f.number(0), f.offset(counts, clear.index, I64))
        with f.loop(0, n) as loop:
            word = f.load(f.offset(source, loop.index, I64), I64)
            place = self._digit(f, counts, word, shift)
            f.store(f.add(f.load(place, I64), 1), place)

    @staticmethod
    def _starts(f: Function, counts: Value) -> None:
        """Counts of digits to the first place of each."""
        with f.loop(0, DIGITS, carry=[f.number(0)]) as loop:
            place = f.offset(counts, loop.index, I64)
            count = f.load(place, I64)
            f.store(loop.carried[0], place)
            loop.following[0] = f.add(loop.carried[0], count)

    def _move(
        self, f: Function, counts: Value, source: Value, target: Value, shift: Value, n: Value
    ) -> None:
        with f.loop(0, n) as loop:
            word = f.load(f.offset(source, loop.index, I64), I64)
            digit = self._digit(f, counts, word, shift)
            place = f.load(digit, I64)
            f.store(f.add(place, 1), digit)
            self._put(f, source, target, loop.index, place, n, word)

    def _put(
        self,
        f: Function,
        source: Value,
        target: Value,
        index: Value,
        place: Value,
        n: Value,
        word: Value,
    ) -> None:
        f.store(word, f.offset(target, place, I64))
        if self._is_wide:
            beside = f.load(f.offset(source, f.add(n, index), I64), I64)
            f.store(beside, f.offset(target, f.add(n, place), I64))

    def _rank(self, f: Function, source: Value, target: Value, n: Value) -> None:
        with f.loop(0, n) as loop:
            word = f.load(f.offset(source, loop.index, I64), I64)
            with f.loop(0, n, carry=[f.number(0)]) as inner:
                other = f.load(f.offset(source, inner.index, I64), I64)
                before = f.b.icmp_unsigned("<", other, word)
                if self._is_wide:
                    earlier = f.less(inner.index, loop.index)
                    tie = f.b.and_(f.equal(other, word), earlier)
                    before = f.b.or_(before, tie)
                inner.following[0] = f.add(inner.carried[0], f.b.zext(before, I64))
            self._put(f, source, target, loop.index, inner.following[0], n, word)

    def _write(self, at: Entry, words: Value, start: Value, n: Value, inner: Value) -> None:
        f, type_ = at.f, IN_MEMORY[MOVED[self.dtype.itemsize]]
        x, values, places = (at.pointer(slot) for slot in range(3))
        with f.loop(0, n) as loop:
            if self._is_wide:
                from_ = f.load(f.offset(words, f.add(n, loop.index), I64), I64)
            else:
                word = f.load(f.offset(words, loop.index, I64), I64)
                from_ = f.b.and_(word, f.number((1 << 32) - 1))
            to = f.add(start, f.mul(loop.index, inner))
            value = f.load(f.offset(x, f.add(start, f.mul(from_, inner)), type_), type_)
            f.store(value, f.offset(values, to, type_))
            f.store(from_, f.offset(places, to, I64))
