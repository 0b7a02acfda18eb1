"""One register tile of a contraction: rows times vectors of accumulators, for every target.

Note [Register tile]
    A tile holds `rows` x `vectors` accumulators in registers through at most 512 steps of k, a
    chain of fused multiply-adds from +0. A step reads the vectors of row k of the right operand
    once and multiplies them with one broadcast element of each row of the left one. A longer k is
    cut in blocks of 512 by the caller: the first block stores its tile, later ones add theirs to
    what is there, which is the order laid down (Note [Order of a contraction]).

Where elements are read from is the caller's: strided, packed, or found through a table of offsets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.kernels.multiply_add import MultiplyAdd, multiply_add
from bcai.vm.backends.native.llvm import (
    I1,
    I64,
    POINTER,
    VOID,
    Function,
    Module,
    Number,
    Type,
    Value,
)
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.order import BLOCK
from bcai.vm.isa.types import DType

DEPTH_MAX = BLOCK
"""Steps of k in one call of a tile: the blocks of Note [Order of a contraction]."""

Left = Callable[[int, Value], Value]
"""Element (row, k) of the left operand: one number, read where the caller says."""

Right = Callable[[Value], Sequence[Value]]
"""Row k of the right operand: the vectors of the tile."""

Place = Callable[[int, int], Value]
"""Address of (row, vector) of the tile in the result."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Shape of a tile: `rows` of `vectors` registers of `lanes` elements."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Elements of one row."""
        return self.vectors * self.lanes

    def with_vectors(self, vectors: int) -> "Tile":
        """The same rows, of another width."""
        return Tile(self.rows, vectors, self.lanes)


def widest_tile(target: Target, dtype: DType) -> Tile:
    """The tile that fills the target's registers, two vectors and one broadcast element aside."""
    lanes = target.lanes(dtype)
    if dtype.is_float and not target.fused:
        return Tile(2, 1, lanes)  # a soft fused multiply-add wants registers of its own
    if target.registers < 32:
        # so does a product of 64 bits, which is made of halves
        return Tile(4 if dtype is DType.int64 else 6, 2, lanes)
    return Tile(14 if target.vector_bytes > 16 else 8, 2, lanes)


def accumulate(
    registers: MultiplyAdd,
    rows: int,
    vectors: int,
    depth: Number,
    left: Left,
    right: Right,
    *,
    start: Sequence[Value] | None = None,
) -> list[Value]:
    """Write the chain over k in [0, depth); return the sums, row-major.

    `start` continues a chain that was cut inside a block of 512; without it the chain is from +0.
    """
    f = registers.f
    zero = registers.constant(0.0)
    sums = [zero] * (rows * vectors) if start is None else list(start)
    with f.loop(0, depth, 1, sums) as loop:
        columns = right(loop.index)
        for row in range(rows):
            element = f.splat(left(row, loop.index), registers.lanes)
            for at, column in enumerate(columns):
                place = row * vectors + at
                loop.following[place] = registers.fma(element, column, loop.carried[place])
    return loop.following


def put(
    registers: MultiplyAdd, sums: Sequence[Value], vectors: int, place: Place, first: Value
) -> None:
    """Store the sums of the first block (`first`, an i1), or add those of a later one."""
    f = registers.f
    with f.either(first) as (yes, no):
        with yes:
            for at, value in enumerate(sums):
                f.store(value, place(*divmod(at, vectors)))
        with no:
            for at, value in enumerate(sums):
                pointer = place(*divmod(at, vectors))
                f.store(registers.add(f.load(pointer, registers.type), value), pointer)


def height_table(
    module: Module,
    name: str,
    parameters: Sequence[Type],
    rows_max: int,
    write: Callable[[Function, int], None],
) -> Value:
    """Write a function for every height 1 to `rows_max`; return the address of their table.

    `write(f, rows)` writes a body and does not return from it.
    """
    if module.has(name):
        return module.handle(name)
    functions: list[Value] = []
    for rows in range(1, rows_max + 1):
        f = module.function(f"{name}.{rows}", parameters, internal=True, inline=False)
        write(f, rows)
        f.give()
        functions.append(f.handle)
    return module.table(name, POINTER, functions)


def call_height(
    f: Function, table: Value, rows: Value, parameters: Sequence[Type], arguments: Sequence[Value]
) -> None:
    """Call the function for a tile of `rows` (an i64, at least 1) rows."""
    address = f.load_pointer(f.offset(table, f.sub(rows, 1), POINTER))
    f.call_address(address, parameters, arguments, VOID)


STRIDED = (I64, POINTER, I64, I64, POINTER, I64, POINTER, I64, I1)
"""Parameters of a strided tile: depth; left, bytes between rows and between k; right, bytes between
k; result, bytes between rows; whether this is the first block."""


def strided_tiles(
    module: Module, target: Target, dtype: DType, tile: Tile, *, rows_adjacent: bool
) -> Value:
    """Table of tiles on operands at fixed strides, with `STRIDED` parameters.

    The right operand's and the result's columns are adjacent. `rows_adjacent`: elements of one k of
    the left operand are adjacent, as in a packed panel or a transposed matrix (the bytes between
    rows are not looked at).
    """
    size = dtype.itemsize

    def write(f: Function, rows: int) -> None:
        depth, a, a_row, a_step, b, b_step, c, c_row, first = f.arguments
        registers = multiply_add(f, target, dtype, tile.lanes)
        element = multiply_add(f, target, dtype, 1).type
        bases = [a if rows_adjacent else f.offset(a, f.mul(a_row, row)) for row in range(rows)]
        results = [f.offset(c, f.mul(c_row, row)) for row in range(rows)]

        def left(row: int, k: Value) -> Value:
            at = f.offset(bases[row], f.mul(k, a_step))
            return f.load(f.offset(at, row * size) if rows_adjacent else at, element)

        def right(k: Value) -> Sequence[Value]:
            at = f.offset(b, f.mul(k, b_step))
            return [
                f.load(f.offset(at, j * tile.lanes * size), registers.type)
                for j in range(tile.vectors)
            ]

        sums = accumulate(registers, rows, tile.vectors, depth, left, right)
        put(
            registers,
            sums,
            tile.vectors,
            lambda row, j: f.offset(results[row], j * tile.lanes * size),
            first,
        )

    kind = "adjacent" if rows_adjacent else "apart"
    name = f"tile.{dtype.name}.{tile.vectors}.{kind}"
    return height_table(module, name, STRIDED, tile.rows, write)
