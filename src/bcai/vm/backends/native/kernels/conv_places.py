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
from bcai.vm.backends.native.kernels.conv_geometry import Grid, Rows, adjacent_rows
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.conv_phases import (
    compact_grid,
    inner_edges,
    rows_read,
    spread_phases,
    trimmed_phases,
    trimmed_share,
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
WHOLE_BYTES_MAX = 3 << 18
"""Of a padded image, where leaving taps out needs it whole."""
TRIMMED_MAX, TRIMMED_SHARE_MIN = 32, 0.03
"""Outer places, and part of all taps, from which on leaving taps out is worth its code."""
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
    images
        Images in one unit, of which `block` is then the whole: they share what is read of `right`.
    trims
        Whether taps that see padding along the outer axis are left out; `block` is all of it.
    """

    dtype: DType
    grid: Grid
    groups: int
    columns: int
    bias: bool
    block: int
    panels_each: int
    images: int = 1
    trims: bool = False

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
    def skips(self) -> bool:
        """Whether any taps are left out (Note [Taps that see nothing])."""
        return self.trims or self.grid.is_spread

    def panels(self, target: Target) -> int:
        """Packed panels of one group."""
        return -(-self.columns // panel_columns(target, self.dtype))

    def units(self, target: Target, samples: int) -> int:
        """Units of work for so many images."""
        parts = -(-self.panels(target) // self.panels_each)
        return samples // self.images * self.groups * self.blocks * parts

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
        size = self.images * self.grid.channels * self.dtype.itemsize
        copy = 0 if self.grid.is_plain else _rounded(size * self.plane)
        compact = _rounded(size * self.compact_plane) if self.grid.is_spread else 0
        places = self.block * math.prod(self.grid.outputs[1:])
        totals = self.images * places * panel_columns(target, self.dtype)
        return copy, copy + compact, copy + compact + totals * self.dtype.itemsize

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are left, right, result.

        The bias follows if there is one; then, if taps are left out, what `ConvPack` has found in
        the weight, and how many answers that is.
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
        wrong = self._any_wrong(e) if kernel.skips else None
        panels = self.panels
        parts = -(-panels // kernel.panels_each)
        with f.loop(e.begin, e.end) as loop:
            rest, part = f.div(loop.index, parts), f.rem(loop.index, parts)
            rest, block = f.div(rest, kernel.blocks), f.rem(rest, kernel.blocks)
            first, group = f.div(rest, kernel.groups), f.rem(rest, kernel.groups)
            image = f.add(f.mul(first, kernel.images * kernel.groups), group)
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
                    *extra,
                    *([] if wrong is None else [wrong]),
                ]
                self._call_panel(f, block, panel.index, arguments)
        f.give(0)

    def _any_wrong(self, e: Entry) -> Value:
        """Whether any weight is not finite, as i64."""
        slot = 4 if self.kernel.bias else 3
        f, answers = e.f, e.pointer(slot)
        with f.loop(0, e.number(slot + 1), 1, [f.number(0)]) as loop:
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
            self._copy(f, self._pad(), [source, first, rows, e.scratch], kernel.plane)
            return e.scratch, []
        compact = compact_grid(grid)
        start = f.mul(block, kernel.block // grid.spread[0])
        count = f.minimum(f.sub(compact.padded[0], start), rows_read(grid, kernel.block))
        count = f.maximum(count, 0)
        pad = write_pad(self.module, self.target, self.dtype, compact, "conv.pad_compact")
        copy = f.offset(e.scratch, self.compact)
        self._copy(f, pad, [source, start, count, copy], kernel.compact_plane)
        return e.scratch, [copy, source, first, rows]

    def _copy(self, f: Function, pad: Value, arguments: list[Value], plane: int) -> None:
        """Pad the unit's images: source, first row, rows and result of the first."""
        source, first, rows, result = arguments
        channels = self.grid.channels
        pixels = self.kernel.groups * channels * math.prod(self.grid.source)
        with f.loop(0, self.kernel.images) as image:
            at = f.offset(source, f.mul(image.index, pixels), self.element)
            into = f.offset(result, f.mul(image.index, channels * plane), self.element)
            f.call(pad, [at, first, rows, into, plane, channels])

    def _rows_of_images(self, rows: Rows, plane: int, places: int) -> Rows:
        """The same rows of every image of the unit, of `places` totals each."""
        pitch = self.grid.channels * plane
        if self.grid.is_plain:
            pitch *= self.kernel.groups
        return Rows(
            (self.kernel.images, *rows.sizes), (pitch, *rows.pitches), (places, *rows.results)
        )

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
        extra = (
            *((POINTER,) if kernel.bias else ()),
            *((POINTER, POINTER, I64, I64) if grid.is_spread else ()),
            *((I64,) if kernel.skips else ()),
        )
        f = self.module.function(name, (POINTER,) * 4 + extra, internal=True, inline=False)
        start, right, result, totals = f.arguments[:4]
        vectors = vectors_for(self.target, self.dtype, columns)
        places = block * math.prod(grid.outputs[1:])
        if kernel.skips:
            copy = f.arguments[-5] if grid.is_spread else start
            self._add_phases(f, block, vectors, copy, right, totals)
            doubtful = self._has_negative_zero(f, totals, kernel.images * places, vectors)
            wrong = f.b.not_(f.equal(f.arguments[-1], 0))
            with f.when(f.b.or_(doubtful, wrong), likely=False):
                if grid.is_spread:
                    source, first, count = f.arguments[-4:-1]
                    self._copy(f, self._pad(), [source, first, count, start], kernel.plane)
                self._add_all(f, block, vectors, start, right, totals)
        else:
            self._add_all(f, block, vectors, start, right, totals)
        with f.loop(0, kernel.images) as image:
            source = f.offset(totals, f.mul(image.index, places * self.width), self.element)
            across = f.mul(image.index, kernel.groups * kernel.columns * grid.places)
            turn_rows(
                f, self.target, self.dtype, source, self.width,
                f.offset(result, across, self.element), grid.places, places, columns,
                bias=f.arguments[4] if kernel.bias else None,
            )  # fmt: skip
        f.give()
        return f.handle

    def _add_all(
        self, f: Function, block: int, vectors: int, start: Value, right: Value, totals: Value
    ) -> None:
        """All blocks of k, into the totals of a panel."""
        sizes = (block, *self.grid.outputs[1:])
        rows = adjacent_rows(sizes, self.grid.window_pitches)
        rows = self._rows_of_images(rows, self.kernel.plane, math.prod(sizes))
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
        """All blocks of k without the taps that see nothing (Note [Taps that see nothing])."""
        size = self.dtype.itemsize
        plane = self.kernel.plane
        if self.grid.is_spread:
            plane = self.kernel.compact_plane
            found = spread_phases(self.grid, block, plane)
        else:
            found = trimmed_phases(self.grid, plane)
        edges = () if self.grid.is_spread else inner_edges(self.grid)
        places = block * math.prod(self.grid.outputs[1:])
        steps: list[tuple[int, int, list[Value]]] = []
        for number, phase in enumerate(found):
            name = f"conv.phase.{number}.{block}.{vectors}"
            rows = self._rows_of_images(phase.rows, plane, places)
            add = write_rows(
                self.module, self.target, self.dtype, rows, vectors, name, paired=True, edges=edges
            )
            pairs = [
                each for offset, k in phase.terms for each in (offset * size, k * self.width * size)
            ]
            table = self.module.table(f"conv.terms.{number}", I64, pairs or [0])
            into = f.offset(totals, phase.result * self.width, self.element)
            blocks = phase.blocks()
            for at, (first, count) in blocks.items():
                is_first = f.constant(I1, int(at == min(blocks)))
                terms = f.offset(table, 2 * first, I64)
                arguments = [add, left, terms, right, f.number(count), into, is_first]
                if edges:
                    arguments.append(f.number(min(-first % len(edges), count)))
                steps.append((at, number, arguments))
        # A block of the packed operand stays in the cache for all phases.
        for _, _, (add, *arguments) in sorted(steps, key=lambda step: step[:2]):
            f.call(add, arguments)

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


def planned(
    target: Target,
    dtype: DType,
    grid: Grid,
    groups: int,
    columns: int,
    *,
    bias: bool,
    samples: int,
    threads: int,
) -> ConvPlaces:
    """The kernel, with blocks that fit the caches and that threads can share evenly."""
    block = _block(target, dtype, grid)
    size = grid.channels * grid.rows_read(grid.outputs[0]) * grid.pitches[0] * dtype.itemsize
    trims = (
        not grid.is_spread
        and grid.outputs[0] <= TRIMMED_MAX
        and size <= WHOLE_BYTES_MAX
        and trimmed_share(grid) >= TRIMMED_SHARE_MIN
    )
    if trims:
        block = grid.outputs[0]
    panels = -(-columns // panel_columns(target, dtype))
    images = 1
    if block == grid.outputs[0]:
        copy = size if not grid.is_spread else size // math.prod(grid.spread)
        totals = grid.places * panel_columns(target, dtype) * dtype.itemsize
        most = min(WHOLE_BYTES_MAX // copy, TOTALS_BYTES_MAX // totals)
        images = _images(samples, most, threads)
    units = samples // images * groups * -(-grid.outputs[0] // block)
    parts = 1 if threads == 1 or units >= UNITS_MIN else min(panels, -(-UNITS_MIN // units))
    return ConvPlaces(dtype, grid, groups, columns, bias, block, -(-panels // parts), images, trims)


def _images(samples: int, most: int, threads: int) -> int:
    """Images of a unit: at most `most`, a divisor of all, that leaves the threads even shares."""
    return max(
        each
        for each in range(1, max(1, min(samples, most)) + 1)
        if samples % each == 0 and (each == 1 or samples // each % threads == 0)
    )


def _block(target: Target, dtype: DType, grid: Grid) -> int:
    """Outer places of a unit."""
    if grid.is_spread:
        compact = compact_grid(grid)
        row_bytes = -(-grid.channels * compact.pitches[0] * dtype.itemsize // grid.spread[0])
        extra = grid.channels * compact.pitches[0] * rows_read(grid, 1) * dtype.itemsize
    else:
        row_bytes = grid.channels * grid.pitches[0] * grid.stride[0] * dtype.itemsize
        extra = grid.channels * grid.pitches[0] * grid.rows_read(1) * dtype.itemsize
    inner = math.prod(grid.outputs[1:])
    most = TOTALS_BYTES_MAX // (inner * panel_columns(target, dtype) * dtype.itemsize)
    if not grid.is_plain:
        most = min(most, (COPY_BYTES_MAX - extra) // row_bytes)
    most = min(max(most, 4), grid.outputs[0])
    block = -(-grid.outputs[0] // -(-grid.outputs[0] // most))
    return min(-(-block // grid.spread[0]) * grid.spread[0], grid.outputs[0])
