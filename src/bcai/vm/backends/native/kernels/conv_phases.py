"""Convolutions without the taps that see nothing, where that is proved to give the same bits.

Note [Taps that see nothing]
    In the gradient of the input of a convolution of stride s the places fall in s phases along an
    axis, and only every s-th tap has written to a place: most of the work would be with the others,
    which count as +0 in the order laid down. So do taps that see padding: a fifth of all of a 3x3
    window in a 7x7 image. Leaving one out leaves out `total = fma(w, +0, total)`, which changes
    nothing but in two cases. If w is infinite or not a number, the result is not a number: so
    `ConvPack` looks through the weights. If the total is -0 and w >= 0, it becomes +0. The total of
    the short chain is then -0 where that of the long one may be +0; from there on both give the
    same until the end, for to add a number to +0 or -0 differs only if the sum is a zero. The
    other way round cannot be: both start from +0. So a result of the short chain that is not -0
    is right, and -0 arises from nothing but underflow. Panels with a -0 among their results, and
    all of them if a weight is not finite, are computed again the long way, on a copy with all
    zeros.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product

from bcai.vm.backends.native.kernels.conv_geometry import Grid, Rows, Three, three
from bcai.vm.isa.order import BLOCK


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

    def blocks(self) -> dict[int, tuple[int, int]]:
        """(first term, terms) of every block of 512 of k that has any, or of one that has none."""
        found: dict[int, tuple[int, int]] = {}
        for at, (_, k) in enumerate(self.terms):
            first, count = found.get(k // BLOCK, (at, 0))
            found[k // BLOCK] = first, count + 1
        return found or {0: (0, 0)}


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


def spread_phases(grid: Grid, block: int, plane: int) -> list[Phase]:
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


def trimmed_phases(grid: Grid, plane: int) -> list[Phase]:
    """Runs of outer places that see the same outer taps, of a whole padded image."""
    seen: list[tuple[int, ...]] = []
    for window in range(grid.outputs[0]):
        start = window * grid.stride[0] - grid.before[0]
        places = [start + grid.outer_tap(tap) for tap in range(grid.kernel[0])]
        seen.append(tuple(t for t, at in enumerate(places) if 0 <= at < grid.source[0]))
    offsets = grid.tap_offsets()
    inner = grid.taps // grid.kernel[0]
    steps = (grid.outputs[1] * grid.outputs[2], grid.outputs[2], 1)
    found: list[Phase] = []
    first = 0
    for taps, run in groupby(seen):
        count = len(list(run))
        rows = Rows((count, *grid.outputs[1:]), grid.window_pitches, steps)
        base = first * grid.window_pitches[0]
        terms = tuple(
            (channel * plane + base + offsets[k], channel * grid.taps + k)
            for channel in range(grid.channels)
            for tap in taps
            for k in range(tap * inner, (tap + 1) * inner)
        )
        found.append(Phase(rows, first * steps[0], terms))
        first += count
    return found


def trimmed_share(grid: Grid) -> float:
    """Which part of all taps `trimmed_phases` leaves out."""
    kept = sum(len(each.terms) * each.rows.count for each in trimmed_phases(grid, 0))
    return 1 - kept / (grid.places * grid.channels * grid.taps)


def inner_edges(grid: Grid) -> tuple[frozenset[int], ...]:
    """For each tap along the innermost axis the windows that see padding with it."""
    found: list[frozenset[int]] = []
    for tap in range(grid.kernel[2]):
        away = grid.kernel[2] - 1 - tap if grid.mirrored else tap
        start = away * grid.dilation[2] - grid.before[2]
        places = (start + window * grid.stride[2] for window in range(grid.outputs[2]))
        inside = [0 <= at < grid.source[2] for at in places]
        found.append(frozenset(at for at, sees in enumerate(inside) if not sees))
    return tuple(found) if any(found) else ()
