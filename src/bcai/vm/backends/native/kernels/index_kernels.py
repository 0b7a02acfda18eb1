"""Kernels that read and write by place. The places are checked before, by `PlacesKernel`."""

from dataclasses import dataclass

from bcai.vm.backends.native.elementwise.lanes import (
    IN_MEMORY,
    Lanes,
    load_element,
    store_element,
)
from bcai.vm.backends.native.kernels.strided import MOVED, in_blocks, walked
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import I1, I64, Function, Module, Value, vector
from bcai.vm.backends.native.narrow import NARROW
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

COLUMNS = 64
"""Columns that one thread adds up: whole cache lines of every type."""


@dataclass(frozen=True, slots=True)
class PlacesKernel:
    """Checks indices and makes one place of each tuple of them, as int64.

    Slots: places; for each index its elements, the axis's size and what a step along it is worth. A
    unit is one tuple. Returns 1 if an index is outside its axis.
    """

    dtypes: tuple[DType, ...]
    library: str | None = "index"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"places_{'_'.join(each.name for each in self.dtypes)}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f, count = at.f, target.lanes(DType.int64)
        result = at.pointer(0)
        indices = [
            (dtype, at.pointer(1 + 3 * k), at.number(2 + 3 * k), at.number(3 + 3 * k))
            for k, dtype in enumerate(self.dtypes)
        ]
        bad = f.stack(I64, 1)
        f.store(f.number(0), bad)

        def block(lanes: Lanes, index: Value, first: Value | None) -> None:
            places = f.constant(vector(I64, lanes.count), 0)
            outside = f.constant(vector(I1, lanes.count), 0)
            for dtype, pointer, size, worth in indices:
                place = f.offset(pointer, index, IN_MEMORY[dtype])
                given = load_element(lanes, place, dtype, first=first)
                if dtype is not DType.int64:
                    given = f.b.sext(given, places.type)
                sizes = f.splat(size, lanes.count)
                below = f.b.icmp_signed("<", given, f.constant(places.type, 0))
                plain = f.b.select(below, f.b.add(given, sizes), given)
                beyond = f.b.icmp_unsigned(">=", plain, sizes)
                if first is not None:
                    beyond = f.b.and_(beyond, f.first_lanes(lanes.count, first))
                outside = f.b.or_(outside, beyond)
                if len(indices) > 1:
                    plain = f.b.mul(plain, f.splat(worth, lanes.count))
                places = f.b.add(places, plain)
            store_element(lanes, places, f.offset(result, index, I64), DType.int64, first=first)
            with f.when(f.any_lane(outside), likely=False):
                f.store(f.number(1), bad)

        in_blocks(Lanes(f, target, count), at.begin, at.end, block)
        f.give(f.load(bad, I64))


@dataclass(frozen=True, slots=True)
class PickKernel:
    """Copies the rows at places: `result[outer, i] = x[outer, places[i]]`.

    Slots: x, places, result, number of places, rows of x, elements of a row. A unit is one row of
    the result. `size` is an element's bytes; `single` rows have one element.
    """

    size: int
    single: bool
    has_outer: bool
    library: str | None = "index"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"pick_{self.size}_{int(self.single)}_{int(self.has_outer)}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f = at.f
        x, places, result = (at.pointer(slot) for slot in range(3))
        count, rows, width = (at.number(slot) for slot in range(3, 6))
        width = f.number(1) if self.single else width
        with f.loop(at.begin, at.end) as loop:
            index, first_row = loop.index, f.number(0)
            if self.has_outer:
                first_row = f.mul(f.div(index, count), rows)
                index = f.rem(index, count)
            row = f.add(first_row, f.load(f.offset(places, index, I64), I64))
            source = f.offset(x, f.mul(f.mul(row, width), self.size))
            target_row = f.offset(result, f.mul(f.mul(loop.index, width), self.size))
            move_row(f, target, self.size, source, target_row, width, single=self.single)
        f.give(0)


def move_row(
    f: Function,
    target: Target,
    size: int,
    source: Value,
    result: Value,
    width: Value,
    *,
    single: bool,
) -> None:
    """Copy `width` elements of `size` bytes that lie side by side."""
    dtype = MOVED[size]
    type_ = IN_MEMORY[dtype]

    def block(lanes: Lanes, index: Value, first: Value | None) -> None:
        value = load_element(lanes, f.offset(source, index, type_), dtype, first=first)
        store_element(lanes, value, f.offset(result, index, type_), dtype, first=first)

    if single:
        block(Lanes(f, target, 1), f.number(0), None)
    else:
        in_blocks(Lanes(f, target, target.lanes(dtype)), 0, width, block)


