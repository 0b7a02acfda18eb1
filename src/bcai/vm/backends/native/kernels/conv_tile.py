"""Rows of a convolution's contraction: register tiles on elements that lie at fixed offsets."""

from collections.abc import Sequence

from bcai.vm.backends.native.kernels.conv_geometry import Rows
from bcai.vm.backends.native.kernels.microkernel import Tile, accumulate, put, widest_tile
from bcai.vm.backends.native.llvm import I1, I64, POINTER, Module, Type, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

PREFETCH_ROWS = 16
"""How far ahead of the tile the packed operand is fetched, which lies in the second cache."""
LINE_BYTES = 64

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
    module: Module,
    target: Target,
    dtype: DType,
    rows: Rows,
    vectors: int,
    name: str,
    *,
    paired: bool = False,
) -> Value:
    """Function that adds one block of k to the totals of all rows: `_PARAMETERS`.

    Totals are `[rows][panel columns]`, of which the first `vectors` registers are used. `paired`:
    the table of offsets has two for each k, in the left and in the right operand, whose rows lie
    one after the other otherwise.
    """
    if module.has(name):
        return module.handle(name)
    tile = widest_tile(target, dtype)
    axis, split = rows.split(tile.rows if vectors == tile.vectors else 2 * tile.rows - 4)
    tiles = {
        piece: _write_tile(module, target, dtype, rows.box(axis, piece), vectors, paired)
        for piece, count in split.pieces
        if count
    }
    f = module.function(name, _PARAMETERS, internal=True, inline=False)
    left, offsets, right, depth, totals, first = f.arguments
    element = Registers(f, dtype, 1, fused=target.fused).type

    def moved(at: int, index: Value, left: Value, totals: Value) -> tuple[Value, Value]:
        return (
            f.offset(left, f.mul(index, rows.pitches[at]), element),
            f.offset(totals, f.mul(index, rows.results[at] * tile.columns), element),
        )

    def down(at: int, left: Value, totals: Value) -> None:
        if at < axis:
            with f.loop(0, rows.sizes[at]) as loop:
                down(at + 1, *moved(at, loop.index, left, totals))
            return
        start = 0
        for piece, count in split.pieces:
            if not count:
                continue
            with f.loop(start, start + piece * count, piece) as loop:
                source, result = moved(axis, loop.index, left, totals)
                f.call(tiles[piece], [source, offsets, right, depth, result, first])
            start += piece * count

    down(0, left, totals)
    f.give()
    return f.handle


def _write_tile(
    module: Module,
    target: Target,
    dtype: DType,
    box: Sequence[tuple[int, int]],
    vectors: int,
    paired: bool,
) -> Value:
    """One tile; `box` says where its rows lie from the first, in the operand and in totals."""
    places = "_".join(f"{left}_{result}" for left, result in box)
    name = f"conv.tile.{dtype.name}.{vectors}.{int(paired)}.{places}"
    if module.has(name):
        return module.handle(name)
    f = module.function(name, _PARAMETERS, internal=True, inline=False)
    left, table, right, depth, totals, first = f.arguments
    tile = Tile(len(box), vectors, target.lanes(dtype))
    pitch = panel_columns(target, dtype)
    registers = Registers(f, dtype, tile.lanes, fused=target.fused)
    element: Type = Registers(f, dtype, 1, fused=target.fused).type
    base = left

    def read_right(k: Value) -> Sequence[Value]:
        nonlocal base
        entry = f.offset(table, f.mul(k, 2) if paired else k, I64)
        base = f.offset(left, f.load(entry, I64))
        if paired:
            at = f.offset(right, f.load(f.offset(entry, 1, I64), I64))
        else:
            at = f.offset(right, f.mul(k, pitch), element)
        for line in range(0, vectors * target.vector_bytes, LINE_BYTES):
            f.prefetch(f.offset(at, PREFETCH_ROWS * pitch * dtype.itemsize + line))
        return [
            f.load(f.offset(at, vector * tile.lanes, element), registers.type)
            for vector in range(vectors)
        ]

    def read_left(row: int, k: Value) -> Value:
        del k  # `read_right` comes first, and has looked it up
        return f.load(f.offset(base, box[row][0], element), element)

    def place(row: int, vector: int) -> Value:
        return f.offset(totals, box[row][1] * pitch + vector * tile.lanes, element)

    sums = accumulate(registers, tile.rows, vectors, depth, read_left, read_right)
    put(registers, sums, vectors, place, first)
    f.give()
    return f.handle
