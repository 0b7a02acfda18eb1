"""The kernel of `Conv` and `ConvInputGrad`: rows are places, columns are channels of the result.

Note [Direct convolution]
    A unit of work is a block of rows of one image's result, for some of its channels. It copies
    what the block reads into scratch, padded, small enough for the second cache. Then, panel by
    panel of packed weights, and in a panel by blocks of 512 of k, tiles of places are computed from
    single elements of the copy and vectors of the panel, into totals `[place][channel]`. Whole
    panels are turned on their side when they are stored. Nothing is laid out as columns (im2col):
    element (place, k) lies at `window(place) + tap(k)`, and tap(k) comes from a table.
"""

import math
from dataclasses import dataclass

from bcai.vm.backends.native.kernels.conv_copy import turn_rows, write_pad
from bcai.vm.backends.native.kernels.conv_geometry import Grid, Rows
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.conv_tile import panel_columns, vectors_for, write_rows
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I64, POINTER, Function, Module, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.order import BLOCK
from bcai.vm.isa.types import DType

COPY_BYTES_MAX = 1 << 18
"""Of a padded block: half of a usual second cache."""
TOTALS_BYTES_MAX = 1 << 17
UNITS_MIN = 8
"""Units below which the result's channels are shared out too: two threads then end together."""


