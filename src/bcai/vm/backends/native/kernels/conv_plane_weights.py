"""The kernel of `ConvWeightGrad` for depthwise convolutions: vectors lie along channels.

Note [Gradient of depthwise weights]
    Every weight is one chain over all places of all images, and there are few in a channel. So a
    unit of work takes as many channels as a vector has lanes: of each image their planes are turned
    to `[place][channel]`, the input's among zeros that stay. Then each place is a vector of the
    result's gradient, that meets one of the input for every tap. A block of 512 of k may end within
    an image or reach into the next: what is not finished waits in scratch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from bcai.vm.backends.native.kernels.conv_copy import fill
from bcai.vm.backends.native.kernels.conv_geometry import Grid
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.kernels.packing import transposed
from bcai.vm.backends.native.launch import Entry, entry
from bcai.vm.backends.native.llvm import I32, I64, Module, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.order import BLOCK
from bcai.vm.isa.types import DType

LANES_MIN = 4
PLACES_MAX = 1 << 14
"""Of a plane: its places are listed in the code."""


@dataclass(frozen=True, slots=True)
class ConvPlaneWeights:
    """Gradient of a weight `[groups][1, *kernel]`; arguments are input, gradient, result, images.

    A unit is a vector of groups. The last one begins earlier if it would be short, and stores
    nothing twice.
    """

    dtype: DType
    grid: Grid
    groups: int

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("conv_plane_weights", self)

    @property
    def library(self) -> str:
        """An object of its own: the same convolution comes again in many programs."""
        return self.symbol

    @property
    def places_in(self) -> int:
        """Elements of a plane of the input."""
        return prod(self.grid.source)

    def lanes(self, target: Target) -> int:
        """Channels of a unit: the vector's lanes, or fewer if there are not so many."""
        lanes = target.lanes(self.dtype)
        while lanes > self.groups:
            lanes //= 2
        return lanes

    def suits(self, target: Target, columns: int) -> bool:
        """Whether this kernel can do it, and is the better one."""
        lanes, sizes = self.lanes(target), (self.places_in, self.grid.places)
        depthwise = self.grid.channels == columns == 1
        return depthwise and lanes >= LANES_MIN and lanes <= min(sizes) and max(sizes) <= PLACES_MAX

    def units(self, target: Target) -> int:
        """Units of work."""
        return -(-self.groups // self.lanes(target))

    def layout(self, target: Target) -> tuple[int, int, int, int]:
        """Elements of scratch before the gradient, the unfinished block, the totals; and of all."""
        lanes = self.lanes(target)
        gradient = prod(self.grid.padded) * lanes
        partial = gradient + self.grid.places * lanes
        totals = partial + self.grid.taps * lanes
        return gradient, partial, totals, totals + self.grid.taps * lanes

    def scratch_bytes(self, target: Target) -> int:
        """Memory that a thread needs."""
        return self.layout(target)[-1] * self.dtype.itemsize

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        _Writer(self, module, target).write()


class _Writer:
    """Writes the kernel's code."""

    def __init__(self, kernel: ConvPlaneWeights, module: Module, target: Target) -> None:
        self.kernel, self.module, self.target, self.grid = kernel, module, target, kernel.grid
        self.e: Entry = entry(module, kernel.symbol)
        self.f = self.e.f
        self.lanes = kernel.lanes(target)
        self.registers = Registers(self.f, kernel.dtype, self.lanes, fused=target.fused)
        self.element = Registers(self.f, kernel.dtype, 1, fused=target.fused).type
        gradient, partial, totals, _ = kernel.layout(target)
        self.gradient, self.partial, self.totals = (
            self.f.offset(self.e.scratch, each, self.element)
            for each in (gradient, partial, totals)
        )

    def write(self) -> None:
        f, e, kernel, grid = self.f, self.e, self.kernel, self.grid
        places, images = grid.places, e.number(3)
        depth = f.mul(images, places)
        with f.loop(e.begin, e.end) as unit:
            wanted = f.mul(unit.index, self.lanes)
            first = f.minimum(wanted, kernel.groups - self.lanes)
            fill(f, self.target, kernel.dtype, e.scratch, prod(grid.padded) * self.lanes)
            with f.loop(0, images) as image:
                plane = f.add(f.mul(image.index, kernel.groups), first)
                self._turn(e.pointer(0), plane, kernel.places_in, e.scratch, self._padded_places())
                self._turn(e.pointer(1), plane, places, self.gradient, None)
                start = f.mul(image.index, places)
                chunks = f.add(f.div(f.add(f.rem(start, BLOCK), places - 1), BLOCK), 1)
                with f.loop(0, chunks) as chunk:
                    block = f.mul(f.add(f.div(start, BLOCK), chunk.index), BLOCK)
                    begin = f.maximum(block, start)
                    end = f.minimum(f.add(block, BLOCK), f.add(start, places))
                    opens = f.equal(begin, block)
                    is_full = f.equal(end, f.add(block, BLOCK))
                    closes = f.b.or_(is_full, f.equal(end, depth))
                    span = (f.sub(begin, start), f.sub(end, start))
                    for taps in self._tiles():
                        self._add(taps, span, opens, closes, f.equal(block, 0))
            self._store(e.pointer(2), first, wanted)
        f.give(0)

    def _turn(
        self, source: Value, plane: Value, size: int, result: Value, places: Value | None
    ) -> None:
        """Planes from `plane` on to `[place][channel]`, at the listed places if there is a list."""
        f, lanes, element = self.f, self.lanes, self.element
        start = f.offset(source, f.mul(plane, size), element)
        with f.loop(0, -(-size // lanes)) as loop:
            at = f.minimum(f.mul(loop.index, lanes), size - lanes)
            square = [
                f.load(f.offset(start, f.add(at, lane * size), element), self.registers.type)
                for lane in range(lanes)
            ]
            for lane, vector in enumerate(transposed(f, square)):
                place: Value = f.add(at, lane)
                if places is not None:
                    place = f.b.sext(f.load(f.offset(places, place, I32), I32), I64)
                f.store(vector, f.offset(result, f.mul(place, lanes), element))

    def _padded_places(self) -> Value:
        """Table: where each element of a plane lies among its padding."""
        inside = [range(b, b + s) for b, s in zip(self.grid.before, self.grid.source, strict=True)]
        return self._table("conv.padded_places", inside, self.grid.pitches)

    def _windows(self) -> Value:
        """Table: where each window starts."""
        windows = [range(each) for each in self.grid.outputs]
        return self._table("conv.windows", windows, self.grid.window_pitches)

    def _table(self, name: str, axes: Sequence[range], pitches: Sequence[int]) -> Value:
        found = [
            sum(at * pitch for at, pitch in zip(place, pitches, strict=True))
            for place in product(*axes)
        ]
        return self.module.table(name, I32, found)

    def _tiles(self) -> Iterator[range]:
        """Taps that are computed side by side."""
        most = 1 if not self.target.fused else 9 if self.target.registers < 32 else 16
        taps = self.grid.taps
        count = -(-taps // most)
        for tile in range(count):
            yield range(taps * tile // count, taps * (tile + 1) // count)

    def _add(
        self, taps: range, span: tuple[Value, Value], opens: Value, closes: Value, is_first: Value
    ) -> None:
        """Places of one image that belong to one block of k."""
        f, lanes, registers, element = self.f, self.lanes, self.registers, self.element
        zero = registers.constant(0.0)
        kept = [f.offset(self.partial, tap * lanes, element) for tap in taps]
        carried = [f.b.select(opens, zero, f.load(each, registers.type)) for each in kept]
        windows, offsets = self._windows(), self.grid.tap_offsets()
        with f.loop(*span, 1, carried) as loop:
            at = f.b.sext(f.load(f.offset(windows, loop.index, I32), I32), I64)
            window = f.offset(self.e.scratch, f.mul(at, lanes), element)
            d = f.load(f.offset(self.gradient, f.mul(loop.index, lanes), element), registers.type)
            for number, tap in enumerate(taps):
                x = f.load(f.offset(window, offsets[tap] * lanes, element), registers.type)
                loop.following[number] = registers.fma(x, d, loop.carried[number])
        for tap, place, value in zip(taps, kept, loop.following, strict=True):
            f.store(value, place)
            total = f.offset(self.totals, tap * lanes, element)
            with f.when(closes):
                both = registers.add(f.load(total, registers.type), value)
                f.store(f.b.select(is_first, value, both), total)

    def _store(self, result: Value, first: Value, wanted: Value) -> None:
        """The totals of channels from `wanted` on to `[channel][tap]`."""
        f, lanes, taps, element = self.f, self.lanes, self.grid.taps, self.element
        with f.loop(f.sub(wanted, first), lanes) as lane:
            channel = f.add(first, lane.index)
            with f.loop(0, taps) as tap:
                at = f.add(f.mul(tap.index, lanes), lane.index)
                value = f.load(f.offset(self.totals, at, element), element)
                into = f.add(f.mul(channel, taps), tap.index)
                f.store(value, f.offset(result, into, element))
