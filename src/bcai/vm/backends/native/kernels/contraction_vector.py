"""The kernel of a vector times a matrix, which reads every element of the matrix just once.

Note [Vector times matrix]
    Where the columns lie side by side, a unit keeps eight vectors of them in registers and walks
    down k; in a large matrix it takes many such groups in turn, a few steps of k each, so that it
    reads rows as they lie and does not touch a new page at every step. Where k is adjacent, it
    transposes squares in registers and goes on with their rows: several chains, where vectors are
    short. Neither packs: there is nothing to use a packed panel twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.kernels.contraction_batch import batch_offsets
from bcai.vm.backends.native.kernels.microkernel import DEPTH_MAX, Right, accumulate, put
from bcai.vm.backends.native.kernels.multiply_add import MultiplyAdd, multiply_add
from bcai.vm.backends.native.kernels.packing import transposed
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I64, Module, Number, Value
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

SLOTS = (
    "left",
    "right",
    "result",
    "columns",
    "depth",
    "left_k",
    "right_column",
    "right_k",
    "result_column",
    "groups",
    "nothing",
    "axes",
)
"""Arguments, then those of the batch axes. Steps and strides are in bytes. `groups`: of eight
vectors that a unit takes in turn; `nothing` is 0."""

WIDE_VECTORS = 8
"""Sums under way where columns lie side by side: as many as hide the latency of an addition."""
STRIP_GROUPS = 32
"""Groups of so many vectors that a unit of a large matrix takes in turn, at most."""
STRIP_DEPTH = 8
"""Steps of k that it takes in each."""
STRIP_BYTES_MIN = 8 << 20
"""A matrix from this size on, which a processor's table of pages no longer covers, is large."""


ALIASING_BYTES = 4096
"""Columns a multiple of this apart push each other out of a first level cache: better few."""


def scratch_bytes(target: Target) -> int:
    """Sums of the present block and of all blocks, and one vector."""
    return (2 * STRIP_GROUPS * WIDE_VECTORS + 1) * target.vector_bytes


