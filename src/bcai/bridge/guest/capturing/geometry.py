"""Views of a storage as instructions: which elements a shape, its strides and an offset name."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from bcai.bridge.guest.export.types import UnsupportedError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType

INDICES_MAX = 1 << 22
"""Elements of a view that is gathered one by one: its indices are part of the program."""


class Geometry(NamedTuple):
    """How a tensor lies in its storage, in elements of its type."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: torch.dtype

    @property
    def is_whole(self) -> bool:
        """Whether the elements lie one after the other, from the first on."""
        return self.offset == 0 and self.strides == contiguous(self.shape)

    @property
    def order(self) -> tuple[int, ...] | None:
        """Axes from the outermost to the innermost; None if the elements do not fill one stretch.

        A transposed tensor, or one with its channels last, is row-major in this order.
        """
        axes = sorted(range(len(self.shape)), key=lambda axis: (-self.strides[axis], axis))
        step = 1
        for axis in reversed(axes):
            if self.shape[axis] != 1:  # else its stride says nothing
                if self.strides[axis] != step:
                    return None
                step *= self.shape[axis]
        return tuple(axes)

    def row_major(self, order: Sequence[int]) -> "Geometry":
        """The same stretch with its axes in the order in which they lie."""
        shape = tuple([self.shape[axis] for axis in order])
        return Geometry(shape, contiguous(shape), self.offset, self.dtype)

    def flat(self, count: int) -> "Geometry":
        """So many elements in a row."""
        return Geometry((count,), (1,), 0, self.dtype)

    @property
    def elements(self) -> int:
        """How many elements it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def geometry_of(tensor: torch.Tensor) -> Geometry:
    """How a tensor lies in its storage."""
    return Geometry(
        tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), tensor.dtype
    )


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a row-major tensor."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def view_of(flat: Symbol, count: int, at: Geometry) -> Symbol:
    """The elements that a view names, of `count` elements in a row. Raises UnsupportedError."""
    if at.elements == 0:
        return flat.emit("Slice", axis=0, start=0, stop=0).reshape(*at.shape)
    found = _cut(flat, count, at)
    return _gather(flat, at) if found is None else found


def put_view(flat: Symbol, count: int, at: Geometry, updates: Symbol) -> Symbol:
    """`flat` with the elements of a view replaced. Raises UnsupportedError."""
    if at.elements == 0:
        return flat
    length = at.elements
    order = at.order
    if order is not None:
        row = row_major(updates, order).reshape(length)
        end = at.offset + length
        before = [] if at.offset == 0 else [_slice(flat, 0, at.offset)]
        after = [] if end == count else [_slice(flat, end, count)]
        parts = [*before, row, *after]
        return row if len(parts) == 1 else flat.builder.emit("Concat", parts, {"axis": 0})[0]
    places = _constant(flat, _places(at).reshape(-1))
    return flat.emit("ScatterElements", places, updates.reshape(length), axis=0)


def row_major(x: Symbol, order: Sequence[int]) -> Symbol:
    """A value as it lies in memory where its axes have this order."""
    return x if list(order) == sorted(order) else x.permute(*order)


def _cut(flat: Symbol, count: int, at: Geometry) -> Symbol | None:
    """A view by slices, reshapes and a permutation; None where that is not enough."""
    axes = [
        axis for axis, size in enumerate(at.shape) if size != 1 and at.strides[axis] != 0
    ]  # the others are repeated, or of one element
    order = sorted(axes, key=lambda axis: (-at.strides[axis], axis))
    x, room, rest = flat, count, at.offset
    cut: list[int] = []
    for axis in order:
        stride, size = at.strides[axis], at.shape[axis]
        first, rest = divmod(rest, stride)
        rows = room // stride
        if first + size > rows or (cut and room % stride):
            return None
        head = x.shape[:-1]
        if rows * stride != room:  # only of the outermost
            x = _slice(x, 0, rows * stride)
        x = x.reshape(*head, rows, stride)
        if (first, size) != (0, rows):
            x = x.emit("Slice", axis=len(head), start=first, stop=first + size, step=1)
        room = stride
        cut.append(axis)
    x = x.emit("Select", axis=len(x.shape) - 1, index=rest)
    places = [cut.index(axis) for axis in axes]
    if places != list(range(len(places))):
        x = x.permute(*places)
    kept = tuple(at.shape[axis] if axis in axes else 1 for axis in range(len(at.shape)))
    return x.reshape(*kept).expand(*at.shape)


def _gather(flat: Symbol, at: Geometry) -> Symbol:
    return flat.emit("Gather", _constant(flat, _places(at)), axis=0)


def _places(at: Geometry) -> Array:
    if at.elements > INDICES_MAX:
        raise UnsupportedError(f"a view of {at.elements} elements that no slice says")
    places = np.full(at.shape, at.offset, np.int64)
    for axis, (size, stride) in enumerate(zip(at.shape, at.strides, strict=True)):
        shape = [1] * len(at.shape)
        shape[axis] = size
        places += (np.arange(size, dtype=np.int64) * stride).reshape(shape)
    return places


def _slice(x: Symbol, start: int, stop: int) -> Symbol:
    return x.emit("Slice", axis=0, start=start, stop=stop, step=1)


def _constant(like: Symbol, array: Array) -> Symbol:
    attributes = {
        "data": np.ascontiguousarray(array).tobytes(),
        "shape": tuple(array.shape),
        "dtype": DType.int64,
    }
    return like.builder.emit("Const", (), attributes)[0]