@dataclass(frozen=True, slots=True)
class ConvPlaces:
    """Contraction whose rows are places of `grid`: operands left, packed right, result, bias.

    Attributes
    ----------
    groups, columns
        Groups, and channels of the result in each.
    bias
        Whether a vector of all channels is added.
    block
        Outer places of the result in one unit.
    panels_each
        Panels in one unit.
    """

    dtype: DType
    grid: Grid
    groups: int
    columns: int
    bias: bool
    block: int
    panels_each: int

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("conv_places", self)

    @property
    def library(self) -> str:
        """An object of its own: the same convolution comes again in many programs."""
        return self.symbol

    @property
    def depth(self) -> int:
        """Length of k."""
        return self.grid.channels * self.grid.taps

    def panels(self, target: Target) -> int:
        """Packed panels of one group."""
        return -(-self.columns // panel_columns(target, self.dtype))

    def units(self, target: Target, samples: int) -> int:
        """Units of work for so many images."""
        parts = -(-self.panels(target) // self.panels_each)
        return samples * self.groups * self._blocks * parts

    def scratch_bytes(self, target: Target) -> int:
        """Memory that a thread needs."""
        totals = self.block * math.prod(self.grid.outputs[1:]) * panel_columns(target, self.dtype)
        return self._copy_bytes + totals * self.dtype.itemsize

    @property
    def _blocks(self) -> int:
        return -(-self.grid.outputs[0] // self.block)

    @property
    def _plane(self) -> int:
        """Elements between channels of what the tiles read."""
        if self.grid.is_plain:
            return math.prod(self.grid.source)
        return self.grid.rows_read(self.block) * self.grid.pitches[0]

    @property
    def _copy_bytes(self) -> int:
        if self.grid.is_plain:
            return 0
        return -(-self.grid.channels * self._plane * self.dtype.itemsize // 64) * 64

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are left, right, result and bias, if any."""
        e = entry(module, self.symbol)
        f, grid = e.f, self.grid
        element = Registers(f, self.dtype, 1, fused=target.fused).type
        left, right, result = (e.pointer(slot) for slot in range(3))
        bias = e.pointer(3) if self.bias else None
        panels = self.panels(target)
        parts = -(-panels // self.panels_each)
        with f.loop(e.begin, e.end) as loop:
            rest, part = f.div(loop.index, parts), f.rem(loop.index, parts)
            image, block = f.div(rest, self._blocks), f.rem(rest, self._blocks)
            group = f.rem(image, self.groups)
            source = f.offset(left, f.mul(image, grid.channels * math.prod(grid.source)), element)
            start = self._prepare(e, module, target, source, block)
            begin = f.mul(part, self.panels_each)
            end = f.minimum(f.add(begin, self.panels_each), panels)
            place = f.mul(block, self.block * math.prod(grid.outputs[1:]))
            with f.loop(begin, end) as panel:
                packed = f.add(f.mul(group, panels), panel.index)
                width = panel_columns(target, self.dtype)
                column = f.mul(panel.index, width)
                channel = f.add(f.mul(group, self.columns), column)
                row = f.add(f.mul(image, self.columns), column)
                arguments = [
                    start,
                    f.offset(right, f.mul(packed, self.depth * width), element),
                    f.offset(result, f.add(f.mul(row, grid.places), place), element),
                    f.offset(e.scratch, self._copy_bytes),
                    *([] if bias is None else [f.offset(bias, channel, element)]),
                ]
                self._call_panel(f, target, block, panel.index, arguments)
        f.give(0)

    def _prepare(
        self, e: Entry, module: Module, target: Target, source: Value, block: Value
    ) -> Value:
        """Make what the tiles read; return the address of the block's first window."""
        f, grid = e.f, self.grid
        element = Registers(f, self.dtype, 1, fused=target.fused).type
        first = f.mul(block, self.block * grid.stride[0])
        if grid.is_plain:
            return f.offset(source, f.mul(first, grid.pitches[0]), element)
        rows = f.minimum(f.sub(grid.padded[0], first), grid.rows_read(self.block))
        pad = write_pad(module, target, self.dtype, grid, "conv.pad")
        f.call(pad, [source, first, rows, e.scratch, self._plane, grid.channels])
        return e.scratch

    def _call_panel(
        self, f: Function, target: Target, block: Value, panel: Value, arguments: list[Value]
    ) -> None:
        last_rows = self.grid.outputs[0] - (self._blocks - 1) * self.block
        width = panel_columns(target, self.dtype)
        last_columns = self.columns - (self.panels(target) - 1) * width

        def by_columns(rows: int) -> None:
            if last_columns == width or self.panels(target) == 1:
                f.call(self._panel(f.module, target, rows, last_columns), arguments)
                return
            with f.either(f.less(panel, self.panels(target) - 1)) as (yes, no):
                with yes:
                    f.call(self._panel(f.module, target, rows, width), arguments)
                with no:
                    f.call(self._panel(f.module, target, rows, last_columns), arguments)

        if last_rows == self.block or self._blocks == 1:
            by_columns(last_rows)
            return
        with f.either(f.less(block, self._blocks - 1)) as (yes, no):
            with yes:
                by_columns(self.block)
            with no:
                by_columns(last_rows)

    def _panel(self, module: Module, target: Target, block: int, columns: int) -> Value:
        """Function for `block` outer places and `columns` of a panel."""
        name = f"conv.panel.{block}.{columns}"
        if module.has(name):
            return module.handle(name)
        grid, width = self.grid, panel_columns(target, self.dtype)
        parameters = (POINTER,) * (5 if self.bias else 4)
        f = module.function(name, parameters, internal=True, inline=False)
        start, right, result, totals = f.arguments[:4]
        element = Registers(f, self.dtype, 1, fused=target.fused).type
        rows = Rows((block, *grid.outputs[1:]), grid.window_pitches)
        vectors = vectors_for(target, self.dtype, columns)
        add = write_rows(module, target, self.dtype, rows, vectors, f"conv.rows.{block}.{vectors}")
        table = module.table("conv.offsets", I64, self._offsets())
        with f.loop(0, self.depth, BLOCK) as k:
            arguments = [
                start,
                f.offset(table, k.index, I64),
                f.offset(right, f.mul(k.index, width), element),
                f.minimum(f.sub(self.depth, k.index), BLOCK),
                totals,
                f.equal(k.index, 0),
            ]
            f.call(add, arguments)
        turn_rows(
            f, target, self.dtype, totals, width, result, grid.places, rows.count, columns,
            bias=f.arguments[4] if self.bias else None,
        )  # fmt: skip
        f.give()
        return f.handle

    def _offsets(self) -> list[int]:
        """Bytes from the start of a window to every k."""
        taps = self.grid.tap_offsets()
        return [
            (channel * self._plane + tap) * self.dtype.itemsize
            for channel in range(self.grid.channels)
            for tap in taps
        ]


def choose_blocks(
    target: Target, dtype: DType, grid: Grid, groups: int, columns: int, samples: int, threads: int
) -> tuple[int, int]:
    """`block` and `panels_each` of a kernel: for the caches, and so that threads share evenly."""
    width = panel_columns(target, dtype)
    inner = math.prod(grid.outputs[1:])
    row_bytes = grid.channels * grid.pitches[0] * grid.stride[0] * dtype.itemsize
    extra = grid.channels * grid.pitches[0] * grid.rows_read(1) * dtype.itemsize
    most = TOTALS_BYTES_MAX // (inner * width * dtype.itemsize)
    if not grid.is_plain:
        most = min(most, (COPY_BYTES_MAX - extra) // row_bytes)
    most = min(max(most, 4), grid.outputs[0])
    block = -(-grid.outputs[0] // -(-grid.outputs[0] // most))
    panels = -(-columns // width)
    units = samples * groups * -(-grid.outputs[0] // block)
    if threads == 1 or units >= UNITS_MIN:
        return block, panels
    parts = min(panels, -(-UNITS_MIN // units))
    return block, -(-panels // parts)
