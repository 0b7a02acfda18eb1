"""Tensors put together from parts: `Concat` and `Pad`, and what is read from them again.

Note [Reading from a join]
    A view that lies within one part is a view of that part. An instruction on a padded tensor is
    done part by part, so that what only adds zeros to gradients of slices never becomes a tensor.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from bcai.vm.compiler.affine import Affine, along
from bcai.vm.compiler.graph import Base, JoinNode, Part, Value

REGIONS_MAX = 8
"""Parts into which one instruction is cut."""


def concat_parts(parts: Sequence[Value], axis: int, strides: tuple[int, ...]) -> list[Part]:
    """Parts one after the other along an axis of a join with the given strides."""
    start, found = 0, list[Part]()
    for each in parts:
        found.append(Part(each, Affine(each.map.sizes, strides, start * strides[axis])))
        start += each.map.sizes[axis]
    return found


def pad_parts(
    x: Value, filled: Value, attributes: Mapping[str, Any], strides: tuple[int, ...]
) -> list[Part]:
    """The middle and the slabs around it, of the number in `filled` (which has the whole shape)."""
    shape, before = filled.map.sizes, attributes["before"]
    start = sum(b * s for b, s in zip(before, strides, strict=True))
    found = [Part(x, Affine(x.map.sizes, strides, start))]
    # Slabs: axis by axis, all of the later axes and the middle of the earlier ones.
    low, sizes = [0] * len(shape), list(shape)
    for axis, (lead, middle) in enumerate(zip(before, x.map.sizes, strict=True)):
        for first, size in ((0, lead), (lead + middle, sizes[axis] - lead - middle)):
            if size:
                slab = (*sizes[:axis], size, *sizes[axis + 1 :])
                at = sum(b * s for b, s in zip(low, strides, strict=True))
                place = Affine(slab, strides, at + first * strides[axis])
                nowhere = Affine(slab, (0,) * len(slab), filled.map.offset)
                found.append(Part(Value(filled.source, nowhere), place))
        low[axis], sizes[axis] = lead, middle
    return found


class _Box(NamedTuple):
    """What a view reads of a join: first and last index, and its steps, along every axis."""

    low: list[int]
    high: list[int]
    steps: list[tuple[int, int]]
    """For each axis of the view: the join's axis, and how far it gets along that."""
    start: list[int]


def _box(map_: Affine, join: JoinNode) -> _Box | None:
    shape, strides = join.whole.sizes, join.whole.strides
    axes = sorted(
        (axis for axis, size in enumerate(shape) if size > 1), key=lambda axis: -strides[axis]
    )
    start, rest = [0] * len(shape), map_.offset
    for axis in axes:
        start[axis], rest = divmod(rest, strides[axis])
    low, high, steps = list(start), list(start), list[tuple[int, int]]()
    for size, stride in zip(map_.sizes, map_.strides, strict=True):
        if size == 1 or stride == 0:
            steps.append((-1, 0))
            continue
        axis = next((each for each in axes if strides[each] <= abs(stride)), None)
        if axis is None or stride % strides[axis]:
            return None
        count = stride // strides[axis]
        low[axis] += min(0, count * (size - 1))
        high[axis] += max(0, count * (size - 1))
        steps.append((axis, count))
    outside = (a < 0 or b >= n for a, b, n in zip(low, high, shape, strict=True))
    return None if any(outside) else _Box(low, high, steps, start)


def _first(part: Part, join: JoinNode) -> list[int]:
    """Index in the join of a part's first element."""
    first, rest = [0] * len(join.whole.sizes), part.place.offset
    order = sorted(range(len(first)), key=lambda axis: -join.whole.strides[axis])
    for axis in order:
        if join.whole.sizes[axis] > 1:
            first[axis], rest = divmod(rest, join.whole.strides[axis])
    return first


def read_through(value: Value) -> Value:
    """The same value, as a view of the part of a join in which it lies, if it lies in one."""
    source = value.source
    while isinstance(source, Base) and isinstance(source.writer, JoinNode):
        found = _within(value.map, source.writer) if value.map.elements else None
        if found is None:
            break
        value = found
        source = value.source
    return value


def _within(map_: Affine, join: JoinNode) -> Value | None:
    box = _box(map_, join)
    if box is None:
        return None
    for part in join.parts:
        first = _first(part, join)
        inner = part.source.map
        if any(
            low < begin or high >= begin + size
            for low, high, begin, size in zip(box.low, box.high, first, inner.sizes, strict=True)
        ):
            continue
        strides = tuple(0 if axis < 0 else inner.strides[axis] * n for axis, n in box.steps)
        offset = inner.offset + sum(
            (at - begin) * stride
            for at, begin, stride in zip(box.start, first, inner.strides, strict=True)
        )
        return Value(part.source.source, Affine(map_.sizes, strides, offset))
    return None


def regions(
    inputs: Sequence[Value], shape: tuple[int, ...]
) -> tuple[int, list[tuple[int, int]]] | None:
    """An axis of a result, and stretches of it on which no operand goes over a border of a pad.

    None if no operand is a padded tensor, or if they are padded along different axes.
    """
    padded = [
        (each.map, each.source.writer)
        for each in inputs
        if isinstance(each.source, Base)
        and isinstance(each.source.writer, JoinNode)
        and each.source.writer.is_padded
    ]
    if not padded:
        return None
    for axis, size in enumerate(shape):
        cuts: set[int] | None = {0, size}
        for map_, join in padded:
            borders = _borders(map_, join, axis)
            cuts = None if borders is None or cuts is None else cuts | borders
        if cuts is not None and 2 < len(cuts) <= REGIONS_MAX + 1:
            ordered = sorted(cuts)
            return axis, list(pairwise(ordered))
    return None


def _borders(map_: Affine, join: JoinNode, axis: int) -> set[int] | None:
    """Where parts of a join begin along an axis of a view; None if they lie otherwise."""
    box = _box(map_, join)
    if box is None:
        return None
    own, step = box.steps[axis]
    if own < 0 or step != 1:
        return None
    borders: set[int] = set()
    for part in join.parts:
        first = _first(part, join)
        sizes = part.place.sizes
        for other, (begin, size) in enumerate(zip(first, sizes, strict=True)):
            if other != own and (begin or size != join.whole.sizes[other]):
                return None
        borders |= {first[own] - box.start[own], first[own] + sizes[own] - box.start[own]}
    return {each for each in borders if 0 < each < map_.sizes[axis]}


def stretch(value: Value, axis: int, begin: int, end: int) -> Value:
    """Indices from `begin` up to `end` of an axis, read through joins."""
    return read_through(Value(value.source, along(value.map, axis, begin, end - begin)))
