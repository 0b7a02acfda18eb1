"""The kernel of `Conv` and `ConvInputGrad` for few channels: rows are channels, columns are places.

Note [Convolution by planes]
    Where a group has few channels of the result, such as the one of a depthwise convolution,
    vectors along channels (Note [Direct convolution]) would be all but empty. Here they lie along
    the innermost axis of the result. A unit of work is one group of one image: its padded copy is
    read vector by vector at fixed offsets, and each weight is repeated in every lane. The last
    vector of a line overlaps the one before. Each element is still one chain over ascending k.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from bcai.vm.backends.native.kernels.conv_copy import write_pad
from bcai.vm.backends.native.kernels.conv_geometry import Grid
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.pool_windows import strided
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import I64, Function, Module, Number, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.order import BLOCK
from bcai.vm.isa.types import DType

COLUMNS_SHARE = 4
"""Part of a vector's lanes up to which channels are few."""
INNER_MIN = 4
COPY_BYTES_MAX = 1 << 22
UNITS_MIN = 8
"""Units below which several threads would wait for one."""
TILE = 8
"""Vectors that are computed side by side, so that none waits for its last multiply-add."""


@dataclass(frozen=True, slots=True)
class ConvPlanes:
    """Contraction with planes of `grid` as rows; arguments are left, weight, result, bias if any.

    Attributes
    ----------
    groups, columns
        Groups, and channels of the result in each.
    bias
        Whether a vector of all channels is added.
    column_step, channel_step
        Elements of the weight from one channel of the result, or of the image, to the next.
    """

    dtype: DType
    grid: Grid
    groups: int
    columns: int
    bias: bool
    column_step: int
    channel_step: int

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("conv_planes", self)

    @property
    def library(self) -> str:
        """An object of its own: the same convolution comes again in many programs."""
        return self.symbol

    @property
    def depth(self) -> int:
        """Length of k."""
        return self.grid.channels * self.grid.taps

    @property
    def plane(self) -> int:
        """Elements between channels of what is read."""
        return prod(self.grid.padded)

    @property
    def scratch_bytes(self) -> int:
        """Memory that a thread needs."""
        return 0 if self.grid.is_plain else self.grid.channels * self.plane * self.dtype.itemsize

    def suits(self, target: Target, samples: int, threads: int) -> bool:
        """Whether this kernel can do it, and is the better one."""
        return (
            self.columns * COLUMNS_SHARE <= target.lanes(self.dtype)
            and self.depth <= BLOCK
            and self.grid.outputs[2] >= INNER_MIN
            and self.scratch_bytes <= COPY_BYTES_MAX
            and (threads == 1 or samples * self.groups >= UNITS_MIN)
        )

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        e, grid = entry(module, self.symbol), self.grid
        f = e.f
        element = Registers(f, self.dtype, 1, fused=target.fused).type
        left, weight, result = (e.pointer(slot) for slot in range(3))
        image = grid.channels * prod(grid.source)
        with f.loop(e.begin, e.end) as unit:
            start = f.offset(left, f.mul(unit.index, image), element)
            if not grid.is_plain:
                pad = write_pad(module, target, self.dtype, grid, "conv.pad")
                f.call(pad, [start, 0, grid.padded[0], e.scratch, self.plane, grid.channels])
                start = e.scratch
            group = f.rem(unit.index, self.groups)
            with f.loop(0, self.columns) as column:
                at = f.add(
                    f.mul(group, self.columns * self.depth), f.mul(column.index, self.column_step)
                )
                row = f.add(f.mul(unit.index, self.columns), column.index)
                bias = None
                if self.bias:
                    channel = f.add(f.mul(group, self.columns), column.index)
                    bias = f.load(f.offset(e.pointer(3), channel, element), element)
                plane = _Plane(
                    self,
                    f,
                    target,
                    start,
                    f.offset(weight, at, element),
                    f.offset(result, f.mul(row, grid.places), element),
                    bias,
                )
                plane.write()
        f.give(0)


@dataclass(frozen=True, slots=True)
class _Plane:
    """Writes the code for one channel of the result: addresses of the three, and its bias."""

    kernel: ConvPlanes
    f: Function
    target: Target
    left: Value
    weight: Value
    result: Value
    bias: Value | None

    def write(self) -> None:
        f, (outers, middles, inners) = self.f, self.kernel.grid.outputs
        lanes = self.target.lanes(self.kernel.dtype)
        while lanes > inners:
            lanes //= 2
        most = TILE if self.target.fused else 1
        across = min(-(-inners // lanes), most)
        down = min(outers, max(1, most // across))
        chunk = across * lanes
        whole = inners // chunk * chunk
        rest = [*range(whole, inners - lanes + 1, lanes)]
        if inners % lanes:
            rest.append(inners - lanes)

        def lines(outer: Value, middle: Value, count: int) -> None:
            with f.loop(0, whole, chunk) as inner:
                steps = [f.add(inner.index, step) for step in range(0, chunk, lanes)]
                self._tile(lanes, outer, middle, count, steps)
            if rest:
                self._tile(lanes, outer, middle, count, rest)

        with f.loop(0, middles) as middle:
            with f.loop(0, outers // down * down, down) as outer:
                lines(outer.index, middle.index, down)
            if outers % down:
                lines(f.number(outers // down * down), middle.index, outers % down)

    def _tile(
        self, lanes: int, outer: Value, middle: Value, count: int, inners: Sequence[Number]
    ) -> None:
        """Vectors at `inners` of `count` lines, one below the other."""
        f, kernel, grid = self.f, self.kernel, self.kernel.grid
        registers = Registers(f, kernel.dtype, lanes, fused=self.target.fused)
        element = Registers(f, kernel.dtype, 1, fused=self.target.fused).type
        windows: list[Value] = []
        results: list[Value] = []
        for line in range(count):
            place = f.add(outer, line)
            pitches, row = grid.window_pitches, f.add(f.mul(place, grid.outputs[1]), middle)
            start = f.add(f.mul(place, pitches[0]), f.mul(middle, pitches[1]))
            for inner in inners:
                at = f.add(start, f.mul(inner, pitches[2]))
                windows.append(f.offset(self.left, at, element))
                into = f.add(f.mul(row, grid.outputs[2]), inner)
                results.append(f.offset(self.result, into, element))
        table = f.module.table("conv.planes", I64, self._offsets())
        zeros = [registers.constant(0.0)] * len(windows)
        with f.loop(0, kernel.depth, 1, zeros) as k:
            entry_ = f.offset(table, f.mul(k.index, 2), I64)
            offset, place = f.load(entry_, I64), f.load(f.offset(entry_, 1, I64), I64)
            weight = f.splat(f.load(f.offset(self.weight, place), element), lanes)
            for number, window in enumerate(windows):
                values = strided(f, element, lanes, f.offset(window, offset), grid.stride[2])
                k.following[number] = registers.fma(values, weight, k.carried[number])
        for total, into in zip(k.following, results, strict=True):
            biased = self.bias
            value = total if biased is None else registers.add(total, f.splat(biased, lanes))
            f.store(value, into)

    def _offsets(self) -> list[int]:
        """Bytes from the start of a window, and from the first weight, to every k."""
        kernel = self.kernel
        return [
            each * kernel.dtype.itemsize
            for channel in range(kernel.grid.channels)
            for tap, offset in enumerate(kernel.grid.tap_offsets())
            for each in (channel * kernel.plane + offset, channel * kernel.channel_step + tap)
        ]
