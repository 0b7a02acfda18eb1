"""The kernel of `ConvWeightGrad`: rows are (channel, tap), columns are output channels.

Note [Gradient of a weight]
    k runs over the places of all images, so a block of 512 may hold a part of one image, or many.
    For each block a unit copies into scratch the rows of its channels that the block's windows
    read, padded, and the result's gradient turned to `[place][output channel]`; the table of
    offsets says where in the copy the window of each place starts. Totals `[channel, tap][column]`
    of a unit stay in scratch until the last block, and are turned on their side when stored.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bcai.vm.backends.native.kernels.conv_copy import turn_rows, write_pad, write_turn
from bcai.vm.backends.native.kernels.conv_geometry import Grid, adjacent_rows
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.conv_tile import panel_columns, vectors_for, write_rows
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I64, POINTER, Function, Module, Number, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.order import BLOCK
from bcai.vm.isa.types import DType

TOTALS_BYTES_MAX = 1 << 21


@dataclass(frozen=True, slots=True)
class ConvWeights:
    """Gradient of a weight `[groups * columns][channels, *kernel]`.

    A unit has `channels_each` channels of the input and `panels_each` panels of output channels.
    """

    dtype: DType
    grid: Grid
    groups: int
    columns: int
    channels_each: int
    panels_each: int

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("conv_weights", self)

    @property
    def library(self) -> str:
        """An object of its own: the same convolution comes again in many programs."""
        return self.symbol

    def panels(self, target: Target) -> int:
        """Panels of one group."""
        return -(-self.columns // panel_columns(target, self.dtype))

    def units(self, target: Target) -> int:
        """Units of work."""
        return self.groups * self.parts(target) * self.slices

    def scratch_bytes(self, target: Target) -> int:
        """Memory that a thread needs."""
        return self.layout(target)[-1]

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are input, result's gradient, result, images."""
        _Writer(self, module, target).write()

    def parts(self, target: Target) -> int:
        """Units that share the panels of one group."""
        return -(-self.panels(target) // self.panels_each)

    @property
    def slices(self) -> int:
        """Units that share the channels of one group."""
        return -(-self.grid.channels // self.channels_each)

    @property
    def plane(self) -> int:
        """Elements between channels of what the tiles read."""
        grid = self.grid
        if grid.is_plain:
            return math.prod(grid.source)
        row = math.prod(grid.outputs[1:])
        images = (BLOCK + 2 * grid.places - 2) // grid.places
        windows = (BLOCK + 2 * row - 2) // row
        extra = max(0, grid.rows_read(1) - grid.stride[0])
        rows = min(
            windows * grid.stride[0] + images * extra, images * grid.rows_read(grid.outputs[0])
        )
        return rows * grid.pitches[0]

    def layout(self, target: Target) -> tuple[int, int, int, int]:
        """Where in scratch the gradient's block, the copy and the totals start, and its size."""
        size, width = self.dtype.itemsize, panel_columns(target, self.dtype)
        turned = 8 * BLOCK
        copied = turned + self.panels_each * self.block_elements(target) * size
        copy = 0 if self.grid.is_plain else self.channels_each * self.plane * size
        totals = -(-(copied + copy) // 64) * 64
        rows = self.channels_each * self.grid.taps
        return turned, copied, totals, totals + self.panels_each * rows * width * size

    def block_elements(self, target: Target) -> int:
        """Elements of a turned block of a panel; the last vectors may be written over its end."""
        return (BLOCK + target.lanes(self.dtype)) * panel_columns(target, self.dtype)


class _Writer:
    """Writes the kernel's code."""

    def __init__(self, kernel: ConvWeights, module: Module, target: Target) -> None:
        self.kernel, self.module, self.target = kernel, module, target
        self.grid, self.dtype = kernel.grid, kernel.dtype
        self.width = panel_columns(target, kernel.dtype)
        self.panels = kernel.panels(target)
        self.turned, self.copied, self.totals, _ = kernel.layout(target)
        self.image = math.prod(self.grid.source)

    def write(self) -> None:
        e = entry(self.module, self.kernel.symbol)
        f, kernel = e.f, self.kernel
        parts, slices = kernel.parts(self.target), kernel.slices
        self.element = Registers(f, self.dtype, 1, fused=self.target.fused).type
        source, gradient, result = (e.pointer(slot) for slot in range(3))
        depth = f.mul(e.number(3), self.grid.places)
        with f.loop(e.begin, e.end) as loop:
            rest, part = f.div(loop.index, parts), f.rem(loop.index, parts)
            group, slice_ = f.div(rest, slices), f.rem(rest, slices)
            channel = f.mul(slice_, kernel.channels_each)
            first = f.add(f.mul(group, self.grid.channels), channel)
            begin = f.mul(part, kernel.panels_each)
            end = f.minimum(f.add(begin, kernel.panels_each), self.panels)
            left = f.offset(source, f.mul(first, self.image), self.element)
            with f.loop(0, depth, BLOCK) as block:
                length = f.minimum(f.sub(depth, block.index), BLOCK)
                column = f.add(f.mul(group, kernel.columns), f.mul(begin, self.width))
                right = f.offset(gradient, f.mul(column, self.grid.places), self.element)
                self._gather(e, left, right, block.index, length, slice_, begin, end)
                base = left if self.grid.is_plain else f.offset(e.scratch, self.copied)
                with f.loop(begin, end) as panel:
                    at = f.sub(panel.index, begin)
                    arguments = [
                        base,
                        e.scratch,
                        self._panel_of(
                            f, e.scratch, self.turned, at, kernel.block_elements(self.target)
                        ),
                        length,
                        self._totals_of(f, e.scratch, at),
                        f.equal(block.index, 0),
                    ]
                    self._by_shape(
                        f, slice_, panel.index, lambda c, w: f.call(self._rows(c, w), arguments)
                    )
            with f.loop(begin, end) as panel:
                row = f.add(f.mul(group, kernel.columns), f.mul(panel.index, self.width))
                place = f.add(f.mul(row, self.grid.channels), channel)
                into = f.offset(result, f.mul(place, self.grid.taps), self.element)
                totals = self._totals_of(f, e.scratch, f.sub(panel.index, begin))
                self._by_shape(
                    f, slice_, panel.index, lambda c, w: self._store(f, totals, into, c, w)
                )
        f.give(0)

    def _panel_of(self, f: Function, scratch: Value, start: int, panel: Value, size: int) -> Value:
        return f.offset(f.offset(scratch, start), f.mul(panel, size), self.element)

    def _totals_of(self, f: Function, scratch: Value, panel: Value) -> Value:
        size = self.kernel.channels_each * self.grid.taps * self.width
        return self._panel_of(f, scratch, self.totals, panel, size)

    def _by_shape(
        self, f: Function, slice_: Value, panel: Value, act: Callable[[int, int], object]
    ) -> None:
        """Act for the unit's channels and the panel's columns."""
        kernel, slices = self.kernel, self.kernel.slices
        last_channels = self.grid.channels - (slices - 1) * kernel.channels_each
        last_columns = kernel.columns - (self.panels - 1) * self.width

        def by_columns(channels: int) -> None:
            if last_columns == self.width or self.panels == 1:
                act(channels, last_columns)
                return
            with f.either(f.less(panel, self.panels - 1)) as (yes, no):
                with yes:
                    act(channels, self.width)
                with no:
                    act(channels, last_columns)

        if slices == 1 or last_channels == kernel.channels_each:
            by_columns(last_channels)
            return
        with f.either(f.less(slice_, slices - 1)) as (yes, no):
            with yes:
                by_columns(kernel.channels_each)
            with no:
                by_columns(last_channels)

    def _rows(self, channels: int, columns: int) -> Value:
        pitches = (self.kernel.plane, *self.grid.tap_pitches)
        rows = adjacent_rows((channels, *self.grid.kernel), pitches)
        vectors = vectors_for(self.target, self.dtype, columns)
        name = f"conv.rows.{channels}.{vectors}"
        return write_rows(self.module, self.target, self.dtype, rows, vectors, name)

    def _store(
        self, f: Function, totals: Value, result: Value, channels: int, columns: int
    ) -> None:
        depth = self.grid.channels * self.grid.taps
        turn_rows(
            f, self.target, self.dtype, totals, self.width, result, depth,
            channels * self.grid.taps, columns,
        )  # fmt: skip

    def _gather(
        self,
        e: Entry,
        left: Value,
        right: Value,
        start: Value,
        length: Value,
        slice_: Value,
        begin: Value,
        end: Value,
    ) -> None:
        """Copy what the places [start, start + length) read, image after image."""
        f, grid, kernel = e.f, self.grid, self.kernel
        inner = math.prod(grid.outputs[1:])
        places = grid.places
        stop = f.add(start, length)
        first_image = f.div(start, places)
        last_image = f.add(f.div(f.sub(stop, 1), places), 1)
        with f.loop(first_image, last_image, 1, [f.number(0)]) as images:
            (slot,) = images.carried
            origin = f.mul(images.index, places)
            low = f.sub(f.maximum(start, origin), origin)
            high = f.sub(f.minimum(stop, f.add(origin, places)), origin)
            first, last = f.div(low, inner), f.div(f.sub(high, 1), inner)
            across = f.mul(images.index, kernel.groups * grid.channels * self.image)
            outer = f.mul(first, grid.stride[0])
            if grid.is_plain:
                base = across
            else:
                count = f.add(f.mul(f.sub(last, first), grid.stride[0]), grid.rows_read(1))
                pad = write_pad(self.module, self.target, self.dtype, grid, "conv.pad")
                into = f.offset(e.scratch, self.copied)
                into = f.offset(into, f.mul(slot, grid.pitches[0]), self.element)
                channels = f.minimum(
                    f.sub(grid.channels, f.mul(slice_, kernel.channels_each)), kernel.channels_each
                )
                image = f.offset(left, across, self.element)
                f.call(pad, [image, outer, count, into, kernel.plane, channels])
                base = f.mul(f.sub(slot, outer), grid.pitches[0])
                images.following[0] = f.add(slot, count)
            at = f.sub(f.add(origin, low), start)
            table = self._write_table()
            f.call(table, [f.offset(e.scratch, at, I64), base, low, high])
            skipped = f.mul(images.index, kernel.groups * kernel.columns * places)
            gradient = f.offset(right, f.add(skipped, low), self.element)
            self._turn_panels(e, gradient, at, f.sub(high, low), (begin, end))

    def _turn_panels(
        self, e: Entry, gradient: Value, at: Value, count: Value, panels: tuple[Value, Value]
    ) -> None:
        """Turn `count` places of every panel of the gradient, to place `at` of the block."""
        f, kernel = e.f, self.kernel
        begin, end = panels
        last_columns = kernel.columns - (self.panels - 1) * self.width
        with f.loop(begin, end) as panel:
            number = f.sub(panel.index, begin)
            turned = self._panel_of(
                f, e.scratch, self.turned, number, kernel.block_elements(self.target)
            )
            arguments = [
                f.offset(gradient, f.mul(number, self.width * self.grid.places), self.element),
                f.offset(turned, f.mul(at, self.width), self.element),
                count,
            ]
            with f.either(f.less(panel.index, self.panels - 1)) as (yes, no):
                with yes:
                    if self.panels > 1:
                        f.call(self._turn(self.width), arguments)
                with no:
                    f.call(self._turn(last_columns), arguments)

    def _write_table(self) -> Value:
        """Function that writes the offsets of places: table, first offset, places from, to."""
        name = "conv.places"
        if self.module.has(name):
            return self.module.handle(name)
        f = self.module.function(name, (POINTER, I64, I64, I64), internal=True, inline=False)
        table, base, low, high = f.arguments
        size = self.dtype.itemsize
        outer, middle, inner = (each * size for each in self.grid.window_pitches)
        _, middles, inners = self.grid.outputs
        row, i = f.div(low, inners), f.rem(low, inners)
        o, m = f.div(row, middles), f.rem(row, middles)
        at = f.add(f.mul(o, outer), f.add(f.mul(m, middle), f.mul(i, inner)))
        at = f.add(at, f.mul(base, size))
        with f.loop(0, f.sub(high, low), 1, [m, i, at]) as loop:
            m, i, at = loop.carried
            f.store(at, f.offset(table, loop.index, I64))
            i, at = f.add(i, 1), f.add(at, inner)
            end = f.equal(i, inners)
            i = f.b.select(end, f.number(0), i)
            m = f.b.select(end, f.add(m, 1), m)
            at = f.b.select(end, f.add(at, middle - inners * inner), at)
            end = f.equal(m, middles)
            m = f.b.select(end, f.number(0), m)
            at = f.b.select(end, f.add(at, outer - middles * middle), at)
            loop.following[:] = [m, i, at]
        f.give()
        return f.handle

    def _turn(self, columns: int) -> Value:
        """Function that turns part of an image's gradient: source, result, how many places."""
        name = f"conv.turn_places.{columns}"
        if self.module.has(name):
            return self.module.handle(name)
        f = self.module.function(name, (POINTER, POINTER, I64), internal=True, inline=False)
        source, result, count = f.arguments
        lanes, size, places = self.target.lanes(self.dtype), self.dtype.itemsize, self.grid.places
        whole = f.sub(count, f.rem(count, lanes))

        def block(at: Number, wide: Value | None) -> None:
            for row in range(0, columns, lanes):
                turn = write_turn(
                    self.module, self.target, self.dtype, min(lanes, columns - row), lanes,
                    whole=True, counted=wide is not None,
                )  # fmt: skip
                start = f.offset(f.offset(source, row * places, self.element), at, self.element)
                into = f.offset(
                    f.offset(result, f.mul(at, self.width), self.element), row, self.element
                )
                extra = [] if wide is None else [wide]
                f.call(turn, [start, places * size, into, self.width * size, *extra])

        with f.loop(0, whole, lanes) as loop:
            block(loop.index, None)
        with f.when(f.less(whole, count)), f.either(f.less(count, lanes)) as (yes, no):
            with yes:
                block(0, count)
            with no:
                block(f.sub(count, lanes), None)
        f.give()
        return f.handle


def choose_shares(
    target: Target, dtype: DType, grid: Grid, groups: int, columns: int, threads: int
) -> tuple[int, int]:
    """`channels_each` and `panels_each` of a kernel."""
    width = panel_columns(target, dtype)
    panels = -(-columns // width)
    totals = grid.channels * grid.taps * width * dtype.itemsize
    most = max(1, min(panels, TOTALS_BYTES_MAX // totals))
    parts = -(-panels // most)
    units = groups * parts
    if units % threads and groups * panels >= threads:
        parts = min(panels, -(-parts // threads) * threads)
        units = groups * parts
    slices = 1 if units >= threads else min(grid.channels, -(-threads // units))
    return -(-grid.channels // slices), -(-panels // parts)
