"""From a task of the plan to its canonical form: axes dropped, ordered and merged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bcai.vm.backends.native.launch import Address
from bcai.vm.backends.native.loops.form import Access, Form, FormNode, Read, Store
from bcai.vm.backends.native.loops.tiles import is_transposed
from bcai.vm.compiler.plan import Apply, Fold, Load, LoopTask, Place, View

TILE_MIN = 4
"""Size of an axis from which it is worth transposing."""


@dataclass(slots=True)
class _Walk:
    """Strides of one view or place along the axes that are left."""

    strides: list[int]
    weight: float
    """Bytes that are moved; 0 for a place."""


@dataclass(slots=True)
class _Axes:
    """Sizes of axes, and how everything walks along them."""

    sizes: list[int]
    walks: list[_Walk]
    kept: int

    def drop(self, axis: int) -> None:
        del self.sizes[axis]
        for walk in self.walks:
            del walk.strides[axis]
        self.kept -= axis < self.kept

    def order(self, axes: Sequence[int]) -> None:
        self.sizes = [self.sizes[each] for each in axes]
        for walk in self.walks:
            walk.strides = [walk.strides[each] for each in axes]

    def merge(self) -> None:
        """Merge neighbours on the same side of the kept ones' end."""
        for axis in reversed(range(len(self.sizes) - 1)):
            if axis + 1 == self.kept:
                continue
            size = self.sizes[axis + 1]
            if all(each.strides[axis] == each.strides[axis + 1] * size for each in self.walks):
                self.sizes[axis + 1] *= self.sizes[axis]
                self.drop(axis)

    def traffic(self, axis: int) -> float:
        """Bytes that are moved by those for which the axis is contiguous."""
        return _traffic(self.walks, axis)


@dataclass(slots=True)
class _Collected:
    """Views of a task, each once."""

    views: list[View] = field(default_factory=list[View])

    def slot(self, view: View) -> int:
        if view not in self.views:
            self.views.append(view)
        return self.views.index(view)


def canonical(task: LoopTask) -> tuple[Form, tuple[Address, ...]]:
    """The form of a task, and the addresses of its arguments."""
    nodes, stores = _without_repeats(task)
    collected = _Collected()
    slots = [collected.slot(each.view) for each in nodes if isinstance(each, Load)]
    slots += [collected.slot(view) for _, view in stores]
    places = [each.strides for each in nodes if isinstance(each, Place)]
    folds = any(isinstance(each, Fold) for each in nodes)
    axes = _Axes(
        list(task.shape),
        [_walk_of(each, task.shape) for each in collected.views]
        + [_Walk(list(each), 0.0) for each in places],
        task.kept if folds else len(task.shape),
    )
    for axis in reversed(range(len(axes.sizes))):
        if axes.sizes[axis] == 1:
            axes.drop(axis)
    axes.merge()
    written = [collected.slot(view) for _, view in stores]
    columns = folds and _arrange_folds(axes)
    tiles = not folds and _arrange(axes, written)
    walks = [tuple(each.strides) for each in axes.walks]
    row = axes.sizes[axes.kept :]
    moved = iter(walks[len(collected.views) :])

    def access(view: View) -> Access:
        slot = collected.slot(view)
        return Access(slot, view.type.dtype, walks[slot])

    def convert(node: FormNode | Load) -> FormNode:
        if isinstance(node, Load):
            return Read(access(node.view))
        return replace(node, strides=next(moved)) if isinstance(node, Place) else node

    kept_stores = (
        Store(node, access(view), folds and (view.type.shape != task.shape or row == [1]))
        for node, view in stores
    )
    empty = 0 in row
    form = Form(
        tuple(axes.sizes[: axes.kept]),
        tuple(row),
        tuple(convert(each) for each in nodes),
        tuple(each for each in kept_stores if each.once_a_row or not empty),
        columns,
        tiles,
    )
    addresses = tuple(
        Address(each.buffer, each.offset * each.type.dtype.itemsize) for each in collected.views
    )
    return form, addresses


