"""The kernel of a matrix product: blocks of the result, each a loop over k, panels and tiles.

Note [Blocks of a contraction]
    A unit of work is one block of one matrix of the result: some panels of rows by some panels of
    columns. It goes through k in blocks of 512; in each it packs its rows (they stay in the second
    level cache), then takes one panel of columns after the other (it stays there too) through all
    its panels of rows. The panels' heights differ by at most one row, so that no tile is left low.
    Operands are packed only where it pays, which the lowering decides: sizes and forms are
    arguments, so that one object serves every product of its element type.
"""

from dataclasses import dataclass

from bcai.vm.backends.native.kernels.contraction_batch import batch_offsets
from bcai.vm.backends.native.kernels.microkernel import (
    DEPTH_MAX,
    STRIDED,
    Tile,
    call_height,
    strided_tiles,
    widest_tile,
)
from bcai.vm.backends.native.kernels.multiply_add import MultiplyAdd, multiply_add
from bcai.vm.backends.native.kernels.packing import OVERHANG_BYTES, pack_function
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I1, I64, POINTER, Function, Module, Number, Value
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.schedule_memory import PAGE
from bcai.vm.isa.types import DType

APART, ADJACENT, PACKED_HERE = 0, 1, 2
"""Left operand: elements of one k lie apart, lie side by side, or are packed by each unit."""

DIRECT, PACKED_BEFORE, PACKED_AT_USE = 0, 1, 2
"""Right operand: read where it lies, packed by an earlier launch, or by each unit as it goes."""

SLOTS = (
    "left",
    "right",
    "result",
    "rows",
    "columns",
    "depth",
    "left_form",
    "left_row",
    "left_k",
    "right_form",
    "right_column",
    "right_k",
    "result_row",
    "result_column",
    "row_blocks",
    "column_blocks",
    "axes",
)
"""Arguments, then those of the batch axes. Steps and strides are in bytes."""

ROWS_BYTES = 344_064
"""Packed rows of one unit: 168 rows of 512 float32, a third of a second level cache of 1 MiB."""


def scratch_bytes(target: Target, dtype: DType, row_panels: int, depth: int) -> int:
    """Scratch of a thread: one tile, one panel of columns, so many panels of packed rows."""
    tile = widest_tile(target, dtype)
    row = tile.rows * dtype.itemsize
    whole = max(0, row_panels - 1) * row * DEPTH_MAX
    last = row * min(depth, DEPTH_MAX) if row_panels else 0
    return _rows_at(tile, dtype.itemsize) + whole + last + OVERHANG_BYTES


def _panel_at(tile: Tile, size: int) -> int:
    """Where in the scratch the panel of columns begins: behind the tile."""
    return tile.rows * tile.columns * size + OVERHANG_BYTES


