"""Reading and writing by index."""

from collections.abc import Sequence
from typing import Any

from bcai.bridge.guest.export.site import Family, Operand, Site, axis_of
from bcai.bridge.guest.export.types import Scalar, UnsupportedError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()
_SUM, _MEAN = 0, 1
"""Modes of a bag, as torch numbers them."""


@rule("embedding")
def _(
    at: Site,
    weight: Symbol,
    indices: Symbol,
    padding: int = -1,
    scale: bool = False,
    sparse: bool = False,
) -> Symbol:
    del scale, sparse
    rows = at.emit("Embedding", weight, indices)
    if padding < 0:
        return rows
    # The padding's row is read but never learns.
    is_padding = indices.equal(padding).reshape(*indices.shape, 1)
    return at.where(is_padding, at.emit("StopGradient", rows), rows)


@rule("_embedding_bag", "_embedding_bag_forward_only")
def _(
    at: Site,
    weight: Symbol,
    indices: Symbol,
    offsets: Symbol,
    scale: bool = False,
    mode: int = 0,
    sparse: bool = False,
    shares: Symbol | None = None,
    last: bool = False,
    padding: int = -1,
) -> list[Symbol | None]:
    """Bags of one size: what torch makes of a table of indices, by counted offsets."""
    del offsets, scale, sparse
    bags, size = at.out.shape[0], indices.type.elements // max(at.out.shape[0], 1)
    if last or any(at.reads(index) for index in (1, 2, 3)) or not _is_counted(at, size):
        raise UnsupportedError("bags of several sizes (their offsets are data)")
    if padding >= 0 or mode not in (_SUM, _MEAN) or not size:
        raise UnsupportedError("a bag with padding, of its largest, or of nothing")
    rows = at.emit("Embedding", weight, indices.reshape(bags, size))
    if shares is not None:
        rows = rows * shares.reshape(bags, size, 1)
    name = "Sum" if mode == _SUM else "Mean"
    return [at.emit(name, rows, axes=(1,), keepdims=False), None, None, None]


def _is_counted(at: Site, size: int) -> bool:
    """Whether a bag's offsets are 0, size, 2 * size, ... for sure."""
    source: Any = at.node.args[2]
    is_range = str(source.target) == "aten.arange.start_step"
    return is_range and (source.args[0], source.args[2]) == (0, size)


@rule("index_select", "index_select_copy")
def _(at: Site, x: Symbol, dim: int, indices: Symbol) -> Symbol:
    if not x.shape:
        return x.reshape(1).emit("Gather", indices, axis=0).reshape(*at.out.shape)
    return at.emit("Gather", x, indices.reshape(indices.type.elements), axis=axis_of(x, dim))


@rule("gather")
def _(at: Site, x: Symbol, dim: int, indices: Symbol, *, sparse_grad: bool = False) -> Symbol:
    del sparse_grad
    if not x.shape or not indices.shape:
        x1, i1 = _at_least_1d(x), _at_least_1d(indices)
        return at.emit("GatherElements", x1, i1, axis=0).reshape(*at.out.shape)
    return at.emit("GatherElements", x, indices, axis=axis_of(x, dim))


def _at_least_1d(x: Symbol) -> Symbol:
    return x if x.shape else x.reshape(1)


@rule("scatter.src", "scatter.value")
def _(at: Site, x: Symbol, dim: int, indices: Symbol, source: Operand) -> Symbol:
    return _scatter(at, "ScatterElements", x, dim, indices, source)


@rule("scatter_add")
def _(at: Site, x: Symbol, dim: int, indices: Symbol, source: Operand) -> Symbol:
    return _scatter(at, "ScatterAdd", x, dim, indices, source)


@rule("scatter.reduce", "scatter.value_reduce")
def _(at: Site, x: Symbol, dim: int, indices: Symbol, source: Operand, *, reduce: str) -> Symbol:
    if reduce != "add":
        raise UnsupportedError(f"scatter with reduce={reduce!r}")
    return _scatter(at, "ScatterAdd", x, dim, indices, source)


