"""Gradient of the input of a strided convolution, without the taps that wrote nothing.

Note [Phases of a stride]
    With stride s the places of the input fall in s phases along an axis, and only every s-th tap
    has written to a place. Taps that have not count as +0 in the order laid down, and most of the
    work would be with them. Leaving one out leaves out `total = fma(w, +0, total)`, which changes
    nothing but in two cases. If w is infinite or not a number, the result is not a number: so the
    weights are looked through, once. If the total is -0 and w >= 0, it becomes +0. The total of the
    short chain is then -0 where that of the long one may be +0; from there on both give the same
    until the end, for to add a number to +0 or -0 differs only if the sum is a zero. The other way
    round cannot be: both start from +0. So a result of the short chain that is not -0 is right, and
    -0 arises from nothing but underflow. Panels with a -0 among their results, and all of them if a
    weight is not finite, are computed again the long way, on a copy with zeros between elements.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from bcai.vm.backends.native.kernels.conv_geometry import Grid, Rows, Three, three
from bcai.vm.backends.native.kernels.conv_layout import symbol_of
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import I64, Module
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.order import BLOCK
from bcai.vm.isa.types import DType

FINITE_CHUNK = 8192
"""Weights that one unit looks through."""


@dataclass(frozen=True, slots=True)
class AxisPhase:
    """Places `first`, `first + spread`, ... along an axis, and the taps that wrote to them.

    `taps` are (tap, element of the image, from the place's number in its phase).
    """

    first: int
    taps: tuple[tuple[int, int], ...]

    def count(self, size: int, spread: int) -> int:
        """Places of the phase among the first `size`."""
        return max(0, -(-(size - self.first) // spread))


@dataclass(frozen=True, slots=True)
class Phase:
    """Rows of one phase, where their totals start, and what they add up.

    `terms` are (offset in the copy, k) in ascending k, offsets and k in elements and steps.
    """

    rows: Rows
    result: int
    terms: tuple[tuple[int, int], ...]

    def blocks(self) -> list[tuple[int, int]]:
        """(first term, terms) of every block of 512 of k that has any."""
        found: list[tuple[int, int]] = []
        for at, (_, k) in enumerate(self.terms):
            if found and self.terms[found[-1][0]][1] // BLOCK == k // BLOCK:
                found[-1] = (found[-1][0], found[-1][1] + 1)
            else:
                found.append((at, 1))
        return found or [(0, 0)]


def axis_phases(grid: Grid, axis: int) -> list[AxisPhase]:
    """Phases of an axis of a grid whose image is spread."""
    found: list[AxisPhase] = []
    spread, kernel, dilation = grid.spread[axis], grid.kernel[axis], grid.dilation[axis]
    for first in range(min(spread, grid.outputs[axis])):
        taps: list[tuple[int, int]] = []
        for tap in range(kernel):
            place = first + dilation * (kernel - 1 - tap) - grid.before[axis]
            if place % spread == 0:
                taps.append((tap, place // spread))
        found.append(AxisPhase(first, tuple(taps)))
    return found


def compact_grid(grid: Grid) -> Grid:
    """The image with its margins only: what all phases read. Windows are not those of a phase."""
    before: list[int] = []
    padded: list[int] = []
    for axis in range(3):
        phases = axis_phases(grid, axis)
        counts = [each.count(grid.outputs[axis], grid.spread[axis]) for each in phases]
        low = min((s for each in phases for _, s in each.taps), default=0)
        high = max(
            (s + count for each, count in zip(phases, counts, strict=True) for _, s in each.taps),
            default=low + 1,
        )
        before.append(-low)
        padded.append(high - low)
    one: Three = (1, 1, 1)
    size = three(tuple(padded), 1)
    return Grid(grid.channels, grid.source, one, three(tuple(before), 0), size, one, one, one, size)


def rows_read(grid: Grid, block: int) -> int:
    """Outer places of the compact image that `block` outer places read."""
    low = -compact_grid(grid).before[0]
    return max(
        (
            shift - low + each.count(block, grid.spread[0])
            for each in axis_phases(grid, 0)
            for _, shift in each.taps
        ),
        default=1,
    )


def phases(grid: Grid, block: int, plane: int) -> list[Phase]:
    """Phases of `block` outer places; channels of the compact copy are `plane` elements apart."""
    compact = compact_grid(grid)
    outputs = (block, *grid.outputs[1:])
    steps = (outputs[1] * outputs[2], outputs[2], 1)
    found: list[Phase] = []
    for chosen in product(*(axis_phases(grid, axis) for axis in range(3))):
        sizes = tuple(
            each.count(size, spread)
            for each, size, spread in zip(chosen, outputs, grid.spread, strict=True)
        )
        if not math.prod(sizes):
            continue
        results = tuple(step * spread for step, spread in zip(steps, grid.spread, strict=True))
        start = sum(each.first * step for each, step in zip(chosen, steps, strict=True))
        found.append(
            Phase(
                Rows(sizes, compact.pitches, results), start, _terms(grid, compact, chosen, plane)
            )
        )
    return found


def _terms(
    grid: Grid, compact: Grid, chosen: Sequence[AxisPhase], plane: int
) -> tuple[tuple[int, int], ...]:
    kernel = grid.kernel
    taps: list[tuple[int, int]] = []
    for combined in product(*(each.taps for each in chosen)):
        number = (combined[0][0] * kernel[1] + combined[1][0]) * kernel[2] + combined[2][0]
        offset = sum(
            (shift + before) * pitch
            for (_, shift), before, pitch in zip(
                combined, compact.before, compact.pitches, strict=True
            )
        )
        taps.append((offset, number))
    return tuple(
        (channel * plane + offset, channel * grid.taps + number)
        for channel in range(grid.channels)
        for offset, number in taps
    )


@dataclass(frozen=True, slots=True)
class NotFinite:
    """Writes for each chunk of a tensor of `size` whether any element is not finite, as i64."""

    dtype: DType
    size: int

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("not_finite", self)

    @property
    def library(self) -> None:
        """With the program's own code."""
        return None

    @property
    def units(self) -> int:
        """Chunks."""
        return -(-self.size // FINITE_CHUNK)

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are the tensor and the answers."""
        e = entry(module, self.symbol)
        f = e.f
        source, result = e.pointer(0), e.pointer(1)
        lanes = target.lanes(self.dtype)
        registers = Registers(f, self.dtype, lanes, fused=target.fused)
        one = Registers(f, self.dtype, 1, fused=target.fused)
        with f.loop(e.begin, e.end) as loop:
            begin = f.mul(loop.index, FINITE_CHUNK)
            end = f.minimum(f.add(begin, FINITE_CHUNK), self.size)
            whole = f.add(begin, f.mul(f.div(f.sub(end, begin), lanes), lanes))
            with f.loop(begin, whole, lanes, [registers.constant(0.0)]) as each:
                value = f.load(f.offset(source, each.index, one.type), registers.type)
                # Infinity - infinity is not a number, which stays.
                each.following[0] = registers.add(each.carried[0], registers.sub(value, value))
            wrong = f.any_lane(registers.is_nan(each.following[0]))
            with f.loop(whole, end, 1, [wrong]) as each:
                value = f.load(f.offset(source, each.index, one.type), one.type)
                bad = one.is_nan(one.sub(value, value))
                each.following[0] = f.b.or_(each.carried[0], bad)
            f.store(f.b.zext(each.following[0], I64), f.offset(result, loop.index, I64))
        f.give(0)