@dataclass(frozen=True, slots=True)
class PutKernel:
    """Writes rows at places, or adds them, in ascending order.

    Slots: result, places, rows, number of places, elements of a row. A unit is `COLUMNS` columns:
    one thread does all rows of a column, so that their order is the one laid down. `total` is the
    result's type: float32 where narrow floats are added.
    """

    dtype: DType
    total: DType
    accumulate: bool
    library: str | None = "index"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        how = "add" if self.accumulate else "put"
        return f"{how}_rows_{self.dtype.name}_{self.total.name}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f = at.f
        result, places, rows = (at.pointer(slot) for slot in range(3))
        count, width = at.number(3), at.number(4)
        start = f.mul(at.begin, COLUMNS)
        stop = f.minimum(f.mul(at.end, COLUMNS), width)
        with f.loop(0, count) as loop:
            place = f.load(f.offset(places, loop.index, I64), I64)
            total_row = f.offset(result, f.mul(place, width), IN_MEMORY[self.total])
            row = f.offset(rows, f.mul(loop.index, width), IN_MEMORY[self.dtype])

            def block(
                lanes: Lanes,
                index: Value,
                first: Value | None,
                row: Value = row,
                total_row: Value = total_row,
            ) -> None:
                place = f.offset(row, index, IN_MEMORY[self.dtype])
                value = load_element(lanes, place, self.dtype, first=first)
                place = f.offset(total_row, index, IN_MEMORY[self.total])
                if self.accumulate:
                    before = load_element(lanes, place, self.total, first=first)
                    value = added(f, before, value, self.total)
                store_element(lanes, value, place, self.total, first=first)

            wide = max(self.dtype.itemsize, self.total.itemsize)
            in_blocks(Lanes(f, target, target.vector_bytes // wide), start, stop, block)
        f.give(0)


def added(f: Function, a: Value, b: Value, dtype: DType) -> Value:
    """Sum of two values that stand in registers as `dtype` does."""
    return f.b.fadd(a, b) if dtype.is_float else f.b.add(a, b)


def total_type(dtype: DType) -> DType:
    """The type in which sums of a type are kept until they are rounded."""
    return DType.float32 if dtype in NARROW else dtype


@dataclass(frozen=True, slots=True)
class GatherElementsKernel:
    """`result[i] = x[i but along an axis places[i]]` (Note [Walk over axes]).

    Slots: x, places, result, step of x along the axis, elements of a line, its stride in x and in
    the result, outer axes. A unit is one line; places and result lie in the same order.
    """

    size: int
    rank: int
    library: str | None = "index"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"gather_elements_{self.size}_{self.rank}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f, type_ = at.f, IN_MEMORY[MOVED[self.size]]
        x, places, result = (at.pointer(slot) for slot in range(3))
        along, count, step, _ = (at.number(slot) for slot in range(3, 7))
        with f.loop(at.begin, at.end) as line:
            offset, start = walked(at, line.index, 7, self.rank, 2)
            with f.loop(0, count) as loop:
                index = f.add(start, loop.index)
                place = f.load(f.offset(places, index, I64), I64)
                from_ = f.add(f.add(offset, f.mul(loop.index, step)), f.mul(place, along))
                f.store(f.load(f.offset(x, from_, type_), type_), f.offset(result, index, type_))
        f.give(0)


@dataclass(frozen=True, slots=True)
class ScatterElementsKernel:
    """`result[i but along an axis places[i]]` is written, or added to, in ascending order.

    Slots: result, places, updates, elements of a line, its stride in the updates and in the
    result, outer axes. A unit is one line along the axis: lines never meet.
    """

    dtype: DType
    total: DType
    accumulate: bool
    rank: int
    library: str | None = "index"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        how = "add" if self.accumulate else "put"
        return f"scatter_{how}_{self.dtype.name}_{self.total.name}_{self.rank}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f, one = at.f, Lanes(at.f, target, 1)
        result, places, updates = (at.pointer(slot) for slot in range(3))
        count, step, along = (at.number(slot) for slot in range(3, 6))
        with f.loop(at.begin, at.end) as line:
            start, offset = walked(at, line.index, 6, self.rank, 2)
            with f.loop(0, count) as loop:
                index = f.add(start, f.mul(loop.index, step))
                place = f.load(f.offset(places, index, I64), I64)
                update = f.offset(updates, index, IN_MEMORY[self.dtype])
                value = load_element(one, update, self.dtype)
                to = f.add(offset, f.mul(place, along))
                pointer = f.offset(result, to, IN_MEMORY[self.total])
                if self.accumulate:
                    value = added(f, load_element(one, pointer, self.total), value, self.total)
                store_element(one, value, pointer, self.total)
        f.give(0)
