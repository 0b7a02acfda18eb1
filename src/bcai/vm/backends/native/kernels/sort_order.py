"""The function that puts places in the order of their elements, by digits of their keys.

Note [Sorting by digits]
    A place stands in the lower half of a word of 64 bits, and in the upper half 32 bits of its
    element's key (Note [Keys]), counted from the least key on. From the lowest byte on, a pass
    moves every word to the next free place of its digit: equal digits keep their order, so the sort
    is stable. All digits are counted at once, and one that is the same everywhere moves nothing.
    Keys of 64 bits are sorted by their lower half, then by the upper one if any of it differs. Few
    words are ranked: a word's place is the number of those that come before it.
"""

from dataclasses import dataclass

import numpy as np

from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY, Lanes, load_element
from bcai.vm.backends.native.kernels.ordered import WIDE, key_limit, key_of
from bcai.vm.backends.native.llvm import I64, POINTER, Function, Module, Number, Value
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

HALF = 32
LOW = (1 << HALF) - 1
DIGIT_BITS = 8
DIGITS = 1 << DIGIT_BITS
SHORT = 24
"""Words that are ranked, at most."""

ORDER = (POINTER, I64, POINTER, POINTER, I64)
"""Parameters: a line, elements from one of its own to the next; words whose lower halves are
places, as much memory again; how many. Gives the words in order, which are in one of the two."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What elements are sorted by."""

    dtype: DType
    falling: bool

    def of(self, lanes: Lanes, pointer: Value) -> Value:
        """Keys of elements that lie side by side; they compare as signed integers."""
        value = load_element(lanes, pointer, self.dtype)
        return key_of(lanes, value, self.dtype, falling=self.falling, nan_last=not self.falling)

    @property
    def least(self) -> int:
        """The least key."""
        if self.dtype.is_float:
            return ~key_limit(self.dtype)
        if self.dtype is DType.bool:
            return ~1 if self.falling else 0
        limits = np.iinfo(self.dtype.numpy)
        return ~int(limits.max) if self.falling else int(limits.min)


def place_of(f: Function, words: Value, index: Number) -> Value:
    """The place that word `index` holds."""
    return f.b.and_(f.load(f.offset(words, index, I64), I64), f.number(LOW))


def order_function(module: Module, target: Target, keys: Keys) -> Value:
    """Write the function, with `ORDER` parameters."""
    name = f"order_{keys.dtype.name}_{keys.falling:d}"
    if module.has(name):
        return module.handle(name)
    f = module.function(name, ORDER, POINTER, internal=True, inline=False)
    _Order(f, target, keys).write()
    return f.handle