def chains_of(target: Target, dtype: DType, column_bytes: int) -> int:
    """Chains of additions that a unit has under way where k is adjacent: as registers allow."""
    lanes = target.lanes(dtype)
    if not target.fused:
        return 1
    return 2 if lanes == 16 and column_bytes % ALIASING_BYTES else max(1, 16 // lanes)


@dataclass(frozen=True, slots=True)
class ContractVector:
    """`T[batch, depth]` times `T[batch, depth, columns]`, floats or whole numbers.

    `chains`: vectors of columns that a unit takes at once where elements along k are adjacent; 0
    where the matrix's columns lie side by side.
    """

    dtype: DType
    chains: int

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        form = f"transposed.{self.chains}" if self.chains else "adjacent"
        return f"contraction.{self.dtype.name}.vector.{form}"

    @property
    def library(self) -> str | None:
        """An object of its own, the same for every program."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        e = entry(module, self.symbol)
        f = e.f
        writer = VectorWriter(e, target, self.dtype)
        lanes = target.lanes(self.dtype)
        width = f.number(self.chains * lanes)
        if not self.chains:
            width = f.mul(writer["groups"], WIDE_VECTORS * lanes)
        count = f.div(f.sub(f.add(writer["columns"], width), 1), width)
        with f.loop(e.begin, e.end) as unit:
            writer.go_to(f.div(unit.index, count))
            column = f.mul(f.rem(unit.index, count), width)
            if self.chains:
                writer.transposed_columns(column, self.chains)
            else:
                writer.adjacent_columns(column)
        f.give(0)


class VectorWriter:
    """Writes the columns of one unit, and finds the elements of the operands."""

    def __init__(self, e: Entry, target: Target, dtype: DType) -> None:
        self.e, self.f, self.target, self.dtype = e, e.f, target, dtype
        self.size, self.lanes = dtype.itemsize, target.lanes(dtype)
        self.arguments = {
            name: e.pointer(at) if at < 3 else e.number(at) for at, name in enumerate(SLOTS)
        }
        self.left, self.right, self.result = (self[name] for name in SLOTS[:3])

    def __getitem__(self, name: str) -> Value:
        return self.arguments[name]

    def go_to(self, batch: Value) -> None:
        """Go to one product of the batch."""
        f = self.f
        slots = f.offset(self.e.arguments, len(SLOTS), I64)
        moved = batch_offsets(f, slots, self["axes"], batch)
        self.left, self.right, self.result = (
            f.offset(self[name], each) for name, each in zip(SLOTS[:3], moved, strict=True)
        )

    def registers(self, lanes: int) -> MultiplyAdd:
        """Operations on vectors of so many lanes."""
        return multiply_add(self.f, self.target, self.dtype, lanes)

    def factor(self, k: Value) -> Value:
        """Element k of the vector."""
        at = self.f.offset(self.left, self.f.mul(k, self["left_k"]))
        return self.f.load(at, self.registers(1).type)

    def address(self, column: Number, k: Number) -> Value:
        """Where an element of the matrix lies."""
        f = self.f
        at = f.offset(self.right, f.mul(column, self["right_column"]))
        return f.offset(at, f.mul(k, self["right_k"]))

    def adjacent_columns(self, column: Value) -> None:
        """Groups of vectors of columns; at the end of a row vector by vector."""
        f, lanes = self.f, self.lanes
        wide, group = self.registers(lanes), lanes * WIDE_VECTORS
        left_over = f.minimum(f.sub(self["columns"], column), f.mul(self["groups"], group))
        groups = f.div(left_over, group)
        with f.either(f.equal(self["groups"], 1)) as (yes, no):
            with yes, f.loop(0, groups):
                sums = self.chain(wide, WIDE_VECTORS, self.row(wide, WIDE_VECTORS, column))
                for at, value in enumerate(sums):
                    self.put(value, f.add(column, at * lanes), lanes)
            with no:
                self.strip(wide, column, groups)
        vectors = f.sub(left_over, f.rem(left_over, lanes))
        with f.loop(f.mul(groups, group), vectors, lanes) as each:
            place = f.add(column, each.index)
            self.put(self.chain(wide, 1, self.row(wide, 1, place))[0], place, lanes)
        self.last_columns(f.add(column, vectors), f.rem(left_over, lanes))

    def row(self, wide: MultiplyAdd, vectors: int, column: Value) -> Right:
        """Vectors of the matrix from a column on."""
        f = self.f

        def read(k: Value) -> Sequence[Value]:
            at = self.address(column, k)
            return [
                f.load(f.offset(at, each * self.target.vector_bytes), wide.type)
                for each in range(vectors)
            ]

        return read

    def strip(self, wide: MultiplyAdd, column: Value, groups: Value) -> None:
        """Groups of vectors in turn, a few steps of k each, so that rows are read as they lie."""
        f, lanes = self.f, self.lanes
        width = lanes * WIDE_VECTORS
        totals = f.offset(self.e.scratch, STRIP_GROUPS * width * self.size)

        def place(memory: Value, group: Value) -> list[Value]:
            start = f.mul(group, width * self.size)
            return [
                f.offset(f.offset(memory, start), at * self.target.vector_bytes)
                for at in range(WIDE_VECTORS)
            ]

        with f.loop(0, self["depth"], DEPTH_MAX) as block:
            end = f.minimum(f.add(block.index, DEPTH_MAX), self["depth"])
            first = f.equal(block.index, 0)
            with (
                f.loop(block.index, end, STRIP_DEPTH) as run,
                f.loop(0, groups) as group,
            ):
                memory = place(self.e.scratch, group.index)
                fresh = f.equal(run.index, block.index)
                start = [
                    f.b.select(fresh, wide.constant(0.0), f.load(at, wide.type)) for at in memory
                ]
                right = self.row(wide, WIDE_VECTORS, f.add(column, f.mul(group.index, width)))
                sums = accumulate(
                    wide,
                    1,
                    WIDE_VECTORS,
                    f.minimum(f.sub(end, run.index), STRIP_DEPTH),
                    lambda _, k: self.factor(f.add(run.index, k)),
                    lambda k: right(f.add(run.index, k)),
                    start=start,
                )
                for value, at in zip(sums, memory, strict=True):
                    f.store(value, at)
            with f.loop(0, groups) as group:
                sums = [f.load(at, wide.type) for at in place(self.e.scratch, group.index)]
                memory = place(totals, group.index)
                put(wide, sums, WIDE_VECTORS, lambda _, at: memory[at], first)
        with f.loop(0, groups) as group:
            for number, at in enumerate(place(totals, group.index)):
                start = f.add(column, f.mul(group.index, width))
                self.put(f.load(at, wide.type), f.add(start, number * lanes), lanes)

    def last_columns(self, column: Value, count: Value) -> None:
        """Fewer columns than a vector has lanes."""
        f = self.f
        if not self.target.masks(self.dtype):
            one = self.registers(1)
            with f.loop(0, count) as each:
                place = f.add(column, each.index)
                total = self.chain(one, 1, lambda k: [f.load(self.address(place, k), one.type)])
                self.put(total[0], place, 1)
            return
        wide = self.registers(self.lanes)
        fill = wide.constant(0.0)
        with f.when(f.less(0, count)):
            total = self.chain(
                wide, 1, lambda k: [f.load_first(self.address(column, k), wide.type, count, fill)]
            )
            self.put(total[0], column, count)

    def chain(self, registers: MultiplyAdd, vectors: int, right: Right) -> list[Value]:
        """All of k in blocks of 512."""
        f = self.f
        zero = registers.constant(0.0)
        with f.loop(0, self["depth"], DEPTH_MAX, [zero] * vectors) as block:
            depth = f.minimum(f.sub(self["depth"], block.index), DEPTH_MAX)
            sums = accumulate(
                registers,
                1,
                vectors,
                depth,
                lambda _, k: self.factor(f.add(block.index, k)),
                lambda k: right(f.add(block.index, k)),
            )
            self.add_block(registers, block.index, block.carried, sums, block.following)
        return block.following

    def add_block(
        self,
        registers: MultiplyAdd,
        start: Value,
        totals: Sequence[Value],
        sums: Sequence[Value],
        following: list[Value],
    ) -> None:
        """The first block's sums as they are, those of later ones added."""
        first = self.f.equal(start, 0)
        for at, (total, part) in enumerate(zip(totals, sums, strict=True)):
            following[at] = self.f.b.select(first, part, registers.add(total, part))

    def transposed_columns(self, column: Value, count: int) -> None:
        """Some vectors of columns, each column adjacent along k."""
        f, lanes = self.f, self.lanes
        wide = self.registers(lanes)
        last = f.sub(self["columns"], 1)
        places = [f.minimum(f.add(column, at), last) for at in range(count * lanes)]
        squares = [places[at : at + lanes] for at in range(0, count * lanes, lanes)]
        zeros = [wide.constant(0.0)] * count
        with f.loop(0, self["depth"], DEPTH_MAX, zeros) as block:
            depth = f.minimum(f.sub(self["depth"], block.index), DEPTH_MAX)
            end = f.add(block.index, depth)
            whole = f.sub(end, f.rem(depth, lanes))
            with f.loop(block.index, whole, lanes, zeros) as each:
                for at, square in enumerate(squares):
                    total = self.square(wide, square, at, each.index, each.carried[at])
                    each.following[at] = total
            with f.loop(whole, end, 1, each.following) as k:
                factor = f.splat(self.factor(k.index), lanes)
                for at, square in enumerate(squares):
                    row = self.gather(wide, square, k.index)
                    k.following[at] = wide.fma(factor, row, k.carried[at])
            self.add_block(wide, block.index, block.carried, k.following, block.following)
        left_over = f.sub(self["columns"], column)
        for at, total in enumerate(block.following):
            some = f.minimum(f.sub(left_over, at * lanes), lanes)
            self.put(total, f.add(column, at * lanes), f.maximum(some, 0))

    def square(
        self, wide: MultiplyAdd, places: Sequence[Value], number: int, k: Value, total: Value
    ) -> Value:
        """As many steps of k as a vector has lanes."""
        f, one = self.f, self.registers(1).type
        rows = [f.load(self.address(place, k), wide.type) for place in places]
        # Were the factors seen to be the same for every square, they would be held in registers.
        left = f.offset(self.left, f.mul(self["nothing"], number))
        for step, row in enumerate(transposed(f, rows)):
            at = f.offset(left, f.mul(f.add(k, step), self["left_k"]))
            total = wide.fma(f.splat(f.load(at, one), wide.lanes), row, total)
        return total

    def gather(self, wide: MultiplyAdd, places: Sequence[Value], k: Value) -> Value:
        """Row k of some columns."""
        f = self.f
        row = f.undefined(wide.type)
        for lane, place in enumerate(places):
            value = f.load(self.address(place, k), self.registers(1).type)
            row = f.with_lane(row, value, lane)
        return row

    def put(self, value: Value, column: Value, count: Number) -> None:
        """Store the first lanes of a vector to the columns from `column` on."""
        f = self.f
        at = f.offset(self.result, f.mul(column, self["result_column"]))
        with f.either(f.equal(self["result_column"], self.size)) as (adjacent, apart):
            with adjacent:
                f.store_first(value, at, count)
            with apart:
                spare = f.offset(
                    self.e.scratch, 2 * STRIP_GROUPS * WIDE_VECTORS * self.target.vector_bytes
                )
                f.store(value, spare)
                with f.loop(0, count) as each:
                    here = f.offset(spare, f.mul(each.index, self.size))
                    there = f.offset(at, f.mul(each.index, self["result_column"]))
                    f.store(f.load(here, self.registers(1).type), there)
