"""Rows of a convolution's contraction: register tiles on elements that lie at fixed offsets."""

from collections.abc import Sequence

from bcai.vm.backends.native.kernels.conv_geometry import Rows
from bcai.vm.backends.native.kernels.microkernel import Tile, accumulate, put, widest_tile
from bcai.vm.backends.native.llvm import I1, I64, POINTER, Function, Module, Type, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

_PARAMETERS = (POINTER, POINTER, POINTER, I64, POINTER, I1)
"""Left operand of the first row, offsets of k in bytes, packed right operand, depth, totals,
whether this is the first block."""


def panel_columns(target: Target, dtype: DType) -> int:
    """Columns of a packed panel."""
    return widest_tile(target, dtype).columns


def vectors_for(target: Target, dtype: DType, columns: int) -> int:
    """Vectors of a tile that holds `columns` of a panel."""
    lanes = target.lanes(dtype)
    return -(-columns // lanes)


def write_rows(
    module: Module, target: Target, dtype: DType, rows: Rows, vectors: int, name: str
) -> Value:
    """Function that adds one block of k to the totals of all rows: `_PARAMETERS`.

    Totals are `[rows][panel columns]`, of which the first `vectors` registers are used.
    """
    if module.has(name):
        return module.handle(name)
    tile = widest_tile(target, dtype)
    axis, split = rows.split(tile.rows if vectors == tile.vectors else 2 * tile.rows - 4)
    tiles = {
        piece: _write_tile(module, target, dtype, rows.offsets(axis, piece), vectors)
        for piece, count in split.pieces
        if count
    }
    f = module.function(name, _PARAMETERS, internal=True, inline=False)
    left, offsets, right, depth, totals, first = f.arguments
    element = Registers(f, dtype, 1, fused=target.fused).type
    within = rows.count_after(axis)

    def down(at: int, left: Value, totals: Value) -> None:
        if at < axis:
            with f.loop(0, rows.sizes[at]) as loop:
                down(
                    at + 1,
                    f.offset(left, f.mul(loop.index, rows.pitches[at]), element),
                    f.offset(
                        totals, f.mul(loop.index, rows.count_after(at) * tile.columns), element
                    ),
                )
            return
        start = 0
        for piece, count in split.pieces:
            if not count:
                continue
            with f.loop(start, start + piece * count, piece) as loop:
                arguments = [
                    f.offset(left, f.mul(loop.index, rows.pitches[axis]), element),
                    offsets,
                    right,
                    depth,
                    f.offset(totals, f.mul(loop.index, within * tile.columns), element),
                    first,
                ]
                f.call(tiles[piece], arguments)
            start += piece * count

    down(0, left, totals)
    f.give()
    return f.handle


def _write_tile(
    module: Module, target: Target, dtype: DType, offsets: Sequence[int], vectors: int
) -> Value:
    """One tile whose rows lie `offsets` elements after the first."""
    shape = f"{vectors}.{len(offsets)}.{'_'.join(map(str, offsets))}"
    name = f"conv.tile.{dtype.name}.{shape}"
    if module.has(name):
        return module.handle(name)
    f = module.function(name, _PARAMETERS, internal=True, inline=False)
    left, table, right, depth, totals, first = f.arguments
    tile = Tile(len(offsets), vectors, target.lanes(dtype))
    pitch = panel_columns(target, dtype)
    registers = Registers(f, dtype, tile.lanes, fused=target.fused)
    element: Type = Registers(f, dtype, 1, fused=target.fused).type

    base: dict[Value, Value] = {}

    def read_left(row: int, k: Value) -> Value:
        if k not in base:
            base[k] = f.offset(left, f.load(f.offset(table, k, I64), I64))
        return f.load(f.offset(base[k], offsets[row], element), element)

    def read_right(k: Value) -> Sequence[Value]:
        at = f.offset(right, f.mul(k, pitch), element)
        return [
            f.load(f.offset(at, vector * tile.lanes, element), registers.type)
            for vector in range(vectors)
        ]

    def place(row: int, vector: int) -> Value:
        return f.offset(totals, row * pitch + vector * tile.lanes, element)

    sums = accumulate(registers, tile.rows, vectors, depth, read_left, read_right)
    put(registers, sums, vectors, place, first)
    f.give()
    return f.handle


def as_element(f: Function, target: Target, dtype: DType) -> Type:
    """The type of one element."""
    return Registers(f, dtype, 1, fused=target.fused).type
