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
from bcai.vm.backends.native.kernels.conv_geometry import Grid, adjacent_rows
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.conv_phases import (
    NotFinite,
    compact_grid,
    phases,
    rows_read,
)
from bcai.vm.backends.native.kernels.conv_tile import panel_columns, vectors_for, write_rows
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I1, I64, POINTER, Function, Module, Value
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

    @property
    def weights(self) -> int:
        """Elements of the weight."""
        return self.groups * self.columns * self.depth

    def panels(self, target: Target) -> int:
        """Packed panels of one group."""
        return -(-self.columns // panel_columns(target, self.dtype))

    def units(self, target: Target, samples: int) -> int:
        """Units of work for so many images."""
        parts = -(-self.panels(target) // self.panels_each)
        return samples * self.groups * self.blocks * parts

    def scratch_bytes(self, target: Target) -> int:
        """Memory that a thread needs."""
        return self.layout(target)[-1]

    @property
    def blocks(self) -> int:
        """Units that share the outer places of one image."""
        return -(-self.grid.outputs[0] // self.block)

    @property
    def plane(self) -> int:
        """Elements between channels of what the tiles read."""
        if self.grid.is_plain:
            return math.prod(self.grid.source)
        return self.grid.rows_read(self.block) * self.grid.pitches[0]

    @property
    def compact_plane(self) -> int:
        """Elements between channels of the copy that phases read."""
        return rows_read(self.grid, self.block) * compact_grid(self.grid).pitches[0]

    def layout(self, target: Target) -> tuple[int, int, int]:
        """Where in scratch the copy for phases and the totals start, and the size of all."""
        size = self.grid.channels * self.dtype.itemsize
        copy = 0 if self.grid.is_plain else _rounded(size * self.plane)
        compact = _rounded(size * self.compact_plane) if self.grid.is_spread else 0
        totals = self.block * math.prod(self.grid.outputs[1:]) * panel_columns(target, self.dtype)
        return copy, copy + compact, copy + compact + totals * self.dtype.itemsize

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are left, right, result.

        The bias follows if there is one, or what `NotFinite` says of the weight if the grid is
        spread.
        """
        _Writer(self, module, target).write()


def _rounded(nbytes: int) -> int:
    return -(-nbytes // 64) * 64


class _Writer:
    """Writes the kernel's code."""

    def __init__(self, kernel: ConvPlaces, module: Module, target: Target) -> None:
        self.kernel, self.module, self.target = kernel, module, target
        self.grid, self.dtype = kernel.grid, kernel.dtype
        self.width = panel_columns(target, kernel.dtype)
        self.panels = kernel.panels(target)
        self.compact, self.totals, _ = kernel.layout(target)

    def write(self) -> None:
        kernel, grid = self.kernel, self.grid
        e = entry(self.module, kernel.symbol)
        f = e.f
        self.element = Registers(f, self.dtype, 1, fused=self.target.fused).type
        left, right, result = (e.pointer(slot) for slot in range(3))
        bias = e.pointer(3) if kernel.bias else None
        wrong = self._any_wrong(e) if grid.is_spread else None
        panels = self.panels
        parts = -(-panels // kernel.panels_each)
        with f.loop(e.begin, e.end) as loop:
            rest, part = f.div(loop.index, parts), f.rem(loop.index, parts)
            image, block = f.div(rest, kernel.blocks), f.rem(rest, kernel.blocks)
            group = f.rem(image, kernel.groups)
            pixels = grid.channels * math.prod(grid.source)
            source = f.offset(left, f.mul(image, pixels), self.element)
            start, extra = self._prepare(e, source, block)
            begin = f.mul(part, kernel.panels_each)
            end = f.minimum(f.add(begin, kernel.panels_each), panels)
            place = f.mul(block, kernel.block * math.prod(grid.outputs[1:]))
            with f.loop(begin, end) as panel:
                packed = f.add(f.mul(group, panels), panel.index)
                column = f.mul(panel.index, self.width)
                channel = f.add(f.mul(group, kernel.columns), column)
                row = f.add(f.mul(image, kernel.columns), column)
                arguments = [
                    start,
                    f.offset(right, f.mul(packed, kernel.depth * self.width), self.element),
                    f.offset(result, f.add(f.mul(row, grid.places), place), self.element),
                    f.offset(e.scratch, self.totals),
                    *([] if bias is None else [f.offset(bias, channel, self.element)]),
                    *([] if wrong is None else [*extra, wrong]),
                ]
                self._call_panel(f, block, panel.index, arguments)
        f.give(0)

    def _any_wrong(self, e: Entry) -> Value:
        """Whether any weight is not finite, as i64."""
        f, answers = e.f, e.pointer(3)
        count = NotFinite(self.dtype, self.kernel.weights).units
        with f.loop(0, count, 1, [f.number(0)]) as loop:
            answer = f.load(f.offset(answers, loop.index, I64), I64)
            loop.following[0] = f.b.or_(loop.carried[0], answer)
        return loop.following[0]

    def _prepare(self, e: Entry, source: Value, block: Value) -> tuple[Value, list[Value]]:
        """Make what the tiles read: the address of the block's first window.

        Of a spread grid that is where `_panel` may make it; it and three values for that follow.
        """
        f, grid, kernel = e.f, self.grid, self.kernel
        first = f.mul(block, kernel.block * grid.stride[0])
        if grid.is_plain:
            return f.offset(source, f.mul(first, grid.pitches[0]), self.element), []
        rows = f.minimum(f.sub(grid.padded[0], first), grid.rows_read(kernel.block))
        if not grid.is_spread:
            f.call(self._pad(), [source, first, rows, e.scratch, kernel.plane, grid.channels])
            return e.scratch, []
        compact = compact_grid(grid)
        start = f.mul(block, kernel.block // grid.spread[0])
        count = f.minimum(f.sub(compact.padded[0], start), rows_read(grid, kernel.block))
        count = f.maximum(count, 0)
        pad = write_pad(self.module, self.target, self.dtype, compact, "conv.pad_compact")
        copy = f.offset(e.scratch, self.compact)
        f.call(pad, [source, start, count, copy, kernel.compact_plane, grid.channels])
        return e.scratch, [copy, source, first, rows]

    def _pad(self) -> Value:
        return write_pad(self.module, self.target, self.dtype, self.grid, "conv.pad")

    def _call_panel(self, f: Function, block: Value, panel: Value, arguments: list[Value]) -> None:
        kernel = self.kernel
        last_rows = self.grid.outputs[0] - (kernel.blocks - 1) * kernel.block
        last_columns = kernel.columns - (self.panels - 1) * self.width

        def by_columns(rows: int) -> None:
            if last_columns == self.width or self.panels == 1:
                f.call(self._panel(rows, last_columns), arguments)
                return
            with f.either(f.less(panel, self.panels - 1)) as (yes, no):
                with yes:
                    f.call(self._panel(rows, self.width), arguments)
                with no:
                    f.call(self._panel(rows, last_columns), arguments)

        if last_rows == kernel.block or kernel.blocks == 1:
            by_columns(last_rows)
            return
        with f.either(f.less(block, kernel.blocks - 1)) as (yes, no):
            with yes:
                by_columns(kernel.block)
            with no:
                by_columns(last_rows)

    def _panel(self, block: int, columns: int) -> Value:
        """Function for `block` outer places and `columns` of a panel."""
        name = f"conv.panel.{block}.{columns}"
        if self.module.has(name):
            return self.module.handle(name)
        grid, kernel = self.grid, self.kernel
        extra = (POINTER,) if kernel.bias else ()
        if grid.is_spread:
            extra = (POINTER, POINTER, I64, I64, I64)
        f = self.module.function(name, (POINTER,) * 4 + extra, internal=True, inline=False)
        start, right, result, totals = f.arguments[:4]
        vectors = vectors_for(self.target, self.dtype, columns)
        if grid.is_spread:
            compact, source, first, count, wrong = f.arguments[4:]
            self._add_phases(f, block, vectors, compact, right, totals)
            rows = block * math.prod(grid.outputs[1:])
            doubtful = self._has_negative_zero(f, totals, rows, vectors)
            with f.when(f.b.or_(doubtful, f.b.not_(f.equal(wrong, 0))), likely=False):
                arguments = [source, first, count, start, kernel.plane, grid.channels]
                f.call(self._pad(), arguments)
                self._add_all(f, block, vectors, start, right, totals)
        else:
            self._add_all(f, block, vectors, start, right, totals)
        turn_rows(
            f, self.target, self.dtype, totals, self.width, result, grid.places,
            block * math.prod(grid.outputs[1:]), columns,
            bias=f.arguments[4] if kernel.bias else None,
        )  # fmt: skip
        f.give()
        return f.handle

    def _add_all(
        self, f: Function, block: int, vectors: int, start: Value, right: Value, totals: Value
    ) -> None:
        """All blocks of k, into the totals of a panel."""
        rows = adjacent_rows((block, *self.grid.outputs[1:]), self.grid.window_pitches)
        name = f"conv.rows.{block}.{vectors}"
        add = write_rows(self.module, self.target, self.dtype, rows, vectors, name)
        table = self.module.table("conv.offsets", I64, self._offsets())
        with f.loop(0, self.kernel.depth, BLOCK) as k:
            arguments = [
                start,
                f.offset(table, k.index, I64),
                f.offset(right, f.mul(k.index, self.width), self.element),
                f.minimum(f.sub(self.kernel.depth, k.index), BLOCK),
                totals,
                f.equal(k.index, 0),
            ]
            f.call(add, arguments)

    def _offsets(self) -> list[int]:
        """Bytes from the start of a window to every k."""
        taps = self.grid.tap_offsets()
        return [
            (channel * self.kernel.plane + tap) * self.dtype.itemsize
            for channel in range(self.grid.channels)
            for tap in taps
        ]

    def _add_phases(
        self, f: Function, block: int, vectors: int, left: Value, right: Value, totals: Value
    ) -> None:
        """All blocks of k without the taps that wrote nothing (Note [Phases of a stride])."""
        size = self.dtype.itemsize
        found = phases(self.grid, block, self.kernel.compact_plane)
        for number, phase in enumerate(found):
            name = f"conv.phase.{number}.{block}.{vectors}"
            add = write_rows(
                self.module, self.target, self.dtype, phase.rows, vectors, name, paired=True
            )
            pairs = [
                each for offset, k in phase.terms for each in (offset * size, k * self.width * size)
            ]
            table = self.module.table(f"conv.terms.{number}", I64, pairs or [0])
            into = f.offset(totals, phase.result * self.width, self.element)
            for at, (first, count) in enumerate(phase.blocks()):
                terms = f.offset(table, 2 * first, I64)
                f.call(add, [left, terms, right, count, into, f.constant(I1, int(at == 0))])

    def _has_negative_zero(self, f: Function, totals: Value, rows: int, vectors: int) -> Value:
        """Whether any total is -0."""
        lanes = self.target.lanes(self.dtype)
        registers = Registers(f, self.dtype, lanes, fused=self.target.fused)
        sign = registers.integer(1 << (8 * self.dtype.itemsize - 1))
        with f.loop(0, rows, 1, [registers.no_lane()]) as loop:
            row = f.offset(totals, f.mul(loop.index, self.width), self.element)
            found = loop.carried[0]
            for vector in range(vectors):
                value = f.load(f.offset(row, vector * lanes, self.element), registers.type)
                found = f.b.or_(found, registers.iequal(registers.bits(value), sign))
            loop.following[0] = found
        return f.any_lane(loop.following[0])


def choose_blocks(
    target: Target, dtype: DType, grid: Grid, groups: int, columns: int, samples: int, threads: int
) -> tuple[int, int]:
    """`block` and `panels_each` of a kernel: for the caches, and so that threads share evenly."""
    width = panel_columns(target, dtype)
    inner = math.prod(grid.outputs[1:])
    if grid.is_spread:
        compact = compact_grid(grid)
        row_bytes = -(-grid.channels * compact.pitches[0] * dtype.itemsize // grid.spread[0])
        extra = grid.channels * compact.pitches[0] * rows_read(grid, 1) * dtype.itemsize
    else:
        row_bytes = grid.channels * grid.pitches[0] * grid.stride[0] * dtype.itemsize
        extra = grid.channels * grid.pitches[0] * grid.rows_read(1) * dtype.itemsize
    most = TOTALS_BYTES_MAX // (inner * width * dtype.itemsize)
    if not grid.is_plain:
        most = min(most, (COPY_BYTES_MAX - extra) // row_bytes)
    most = min(max(most, 4), grid.outputs[0])
    block = -(-grid.outputs[0] // -(-grid.outputs[0] // most))
    block = min(-(-block // grid.spread[0]) * grid.spread[0], grid.outputs[0])
    panels = -(-columns // width)
    units = samples * groups * -(-grid.outputs[0] // block)
    if threads == 1 or units >= UNITS_MIN:
        return block, panels
    parts = min(panels, -(-UNITS_MIN // units))
    return block, -(-panels // parts)