@rule("scatter_reduce.two")
def _(
    at: Site,
    x: Symbol,
    dim: int,
    indices: Symbol,
    source: Symbol,
    reduce: str,
    *,
    include_self: bool = True,
) -> Symbol:
    if reduce not in ("sum", "mean"):
        raise UnsupportedError(f"scatter with reduce={reduce!r}")
    base = x
    if not include_self:
        base = _scatter(at, "ScatterElements", x, dim, indices, 0)
    total = _scatter(at, "ScatterAdd", base, dim, indices, source)
    if reduce == "sum":
        return total
    if not x.dtype.is_float:
        raise UnsupportedError("an integer mean")
    ones = x.full_like(1.0) if include_self else x.full_like(0.0)
    count = _scatter(at, "ScatterAdd", ones, dim, indices, 1)
    return total / at.emit("Max", count, 1.0)


def _scatter(at: Site, name: str, x: Symbol, dim: int, indices: Symbol, source: Operand) -> Symbol:
    """Write or add along a dim; of a larger source only what the indices cover."""
    flat, places = _at_least_1d(x), _at_least_1d(indices)
    if not places.type.elements:
        return x
    if isinstance(source, Symbol):
        updates = _at_least_1d(source.cast(x.dtype))
        for axis, size in enumerate(places.shape):
            if updates.shape[axis] != size:
                updates = at.emit("Slice", updates, axis=axis, start=0, stop=size)
    else:
        updates = at.full(places.shape, source, x.dtype)
    return at.emit(name, flat, places, updates, axis=axis_of(flat, dim)).reshape(*x.shape)


@rule("index_add")
def _(
    at: Site, x: Symbol, dim: int, indices: Symbol, source: Symbol, *, alpha: Scalar = 1
) -> Symbol:
    updates = source.cast(x.dtype)
    updates = updates if alpha == 1 else updates * at.cast(alpha, x.dtype)
    return _along(at, "ScatterAdd", x, dim, indices, updates)


@rule("index_copy")
def _(at: Site, x: Symbol, dim: int, indices: Symbol, source: Symbol) -> Symbol:
    return _along(at, "ScatterElements", x, dim, indices, source.cast(x.dtype))


@rule("index_fill.int_Scalar", "index_fill.int_Tensor")
def _(at: Site, x: Symbol, dim: int, indices: Symbol, value: Operand) -> Symbol:
    return _along(at, "ScatterElements", x, dim, indices, at.cast(value, x.dtype))


def _along(at: Site, name: str, x: Symbol, dim: int, indices: Symbol, updates: Symbol) -> Symbol:
    """Write or add whole slices of an axis, by one index each."""
    flat, axis = _at_least_1d(x), axis_of(x, dim)
    count = indices.type.elements
    if not count:
        return x
    shape = (*flat.shape[:axis], count, *flat.shape[axis + 1 :])
    column = indices.reshape(*(count if each == axis else 1 for each in range(len(shape))))
    filled = updates.reshape(*shape) if updates.type.elements == _size(shape) else updates
    return at.emit(name, flat, column.expand(*shape), filled.expand(*shape), axis=axis).reshape(
        *x.shape
    )


