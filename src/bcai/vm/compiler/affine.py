"""Affine maps from the places of a loop to the places of a tensor, and how they are chained."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from bcai.vm.compiler.plan import row_major

CUTS_MAX = 64
"""Of the axes of one map; a rank is at most 16."""


class Affine(NamedTuple):
    """Index (i, j, ...) below `sizes` goes to `offset + i * strides[0] + ...`."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def is_row_major(self) -> bool:
        """Whether it counts 0, 1, 2, ... in row-major order."""
        if self.offset:
            return False
        step = 1
        for size, stride in zip(reversed(self.sizes), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return False
            step *= size
        return True

    @property
    def elements(self) -> int:
        """Number of indices."""
        return math.prod(self.sizes)


class Split(NamedTuple):
    """Wanted: cut `axis` of a loop, so that its inner part has `inner` places."""

    axis: int
    inner: int


def dense(sizes: tuple[int, ...]) -> Affine:
    """Count in row-major order."""
    return Affine(sizes, row_major(sizes), 0)


def divided(map_: Affine, split: Split) -> Affine:
    """The same map with an axis cut in two."""
    sizes, strides, axis = list(map_.sizes), list(map_.strides), split.axis
    sizes[axis : axis + 1] = [sizes[axis] // split.inner, split.inner]
    strides[axis : axis + 1] = [strides[axis] * split.inner, strides[axis]]
    return Affine(tuple(sizes), tuple(strides), map_.offset)


def coalesced(
    sizes: Sequence[int], strides: Sequence[Sequence[int]], walls: frozenset[int] = frozenset()
) -> tuple[list[int], list[list[int]]]:
    """Drop axes of size 1 and join neighbours that every row of strides runs through as one.

    An axis in `walls` is not joined with the one before it, and stays even if its size is 1.
    """
    new_sizes: list[int] = []
    rows: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(sizes):
        wall = axis in walls
        if size == 1 and not wall:
            continue
        joins = bool(new_sizes) and not wall and size != 0 and new_sizes[-1] != 0
        if joins and all(
            row[-1] == each[axis] * size for row, each in zip(rows, strides, strict=True)
        ):
            new_sizes[-1] *= size
            for row, each in zip(rows, strides, strict=True):
                row[-1] = each[axis]
            continue
        new_sizes.append(size)
        for row, each in zip(rows, strides, strict=True):
            row.append(each[axis])
    return new_sizes, rows


@lru_cache(maxsize=1 << 16)
def through(outer: Affine, inner: Affine) -> Affine | Split | None:
    """Chain two maps: `outer` counts places of `inner`'s index space in row-major order.

    None where the chain is not affine; a `Split` where it is once that axis of `outer` is cut.
    """
    if 0 in outer.sizes or 0 in inner.sizes:
        return Affine(outer.sizes, (0,) * len(outer.sizes), 0)
    sizes, (strides,) = coalesced(inner.sizes, (inner.strides,))
    if not sizes:
        return Affine(outer.sizes, (0,) * len(outer.sizes), inner.offset)
    if len(sizes) == 1:  # one step serves all
        step = strides[0]
        moved = tuple(each * step for each in outer.strides)
        return Affine(outer.sizes, moved, inner.offset + outer.offset * step)
    radix = row_major(tuple(sizes))
    digits = [outer.offset // each % size for each, size in zip(radix, sizes, strict=True)]
    low, high = list(digits), list(digits)
    found: list[int] = []
    for axis, (size, stride) in enumerate(zip(outer.sizes, outer.strides, strict=True)):
        if size == 1 or stride == 0:
            found.append(0)
            continue
        at = next(place for place, each in enumerate(radix) if each <= abs(stride))
        steps, rest = divmod(abs(stride), radix[at])
        if rest:
            return None
        reach = steps * (size - 1)
        if reach >= sizes[at]:
            part, rest = divmod(sizes[at], steps)
            return Split(axis, part) if not rest and part > 1 and size % part == 0 else None
        if stride > 0:
            high[at] += reach
        else:
            low[at] -= reach
        found.append(strides[at] * (steps if stride > 0 else -steps))
    if min(low) < 0 or any(each >= size for each, size in zip(high, sizes, strict=True)):
        return None
    start = sum(digit * stride for digit, stride in zip(digits, strides, strict=True))
    return Affine(outer.sizes, tuple(found), inner.offset + start)


def chained(outer: Affine, inner: Affine) -> Affine | None:
    """The chain of two maps, the first one's axes cut as need be; None if it is not affine."""
    for _ in range(CUTS_MAX):
        found = through(outer, inner)
        if not isinstance(found, Split):
            return found
        outer = divided(outer, found)
    return None


def agree(chains: Sequence[tuple[Affine, Affine]]) -> bool:
    """Whether maps from one loop can all be chained with others once its axes are cut."""
    outers = [outer for outer, _ in chains]
    for _ in range(CUTS_MAX):
        split: Split | None = None
        for outer, (_, inner) in zip(outers, chains, strict=True):
            found = through(outer, inner)
            if found is None:
                return False
            if isinstance(found, Split):
                split = found
                break
        if split is None:
            return True
        outers = [divided(each, split) for each in outers]
    return False


def joined(outer: Affine, inner: Affine) -> Affine | None:
    """The chain of two maps without any cut, or None."""
    found = through(outer, inner)
    return found if isinstance(found, Affine) else None


def is_bijective(map_: Affine, elements: int) -> bool:
    """Whether every place from 0 to `elements` - 1 is met once."""
    if map_.offset or map_.elements != elements:
        return False
    step = 1
    for stride, size in sorted(zip(map_.strides, map_.sizes, strict=True)):
        if size == 1:
            continue
        if stride != step:
            return False
        step *= size
    return True


def reshaped(map_: Affine, shape: tuple[int, ...]) -> Affine | None:
    """The same places in the same order under another shape; None if strides cannot say it."""
    if map_.elements == 0:
        return Affine(shape, (0,) * len(shape), 0)
    sizes, (strides,) = coalesced(map_.sizes, (map_.strides,))
    found: list[int] = []
    at, room = len(sizes) - 1, sizes[-1] if sizes else 1
    step = strides[-1] if strides else 0
    for size in reversed(shape):
        if size == 1:
            found.append(0)
            continue
        if room == 1:
            at -= 1
            room, step = sizes[at], strides[at]
        if room % size:
            return None
        found.append(step)
        room //= size
        step *= size
    return Affine(shape, tuple(reversed(found)), map_.offset)


def expanded(map_: Affine, shape: tuple[int, ...]) -> Affine:
    """Broadcast as NumPy does."""
    if map_.sizes == shape:
        return map_
    extra = len(shape) - len(map_.sizes)
    strides = tuple(
        0 if size == 1 else stride for size, stride in zip(map_.sizes, map_.strides, strict=True)
    )
    return Affine(shape, (0,) * extra + strides, map_.offset)


def along(map_: Affine, axis: int, start: int, size: int, step: int = 1) -> Affine:
    """Places start, start + step, ... of an axis."""
    sizes, strides = list(map_.sizes), list(map_.strides)
    offset = map_.offset + start * strides[axis] if size else map_.offset
    sizes[axis] = size
    strides[axis] *= step
    return Affine(tuple(sizes), tuple(strides), offset)


def without(map_: Affine, axes: Sequence[int]) -> Affine:
    """Leave out axes (at their first place)."""
    kept = [axis for axis in range(len(map_.sizes)) if axis not in axes]
    return permuted(map_, kept)


def permuted(map_: Affine, axes: Sequence[int]) -> Affine:
    """Axis i of the result is axis `axes[i]`."""
    sizes, strides = map_.sizes, map_.strides
    return Affine(
        tuple(sizes[axis] for axis in axes), tuple(strides[axis] for axis in axes), map_.offset
    )