class _Order:
    """Writes the body."""

    def __init__(self, f: Function, target: Target, keys: Keys) -> None:
        self.f, self.keys, self.one = f, keys, Lanes(f, target, 1)
        self.line, self.step, words, other, self.count = f.arguments
        self.counts = f.stack(I64, DIGITS * HALF // DIGIT_BITS)
        self.source, self.target, self.unlike = (f.stack(I64, 1) for _ in range(3))
        f.store(words, self.source)
        f.store(other, self.target)
        f.store(f.number(-1), self.unlike)

    def write(self) -> None:
        """Sort by the lower half of the keys, then by the upper one."""
        f = self.f
        with f.loop(0, 64 if self.keys.dtype in WIDE else HALF, HALF) as half:
            unlike = f.b.lshr(f.load(self.unlike, I64), half.index)
            with (
                f.when(f.b.not_(f.equal(unlike, 0))),
                f.either(f.less(SHORT, self.count)) as (long, short),
            ):
                with long:
                    self.sort(half.index)
                with short:
                    self.rank(half.index)
        f.give(f.load_pointer(self.source))

    def sort(self, half: Value) -> None:
        """By digits."""
        f = self.f
        with f.loop(0, DIGITS * HALF // DIGIT_BITS) as clear:
            f.store(f.number(0), f.offset(self.counts, clear.index, I64))
        self.give_keys(half, counted=True)
        with f.loop(HALF, 64, DIGIT_BITS) as shift:
            first = f.load(f.load_pointer(self.source), I64)
            count = f.load(self.counter(first, shift.index), I64)
            with f.when(f.less(count, self.count)):
                self.count_to_start(shift.index)
                self.move(shift.index)
                self.swap()

    def give_keys(self, half: Value, *, counted: bool) -> None:
        """Put half of its key above every place, count digits, and note which bits differ."""
        f, words = self.f, self.f.load_pointer(self.source)
        first = self.key(place_of(f, words, 0))
        with f.loop(0, self.count, 1, [f.number(0)]) as loop:
            place = place_of(f, words, loop.index)
            key = self.key(place)
            loop.following[0] = f.b.or_(loop.carried[0], f.b.xor(key, first))
            word = f.b.or_(f.b.shl(f.b.lshr(key, half), f.number(HALF)), place)
            f.store(word, f.offset(words, loop.index, I64))
            for shift in range(HALF, 64, DIGIT_BITS) if counted else ():
                counter = self.counter(word, f.number(shift))
                f.store(f.add(f.load(counter, I64), 1), counter)
        f.store(loop.following[0], self.unlike)

    def key(self, place: Value) -> Value:
        """Key of the element at a place, counted from the least one on."""
        f, dtype = self.f, self.keys.dtype
        pointer = f.offset(self.line, f.mul(place, self.step), IN_MEMORY[dtype])
        key = self.keys.of(self.one, pointer)
        key = f.b.sub(key, f.constant(key.type, self.keys.least))
        return key if dtype in WIDE else f.b.zext(key, I64)

    def counter(self, word: Value, shift: Value) -> Value:
        """Address of the count of the digit that a word has at `shift`."""
        f = self.f
        digit = f.b.and_(f.b.lshr(word, shift), f.number(DIGITS - 1))
        row = f.mul(f.sub(shift, HALF), DIGITS // DIGIT_BITS)
        return f.offset(self.counts, f.add(row, digit), I64)

    def count_to_start(self, shift: Value) -> None:
        """Counts of digits to the first place of each."""
        f = self.f
        row = f.offset(self.counts, f.mul(f.sub(shift, HALF), DIGITS // DIGIT_BITS), I64)
        with f.loop(0, DIGITS, 1, [f.number(0)]) as loop:
            counter = f.offset(row, loop.index, I64)
            loop.following[0] = f.add(loop.carried[0], f.load(counter, I64))
            f.store(loop.carried[0], counter)

    def move(self, shift: Value) -> None:
        """Every word to the next free place of its digit."""
        f = self.f
        source, target = f.load_pointer(self.source), f.load_pointer(self.target)
        with f.loop(0, self.count) as loop:
            word = f.load(f.offset(source, loop.index, I64), I64)
            counter = self.counter(word, shift)
            to = f.load(counter, I64)
            f.store(f.add(to, 1), counter)
            f.store(word, f.offset(target, to, I64))

    def swap(self) -> None:
        """What was the target is the source from now on."""
        f = self.f
        source, target = f.load_pointer(self.source), f.load_pointer(self.target)
        f.store(source, self.target)
        f.store(target, self.source)

    def rank(self, half: Value) -> None:
        """Every word behind those that are less, and those before it that are equal."""
        f = self.f
        self.give_keys(half, counted=False)
        source, target = f.load_pointer(self.source), f.load_pointer(self.target)

        def digits(index: Value) -> Value:
            key = f.b.lshr(f.load(f.offset(source, index, I64), I64), f.number(HALF))
            return f.b.or_(f.b.shl(key, f.number(HALF)), index)

        with f.loop(0, self.count) as loop:
            mine = digits(loop.index)
            with f.loop(0, self.count, 1, [f.number(0)]) as other:
                before = f.b.icmp_unsigned("<", digits(other.index), mine)
                other.following[0] = f.add(other.carried[0], f.b.zext(before, I64))
            word = f.load(f.offset(source, loop.index, I64), I64)
            f.store(word, f.offset(target, other.following[0], I64))
        self.swap()
