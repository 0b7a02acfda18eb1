"""Rows of a convolution's contraction: register tiles on elements that lie at fixed offsets."""

from collections.abc import Sequence

from bcai.vm.backends.native.kernels.conv_geometry import Rows
from bcai.vm.backends.native.kernels.microkernel import accumulate, put, widest_tile
from bcai.vm.backends.native.llvm import I1, I64, POINTER, Function, Module, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

PREFETCH_ROWS = 16
"""How far ahead of the tile the packed operand is fetched, which lies in the second cache."""
LINE_BYTES = 64

Edges = tuple[frozenset[int], ...]
"""For each tap along the innermost axis the places on a line that see padding with it.

A tile leaves these out, where it holds whole lines (Note [Taps that see nothing]).
"""

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
    edges: Edges = (),
) -> Value:
    """Function that adds one block of k to the totals of all rows: `_PARAMETERS`.

    Totals are `[rows][panel columns]`, of which the first `vectors` registers are used. `paired`:
    the table of offsets has two for each k, in the left and in the right operand, whose rows lie
    one after the other otherwise. `edges`: see `Edges`; a last parameter is then the number of k
    before the first that belongs to tap 0 along the innermost axis.
    """
    if module.has(name):
        return module.handle(name)
    tile = widest_tile(target, dtype)
    axis, split = rows.split(tile.rows if vectors == tile.vectors else 2 * tile.rows - 4)
    last = len(rows.sizes) - 1
    if axis == last and split.total not in (piece for piece, count in split.pieces if count):
        skipped: Edges = tuple(frozenset[int]() for _ in edges)  # boxes are parts of a line
    else:
        skipped = edges
    tiles = {
        piece: _write_tile(
            module, target, dtype, rows.box(axis, piece), vectors, paired, skipped, rows.sizes[last]
        )
        for piece, count in split.pieces
        if count
    }
    parameters = (*_PARAMETERS, I64) if edges else _PARAMETERS
    f = module.function(name, parameters, internal=True, inline=False)
    left, offsets, right, depth, totals, first = f.arguments[:6]
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
                f.call(
                    tiles[piece], [source, offsets, right, depth, result, first, *f.arguments[6:]]
                )
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
    edges: Edges,
    line: int,
) -> Value:
    """One tile; `box` says where its rows lie from the first, in the operand and in totals.

    Rows are lines of `line` places along the innermost axis.
    """
    places = "_".join(f"{left}_{result}" for left, result in box)
    marks = "_".join(".".join(map(str, sorted(each))) for each in edges)
    name = f"conv.tile.{dtype.name}.{vectors}.{int(paired)}.{places}.{len(edges)}.{marks}"
    if module.has(name):
        return module.handle(name)
    parameters = (*_PARAMETERS, I64) if edges else _PARAMETERS
    f = module.function(name, parameters, internal=True, inline=False)
    _TileWriter(f, target, dtype, box, vectors, paired).write(edges, line)
    f.give()
    return f.handle


class _TileWriter:
    """Writes the body of one tile."""

    def __init__(
        self,
        f: Function,
        target: Target,
        dtype: DType,
        box: Sequence[tuple[int, int]],
        vectors: int,
        paired: bool,
    ) -> None:
        self.f, self.box, self.vectors, self.paired = f, box, vectors, paired
        self.registers = Registers(f, dtype, target.lanes(dtype), fused=target.fused)
        self.element = Registers(f, dtype, 1, fused=target.fused).type
        self.pitch = panel_columns(target, dtype)
        self.row_bytes = self.pitch * dtype.itemsize
        self.used_bytes = vectors * target.vector_bytes
        self.base = f.arguments[0]

    def write(self, edges: Edges, line: int) -> None:
        depth, totals, first = self.f.arguments[3:6]
        rows = len(self.box)
        if edges:
            sums = self._trimmed(edges, line)
        else:
            sums = accumulate(
                self.registers, rows, self.vectors, depth, self._read_left, self._read_right
            )

        def place(row: int, vector: int) -> Value:
            at = self.box[row][1] * self.pitch + vector * self.registers.lanes
            return self.f.offset(totals, at, self.element)

        put(self.registers, sums, self.vectors, place, first)

    def _read_right(self, k: Value) -> Sequence[Value]:
        f = self.f
        left, table, right = f.arguments[:3]
        entry = f.offset(table, f.mul(k, 2) if self.paired else k, I64)
        self.base = f.offset(left, f.load(entry, I64))
        if self.paired:
            at = f.offset(right, f.load(f.offset(entry, 1, I64), I64))
        else:
            at = f.offset(right, f.mul(k, self.pitch), self.element)
        for start in range(0, self.used_bytes, LINE_BYTES):
            f.prefetch(f.offset(at, PREFETCH_ROWS * self.row_bytes + start))
        return [
            f.load(f.offset(at, vector * self.registers.lanes, self.element), self.registers.type)
            for vector in range(self.vectors)
        ]

    def _read_left(self, row: int, k: Value) -> Value:
        del k  # `_read_right` comes first, and has looked it up
        return self.f.load(self.f.offset(self.base, self.box[row][0], self.element), self.element)

    def _trimmed(self, edges: Edges, line: int) -> list[Value]:
        """The chain over k: single steps up to the first tap 0, whole lines of taps, the rest."""
        f = self.f
        depth, lead = f.arguments[3], f.arguments[6]
        whole = f.sub(depth, f.rem(f.sub(depth, lead), len(edges)))
        every: Edges = (frozenset(),)
        sums = [self.registers.constant(0.0)] * (len(self.box) * self.vectors)
        for start, stop, taps in ((0, lead, every), (lead, whole, edges), (whole, depth, every)):
            with f.loop(start, stop, len(taps), sums) as loop:
                following = list(loop.carried)
                for at, skipped in enumerate(taps):
                    self._step(f.add(loop.index, at), following, skipped, line)
                loop.following[:] = following
            sums = loop.following
        return sums

    def _step(self, k: Value, sums: list[Value], skipped: frozenset[int], line: int) -> None:
        columns = self._read_right(k)
        for row in range(len(self.box)):
            if row % line in skipped:
                continue
            one = self.f.splat(self._read_left(row, k), self.registers.lanes)
            for at, column in enumerate(columns, row * self.vectors):
                sums[at] = self.registers.fma(one, column, sums[at])
