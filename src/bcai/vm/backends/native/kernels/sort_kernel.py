"""The first elements of lines in order: all of them for `Sort`, some for `TopK`.

Note [Selection]
    As many places as there is room for are put in order at once. Where a line is longer, the last
    one that is kept is a limit: later elements are gathered only if they come before it, and when
    the room is full it is put in order again, which lowers the limit. Later elements that equal it
    come after it, so that the order is that of sorting everything.
"""

from dataclasses import dataclass

from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY, Lanes
from bcai.vm.backends.native.kernels.ordered import key_type
from bcai.vm.backends.native.kernels.sort_order import Keys, order_function, place_of
from bcai.vm.backends.native.kernels.strided import MOVED
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I64, Module, Value
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

ROOM_PARTS, ROOM_MIN = 4, 64
"""Room for places is so many times as large as what is kept, and holds a vector beside."""


def room_for(n: int, kept: int) -> int:
    """Places that are put in order at once, of a line of `n` elements."""
    return min(n, max(ROOM_PARTS * kept, ROOM_MIN))


@dataclass(frozen=True, slots=True)
class SortKernel:
    """Slots: x, values, places (int64), n, inner, kept, room.

    A unit is one line of `T[outer, n, inner]`, to one of `[outer, kept, inner]`. Without `valued`
    the places alone are written.
    """

    dtype: DType
    descending: bool
    valued: bool = True
    library: str | None = "scan"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        what = "sort" if self.valued else "places"
        return f"{what}_{self.dtype.name}_{self.descending:d}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        keys = Keys(self.dtype, self.descending)
        order = order_function(module, target, keys)
        at = entry(module, self.symbol)
        line = _Line(at, target, keys, order)
        with at.f.loop(at.begin, at.end) as unit:
            line.write(unit.index, valued=self.valued)
        at.f.give(0)


class _Line:
    """Writes the work on one line."""

    def __init__(self, at: Entry, target: Target, keys: Keys, order: Value) -> None:
        self.at, self.f, self.target, self.keys, self.order = at, at.f, target, keys, order
        self.n, self.inner, self.kept, self.room = (at.number(slot) for slot in range(3, 7))
        self.other = at.f.offset(at.scratch, self.room, I64)
        self.words, self.count, self.limit = (at.f.stack(I64, 1) for _ in range(3))

    def write(self, unit: Value, *, valued: bool) -> None:
        """Choose, put in order, and write."""
        f = self.f
        outer, column = f.div(unit, self.inner), f.rem(unit, self.inner)
        start = f.add(f.mul(f.mul(outer, self.n), self.inner), column)
        line = f.offset(self.at.pointer(0), start, IN_MEMORY[self.keys.dtype])
        with f.loop(0, self.room) as loop:
            f.store(loop.index, f.offset(self.at.scratch, loop.index, I64))
        f.store(self.at.scratch, self.words)
        f.store(self.room, self.count)
        self.put_in_order(line)
        with f.when(f.less(self.room, self.n)):
            lanes = Lanes(f, self.target, self.target.lanes(key_type(self.keys.dtype)))
            rest = f.sub(self.n, self.room)
            whole = f.sub(self.n, f.rem(rest, lanes.count))
            split = f.b.select(f.equal(self.inner, 1), whole, self.room)
            self.narrow_down(line)
            self.gather(lanes, line, self.room, split)
            self.gather(Lanes(f, self.target, 1), line, split, self.n)
            self.put_in_order(line)
        result = f.add(f.mul(f.mul(outer, self.kept), self.inner), column)
        self.put(line, result, valued=valued)

    def put_in_order(self, line: Value) -> None:
        """Sort what has been gathered."""
        f, words = self.f, self.f.load_pointer(self.words)
        count = f.load(self.count, I64)
        free = self.beside(words)
        f.store(f.call(self.order, [line, self.inner, words, free, count]), self.words)

    def beside(self, words: Value) -> Value:
        """The half of the scratch that is not that of the words."""
        f = self.f
        is_first = f.b.icmp_unsigned("==", words, self.at.scratch)
        return f.b.select(is_first, self.other, self.at.scratch)

    def narrow_down(self, line: Value) -> None:
        """Keep the first ones, and let the last of them be the limit."""
        f = self.f
        last = place_of(f, f.load_pointer(self.words), f.sub(self.kept, 1))
        pointer = f.offset(line, f.mul(last, self.inner), IN_MEMORY[self.keys.dtype])
        f.store(self.keys.of(Lanes(f, self.target, 1), pointer), self.limit)
        f.store(self.kept, self.count)

    def gather(self, lanes: Lanes, line: Value, start: Value, stop: Value) -> None:
        """Add the places of elements that come before the limit."""
        f, type_ = self.f, IN_MEMORY[self.keys.dtype]
        with f.loop(start, stop, lanes.count) as loop:
            pointer = f.offset(line, f.mul(loop.index, self.inner), type_)
            key = self.keys.of(lanes, pointer)
            limit = f.splat(f.load(self.limit, IN_MEMORY[key_type(self.keys.dtype)]), lanes.count)
            before = f.b.icmp_signed("<", key, limit)
            with f.when(f.any_lane(before), likely=False):
                full = f.less(f.sub(self.room, lanes.count), f.load(self.count, I64))
                with f.when(full, likely=False):
                    self.put_in_order(line)
                    self.narrow_down(line)
                self.add(before, loop.index, lanes.count)

    def add(self, before: Value, first: Value, lanes: int) -> None:
        """Write each place to the end, and move the end behind those that count."""
        f = self.f
        words, count = f.load_pointer(self.words), f.load(self.count, I64)
        for lane in range(lanes):
            f.store(f.add(first, lane), f.offset(words, count, I64))
            count = f.add(count, f.b.zext(f.lane(before, lane), I64))
        f.store(count, self.count)

    def put(self, line: Value, start: Value, *, valued: bool) -> None:
        """Write the result."""
        f, type_ = self.f, IN_MEMORY[MOVED[self.keys.dtype.itemsize]]
        words, values, places = (
            f.load_pointer(self.words), self.at.pointer(1), self.at.pointer(2)
        )  # fmt: skip
        with f.loop(0, self.kept) as loop:
            place = place_of(f, words, loop.index)
            to = f.add(start, f.mul(loop.index, self.inner))
            f.store(place, f.offset(places, to, I64))
            if valued:
                from_ = f.offset(line, f.mul(place, self.inner), type_)
                f.store(f.load(from_, type_), f.offset(values, to, type_))