def _rows_at(tile: Tile, size: int) -> int:
    """Where in the scratch the packed rows begin, of which few products need all."""
    panel = _panel_at(tile, size) + DEPTH_MAX * tile.columns * size
    return -(-(panel + OVERHANG_BYTES) // PAGE) * PAGE


def panels_max(target: Target, dtype: DType) -> int:
    """Panels of rows that a unit may have."""
    return ROWS_BYTES // (DEPTH_MAX * widest_tile(target, dtype).rows * dtype.itemsize)


@dataclass(frozen=True, slots=True)
class ContractBlocks:
    """`T[batch, rows, depth]` times `T[batch, depth, columns]`, floats or whole numbers."""

    dtype: DType

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"contraction.{self.dtype.name}.blocks"

    @property
    def library(self) -> str | None:
        """An object of its own, the same for every program."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        tile = widest_tile(target, self.dtype)
        tables = {
            (vectors, adjacent): strided_tiles(
                module, target, self.dtype, tile.with_vectors(vectors), rows_adjacent=adjacent
            )
            for vectors in {1, tile.vectors}
            for adjacent in (False, True)
        }
        pack = pack_function(module, target, self.dtype)
        merge = merge_function(module, target, self.dtype, tile)
        e = entry(module, self.symbol)
        unit = _Unit(e, self.dtype, tile, tables, pack, merge)
        with e.f.loop(e.begin, e.end) as each:
            unit.write(each.index)
        e.f.give(0)


class _Unit:
    """Writes one unit of work."""

    def __init__(
        self,
        e: Entry,
        dtype: DType,
        tile: Tile,
        tables: dict[tuple[int, bool], Value],
        pack: Value,
        merge: Value,
    ) -> None:
        self.e, self.f, self.tile, self.size = e, e.f, tile, dtype.itemsize
        self.tables, self.pack, self.merge = tables, pack, merge
        pointers = SLOTS[:3]
        self.arguments = {
            name: e.pointer(at) if name in pointers else e.number(at)
            for at, name in enumerate(SLOTS)
        }
        f = self.f
        self.spare_tile = e.scratch
        self.packed_panel = f.offset(e.scratch, _panel_at(tile, self.size))
        self.packed_rows = f.offset(e.scratch, _rows_at(tile, self.size))
        self.row_panels = f.div(f.add(self["rows"], tile.rows - 1), tile.rows)
        self.column_panels = f.div(f.add(self["columns"], tile.columns - 1), tile.columns)

    def __getitem__(self, name: str) -> Value:
        return self.arguments[name]

    def is_form(self, side: str, form: int) -> Value:
        """Whether an operand is in this form."""
        return self.f.equal(self[f"{side}_form"], form)

    def write(self, unit: Value) -> None:
        """All of one block of the result."""
        f = self.f
        blocks = f.mul(self["row_blocks"], self["column_blocks"])
        batch, block = f.div(unit, blocks), f.rem(unit, blocks)
        left, right, result = self.matrices(batch)
        rows = self.share(self.row_panels, f.rem(block, self["row_blocks"]), "row_blocks")
        columns = self.share(self.column_panels, f.div(block, self["row_blocks"]), "column_blocks")
        with f.loop(0, f.maximum(self["depth"], 1), DEPTH_MAX) as k:
            depth = f.minimum(f.sub(self["depth"], k.index), DEPTH_MAX)
            left_k = f.offset(left, f.mul(k.index, self["left_k"]))
            with f.when(self.is_form("left", PACKED_HERE)), f.loop(*rows) as panel:
                self.pack_rows(left_k, panel.index, rows[0], depth)
            with f.loop(*columns) as panel:
                source, step = self.right_panel(right, panel.index, k.index, depth)
                self.column_panel(
                    panel.index, rows, depth, (left_k, source, step, result), f.equal(k.index, 0)
                )

    def matrices(self, batch: Value) -> tuple[Value, Value, Value]:
        """Addresses of the operands and the result of one matrix product."""
        f = self.f
        slots = f.offset(self.e.arguments, len(SLOTS), I64)
        moved = batch_offsets(f, slots, self["axes"], batch)
        left, right, result = (
            f.offset(self[name], each) for name, each in zip(SLOTS[:3], moved, strict=True)
        )
        return left, right, result  # one that is packed before is the same for the whole batch

    def share(self, panels: Value, block: Value, blocks: str) -> tuple[Value, Value]:
        """First panel of a block, and the one after its last."""
        f = self.f
        return (
            f.div(f.mul(panels, block), self[blocks]),
            f.div(f.mul(panels, f.add(block, 1)), self[blocks]),
        )

    def first_row(self, panel: Value) -> Value:
        """First row of a panel; heights differ by at most one."""
        f = self.f
        low = f.div(self["rows"], self.row_panels)
        higher = f.rem(self["rows"], self.row_panels)
        return f.add(f.mul(panel, low), f.minimum(panel, higher))

    def rows_at(self, panel: Value, first_panel: Value) -> Value:
        """Address of a panel of packed rows."""
        f = self.f
        return f.offset(
            self.packed_rows,
            f.mul(f.sub(panel, first_panel), self.tile.rows * DEPTH_MAX * self.size),
        )

    def pack_rows(self, left: Value, panel: Value, first_panel: Value, depth: Value) -> None:
        """Pack one panel of rows into the scratch."""
        f = self.f
        row = self.first_row(panel)
        height = f.sub(self.first_row(f.add(panel, 1)), row)
        f.call(
            self.pack,
            [
                height,
                depth,
                f.offset(left, f.mul(row, self["left_row"])),
                self["left_row"],
                self["left_k"],
                self.rows_at(panel, first_panel),
                f.mul(height, self.size),
            ],
        )

    def right_panel(
        self, right: Value, panel: Value, k: Value, depth: Value
    ) -> tuple[Value, Value]:
        """Address of a panel of columns from k on, and the bytes between its k."""
        f = self.f
        column = f.mul(panel, self.tile.columns)
        source = f.offset(right, f.mul(column, self["right_column"]))
        source = f.offset(source, f.mul(k, self["right_k"]))
        step = self.tile.columns * self.size
        with f.when(self.is_form("right", PACKED_AT_USE)):
            width = f.minimum(f.sub(self["columns"], column), self.tile.columns)
            f.call(
                self.pack,
                [
                    width,
                    depth,
                    source,
                    self["right_column"],
                    self["right_k"],
                    self.packed_panel,
                    f.number(step),
                ],
            )
        before = f.offset(right, f.mul(f.add(f.mul(panel, self["depth"]), k), step))
        packed = f.b.select(self.is_form("right", PACKED_BEFORE), before, self.packed_panel)
        direct = self.is_form("right", DIRECT)
        return (
            f.b.select(direct, source, packed),
            f.b.select(direct, self["right_k"], f.number(step)),
        )

    def column_panel(
        self,
        panel: Value,
        rows: tuple[Value, Value],
        depth: Value,
        at: tuple[Value, Value, Value, Value],
        first: Value,
    ) -> None:
        """One panel of columns through all panels of rows."""
        f = self.f
        left, right, right_k, result = at
        column = f.mul(panel, self.tile.columns)
        width = f.minimum(f.sub(self["columns"], column), self.tile.columns)
        result = f.offset(result, f.mul(column, self["result_column"]))
        whole = f.b.and_(
            f.equal(f.rem(width, self.tile.lanes), 0), f.equal(self["result_column"], self.size)
        )
        table = self.table(width)
        packed_here = self.is_form("left", PACKED_HERE)
        with f.loop(*rows) as each:
            row = self.first_row(each.index)
            height = f.sub(self.first_row(f.add(each.index, 1)), row)
            source = f.b.select(
                packed_here,
                self.rows_at(each.index, rows[0]),
                f.offset(left, f.mul(row, self["left_row"])),
            )
            left_k = f.b.select(packed_here, f.mul(height, self.size), self["left_k"])
            target = f.offset(result, f.mul(row, self["result_row"]))
            operands = [depth, source, self["left_row"], left_k, right, right_k]
            with f.either(whole) as (yes, no):
                with yes:
                    placed = [*operands, target, self["result_row"], first]
                    call_height(f, table, height, STRIDED, placed)
                with no:
                    spare_row = f.number(self.tile.columns * self.size)
                    spare = [*operands, self.spare_tile, spare_row, f.equal(0, 0)]
                    call_height(f, table, height, STRIDED, spare)
                    steps = [target, self["result_row"], self["result_column"], first]
                    f.call(self.merge, [height, width, self.spare_tile, *steps])

    def table(self, width: Value) -> Value:
        """The tiles for a panel of this width and the left operand's form."""
        f = self.f
        apart = self.is_form("left", APART)
        wide, narrow = (
            f.b.select(apart, self.tables[vectors, False], self.tables[vectors, True])
            for vectors in (self.tile.vectors, 1)
        )
        return f.b.select(f.less(self.tile.lanes, width), wide, narrow)


MERGE = (I64, I64, POINTER, POINTER, I64, I64, I1)
"""Parameters: height, width; tile; result, bytes between its rows and its columns; whether this is
the first block."""


def merge_function(module: Module, target: Target, dtype: DType, tile: Tile) -> Value:
    """Write the function that brings a tile from the scratch to a result of any strides."""
    f = module.function(f"merge.{dtype.name}", MERGE, internal=True, inline=False)
    height, width, spare, result, row_step, column_step, first = f.arguments
    with f.either(f.equal(column_step, dtype.itemsize)) as (adjacent, apart):
        with adjacent, f.loop(0, height) as row, f.loop(0, width, tile.lanes) as column:
            there = f.offset(result, f.mul(row.index, row_step))
            there = f.offset(there, f.mul(column.index, dtype.itemsize))
            place = f.add(f.mul(row.index, tile.columns), column.index)
            here = f.offset(spare, f.mul(place, dtype.itemsize))
            _merge(
                f,
                multiply_add(f, target, dtype, tile.lanes),
                here,
                there,
                first,
                f.sub(width, column.index),
            )
        with apart, f.loop(0, height) as row, f.loop(0, width) as column:
            there = f.offset(result, f.mul(row.index, row_step))
            there = f.offset(there, f.mul(column.index, column_step))
            place = f.add(f.mul(row.index, tile.columns), column.index)
            here = f.offset(spare, f.mul(place, dtype.itemsize))
            _merge(f, multiply_add(f, target, dtype, 1), here, there, first, 1)
    f.give()
    return f.handle


def _merge(
    f: Function, registers: MultiplyAdd, here: Value, there: Value, first: Value, count: Number
) -> None:
    value = f.load(here, registers.type)
    with f.either(first) as (yes, no):
        with yes:
            f.store_first(value, there, count)
        with no:
            before = f.load_first(there, registers.type, count, registers.constant(0.0))
            f.store_first(registers.add(before, value), there, count)