def _without_repeats(
    task: LoopTask,
) -> tuple[list[FormNode | Load], list[tuple[int, View]]]:
    """Nodes of which none is the same as another, and none unused; stores by their new numbers."""
    needed = {node for node, _ in task.stores}
    for number in reversed(range(len(task.nodes))):
        node = task.nodes[number]
        if number in needed and isinstance(node, Apply):
            needed.update(node.operands)
        elif number in needed and isinstance(node, Fold):
            needed.add(node.operand)
    renamed: dict[int, int] = {}
    seen: dict[object, int] = {}
    nodes: list[FormNode | Load] = []
    for number, node in enumerate(task.nodes):
        if number not in needed:
            continue
        if isinstance(node, Apply):
            node = replace(node, operands=tuple(renamed[each] for each in node.operands))
        elif isinstance(node, Fold):
            node = replace(node, operand=renamed[node.operand])
        key = node if isinstance(node, (Load, Place, Fold)) else number
        if key not in seen:
            seen[key] = len(nodes)
            nodes.append(node)
        renamed[number] = seen[key]
    return nodes, [(renamed[node], view) for node, view in task.stores]


def _walk_of(view: View, shape: tuple[int, ...]) -> _Walk:
    sizes = view.type.shape
    strides = [0 if size == 1 else each for each, size in zip(view.strides, sizes, strict=True)]
    moved = math.prod(size for size, stride in zip(shape, strides, strict=True) if stride)
    return _Walk(strides, float(moved * view.type.dtype.itemsize))


def _arrange_folds(axes: _Axes) -> bool:
    """Put the kept axis last that vectors should run along; whether they should."""
    if axes.kept == len(axes.sizes):
        axes.sizes.append(1)
        for walk in axes.walks:
            walk.strides.append(0)
    kept = range(axes.kept)
    best = max(kept, key=axes.traffic, default=None)
    if best is None or axes.traffic(best) <= axes.traffic(len(axes.sizes) - 1):
        return False
    rest = [each for each in kept if each != best]
    axes.order([*rest, best, *range(axes.kept, len(axes.sizes))])
    axes.merge()
    return True


def _arrange(axes: _Axes, written: Sequence[int]) -> bool:
    """Put the axis last along which the stores, then most, are contiguous.

    The others come as the first store has them. If operands are contiguous along one of those it
    comes before the last, and the loop is done in tiles: whether it is.
    """
    count = len(axes.sizes)
    if count and written:
        stored = [axes.walks[slot] for slot in written]
        inner = max(
            range(count),
            key=lambda each: (_traffic(stored, each), axes.traffic(each), each),
        )
        first = axes.walks[written[0]].strides
        rest = [each for each in range(count) if each != inner]
        axes.order([*sorted(rest, key=lambda each: -abs(first[each])), inner])
        axes.kept = count
        axes.merge()
    if not axes.sizes:
        axes.sizes.append(1)
        for walk in axes.walks:
            walk.strides.append(0)
    axes.kept = len(axes.sizes) - 1
    return _arrange_tiles(axes, written)


def _arrange_tiles(axes: _Axes, written: Sequence[int]) -> bool:
    """Put the axis second to last along which operands are contiguous, if not along the row."""
    read = [each for slot, each in enumerate(axes.walks) if slot not in written and each.weight]

    def gain(axis: int) -> float:
        return sum(each.weight for each in read if is_transposed(each.strides, axis))

    last = axes.kept
    long = [each for each in range(last) if min(axes.sizes[each], axes.sizes[last]) >= TILE_MIN]
    best = max(long, key=gain, default=None)
    if best is None or not gain(best):
        return False
    axes.order([*(each for each in range(last) if each != best), best, last])
    return True


def _traffic(walks: Sequence[_Walk], axis: int) -> float:
    """Bytes that are moved by those for which the axis is contiguous."""
    return sum(each.weight for each in walks if abs(each.strides[axis]) == 1)