def _size(shape: Sequence[int]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size


@rule("index.Tensor", "_unsafe_index.Tensor")
def _(at: Site, x: Symbol, indices: Sequence[Symbol | None]) -> Symbol:
    order, picked, at_front = _plan(x, indices)
    result = at.emit("Index", x.permute(*order), *picked)
    if at_front:
        return result
    first = next(axis for axis, each in enumerate(indices) if each is not None)
    count = len(result.shape) - (len(x.shape) - len(picked))
    rank = len(result.shape)
    back = [*range(count, count + first), *range(count), *range(count + first, rank)]
    return result.permute(*back)


@rule("index_put", "_unsafe_index_put")
def _(
    at: Site,
    x: Symbol,
    indices: Sequence[Symbol | None],
    values: Symbol,
    accumulate: bool = False,
) -> Symbol:
    masks = [each for each in indices if each is not None]
    if len(masks) == 1 and masks[0].dtype is DType.bool:
        return _put_where(at, x, indices, values.cast(x.dtype), accumulate)
    order, picked, at_front = _plan(x, indices)
    moved, updates = x.permute(*order), values.cast(x.dtype)
    if not at_front and len(picked) < len(x.shape):
        updates = _to_front(x, indices, picked, updates)
    rank = _picked_rank(picked) + len(x.shape) - len(picked)
    if len(updates.shape) > rank:
        updates = updates.reshape(*updates.shape[-rank:]) if rank else updates.reshape()
    stay = x.dtype is DType.bool
    target = moved.cast(DType.uint8) if stay else moved
    updates = updates.cast(DType.uint8) if stay else updates
    put = at.emit("IndexPut", target, updates, *picked, accumulate=accumulate)
    return put.permute(*(order.index(axis) for axis in range(len(order)))).cast(x.dtype)


def _picked_rank(picked: Sequence[Symbol]) -> int:
    return max(len(each.shape) for each in picked)


def _to_front(
    x: Symbol, indices: Sequence[Symbol | None], picked: Sequence[Symbol], values: Symbol
) -> Symbol:
    """Values come with the picked axes in their place; `IndexPut` wants them at the front."""
    count = _picked_rank(picked)
    rank = count + len(x.shape) - len(picked)
    wide = values.reshape(*(1,) * (rank - len(values.shape)), *values.shape)
    first = next(axis for axis, each in enumerate(indices) if each is not None)
    front = range(first, first + count)
    return wide.permute(*front, *range(first), *range(first + count, rank))


def _put_where(
    at: Site, x: Symbol, indices: Sequence[Symbol | None], value: Symbol, accumulate: bool
) -> Symbol:
    """Write one value wherever a mask over some axes is true."""
    if value.type.elements != 1:
        raise UnsupportedError("writing many values through a mask (their count depends on data)")
    skipped = next(axis for axis, each in enumerate(indices) if each is not None)
    mask = indices[skipped]
    assert mask is not None
    tail = len(x.shape) - skipped - len(mask.shape)
    wide = mask.reshape(*(1,) * skipped, *mask.shape, *(1,) * tail)
    plain = value.reshape()
    return at.where(wide, x + plain if accumulate else plain, x)


def _plan(x: Symbol, indices: Sequence[Symbol | None]) -> tuple[list[int], list[Symbol], bool]:
    """Order of axes that brings the indexed ones to the front, the indices, and whether the result
    keeps them there (as torch does where they are not side by side).
    """
    axes = [axis for axis, each in enumerate(indices) if each is not None]
    picked = [each for each in indices if each is not None]
    if any(each.dtype in (DType.bool, DType.uint8) for each in picked):
        raise UnsupportedError("reading through a mask (the result's shape depends on data)")
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    side_by_side = axes == list(range(axes[0], axes[0] + len(axes)))
    wide = [
        each if each.dtype in (DType.int32, DType.int64) else each.cast(DType.int64)
        for each in picked
    ]
    return [*axes, *rest], wide, not side_by_side or axes[0] == 0


@rule("take")
def _(at: Site, x: Symbol, indices: Symbol) -> Symbol:
    return at.emit("Gather", x.reshape(x.type.elements), indices, axis=0)


@rule("put")
def _(at: Site, x: Symbol, indices: Symbol, source: Symbol, accumulate: bool = False) -> Symbol:
    count = indices.type.elements
    if not count:
        return x
    flat, places = x.reshape(x.type.elements), indices.reshape(count)
    updates = source.cast(x.dtype).reshape(count)
    name = "ScatterAdd" if accumulate else "ScatterElements"
    return at.emit(name, flat, places, updates, axis=0).reshape(*x.shape)


@rule("_unsafe_masked_index")
def _(at: Site, x: Symbol, mask: Symbol, indices: Sequence[Symbol | None], fill: Scalar) -> Symbol:
    order, picked, at_front = _plan(x, indices)
    if not at_front:
        raise UnsupportedError("a masked index that does not begin at the first axis")
    safe = [_within(at, each, x.shape[order[axis]]) for axis, each in enumerate(picked)]
    return at.where(mask, at.emit("Index", x.permute(*order), *safe), fill)


@rule("_unsafe_masked_index_put_accumulate")
def _(
    at: Site, x: Symbol, mask: Symbol, indices: Sequence[Symbol | None], values: Symbol
) -> Symbol:
    order, picked, at_front = _plan(x, indices)
    if not at_front:
        raise UnsupportedError("a masked index that does not begin at the first axis")
    safe = [_within(at, each, x.shape[order[axis]]) for axis, each in enumerate(picked)]
    updates = at.where(mask, values.cast(x.dtype), 0)
    put = at.emit("IndexPut", x.permute(*order), updates, *safe, accumulate=True)
    return put.permute(*(order.index(axis) for axis in range(len(order))))


def _within(at: Site, indices: Symbol, size: int) -> Symbol:
    return at.emit("Clamp", indices, min=float(-size), max=float(size - 1))
