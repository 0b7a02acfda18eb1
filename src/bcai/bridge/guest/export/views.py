"""Views, copies and parts: the same elements in other places."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bcai.bridge.guest.export.site import Family, Operand, Site, axis_of, places
from bcai.bridge.guest.export.types import UnsupportedError, sizes_of
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array

rule = Family()
INT_MAX = 1 << 62


@rule(
    *("view", "_unsafe_view", "reshape", "view_copy", "flatten.using_ints", "unflatten.int"),
    *("squeeze", "squeeze.dim", "squeeze.dims", "unsqueeze", "squeeze_copy", "squeeze_copy.dim"),
    *("unsqueeze_copy", "_reshape_alias", "squeeze_copy.dims", "_reshape_copy"),
)
def _(at: Site, x: Symbol, *_: object) -> Symbol:
    return x.reshape(*at.out.shape)


@rule("alias", "alias_copy", "clone", "contiguous", "lift_fresh_copy", "lift_fresh", "positive")
def _(at: Site, x: Symbol, *_: object) -> Symbol:
    del at
    return x


@rule("detach")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("StopGradient", x) if x.dtype.is_float else x


@rule("_to_copy", "to.dtype", "to.dtype_layout", "to.other", "type_as", "_conj", "_to_dtype")
def _(at: Site, x: Symbol, *_: object) -> Symbol:
    return x.cast(at.out.dtype)


@rule(
    *("_assert_tensor_metadata", "_assert_scalar", "_assert_async.msg", "_assert_async"),
    *("sym_constrain_range", "sym_constrain_range_for_size", "_functional_assert_async.msg"),
)
def _(at: Site, *_: object) -> None:
    del at


@rule("expand", "expand_copy", "broadcast_to", "expand_as")
def _(at: Site, x: Symbol, *_: object) -> Symbol:
    return x.expand(*at.out.shape)


@rule("copy")
def _(at: Site, x: Symbol, source: Symbol) -> Symbol:
    return source.cast(x.dtype).expand(*at.out.shape)


@rule("permute", "permute_copy")
def _(at: Site, x: Symbol, dims: Sequence[int]) -> Symbol:
    del at
    return x.permute(*(axis_of(x, dim) for dim in dims))


@rule("transpose.int", "transpose_copy.int", "swapaxes", "swapdims")
def _(at: Site, x: Symbol, first: int, second: int) -> Symbol:
    del at
    return x.transpose(first, second) if x.shape else x


@rule("t", "t_copy", "numpy_T", "mT")
def _(at: Site, x: Symbol) -> Symbol:
    del at
    return x.transpose() if len(x.shape) > 1 else x


@rule("slice.Tensor", "slice_copy.Tensor")
def _(
    at: Site,
    x: Symbol,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Symbol:
    return cut(at, x, axis_of(x, dim), start, end, step)


def cut(
    at: Site, x: Symbol, axis: int, start: int | None, end: int | None, step: int = 1
) -> Symbol:
    """`x[start:end:step]` along an axis, with the bounds of Python's slices."""
    size = x.shape[axis]
    first, last, _ = slice(start, end, step).indices(size)
    if (first, last, step) == (0, size, 1):
        return x
    return at.emit("Slice", x, axis=axis, start=first, stop=max(first, last), step=step)


@rule("narrow_copy", "narrow")
def _(at: Site, x: Symbol, dim: int, start: int, length: int) -> Symbol:
    axis = axis_of(x, dim)
    first = start % x.shape[axis] if start < 0 else start
    return cut(at, x, axis, first, first + length)


@rule("select.int", "select_copy.int")
def _(at: Site, x: Symbol, dim: int, index: int) -> Symbol:
    axis = axis_of(x, dim)
    return at.emit("Select", x, axis=axis, index=index % x.shape[axis])


@rule("slice_scatter")
def _(
    at: Site,
    x: Symbol,
    source: Symbol,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Symbol:
    axis = axis_of(x, dim)
    first, last, _ = slice(start, end, step).indices(x.shape[axis])
    updates = source.cast(x.dtype)
    if step == 1 and first <= last:
        return insert(at, x, updates, axis, first, last)
    index = [slice(None)] * axis + [slice(start, end, step)]
    taken = places(x.shape)[tuple(index)]
    return at.put_flat(x, taken, updates.expand(*taken.shape))


def insert(at: Site, x: Symbol, updates: Symbol, axis: int, first: int, last: int) -> Symbol:
    """`x` with positions `first` to `last` of an axis replaced."""
    shape = (*x.shape[:axis], last - first, *x.shape[axis + 1 :])
    before = [] if first == 0 else [cut(at, x, axis, 0, first)]
    after = [] if last == x.shape[axis] else [cut(at, x, axis, last, None)]
    return at.concat([*before, updates.expand(*shape), *after], axis)


@rule("select_scatter")
def _(at: Site, x: Symbol, source: Symbol, dim: int, index: int) -> Symbol:
    axis = axis_of(x, dim)
    first = index % x.shape[axis]
    updates = source.cast(x.dtype).reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :])
    return insert(at, x, updates, axis, first, first + 1)


@rule("split.Tensor", "unsafe_split.Tensor", "unsafe_chunk", "chunk", "split_copy.Tensor")
def _(at: Site, x: Symbol, size: int, dim: int = 0) -> tuple[Symbol, ...]:
    del size
    return parts_of(at, x, axis_of(x, dim))


@rule("split_with_sizes", "unsafe_split_with_sizes", "split_with_sizes_copy", "split.sizes")
def _(at: Site, x: Symbol, sizes: Sequence[int], dim: int = 0) -> tuple[Symbol, ...]:
    del sizes
    return parts_of(at, x, axis_of(x, dim))


def parts_of(at: Site, x: Symbol, axis: int) -> tuple[Symbol, ...]:
    """Cut an axis into the parts that torch found."""
    sizes = tuple(sizes_of(each.shape)[axis] for each in at.node.meta["val"])
    return (x,) if len(sizes) == 1 else at.all("Split", x, axis=axis, sizes=sizes)


@rule("unbind.int", "unbind_copy.int")
def _(at: Site, x: Symbol, dim: int = 0) -> list[Symbol]:
    axis = axis_of(x, dim)
    return [at.emit("Select", x, axis=axis, index=index) for index in range(x.shape[axis])]


@rule("cat", "concat", "concatenate")
def _(at: Site, parts: Sequence[Symbol], dim: int = 0) -> Symbol:
    rank = len(at.out.shape)
    there = [each for each in at.same(*parts) if len(each.shape) == rank]  # torch skips empty [0]
    return at.concat(there, dim % rank)


@rule("stack")
def _(at: Site, parts: Sequence[Symbol], dim: int = 0) -> Symbol:
    shape = list(at.out.shape)
    axis = dim % len(shape)
    shape[axis] = 1
    return at.concat([each.reshape(*shape) for each in at.same(*parts)], axis)


@rule("flip", "fliplr", "flipud")
def _(at: Site, x: Symbol, dims: Sequence[int]) -> Symbol:
    return at.emit("Flip", x, axes=tuple(axis_of(x, dim) for dim in dims)) if x.shape else x


@rule("roll")
def _(at: Site, x: Symbol, shifts: Sequence[int], dims: Sequence[int] = ()) -> Symbol:
    if not dims:
        flat = x.reshape(x.type.elements)
        return at.emit("Roll", flat, axis=0, shift=shifts[0]).reshape(*x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        x = at.emit("Roll", x, axis=axis_of(x, dim), shift=shift)
    return x


@rule("repeat", "tile")
def _(at: Site, x: Symbol, repeats: Sequence[int]) -> Symbol:
    if 0 in at.out.shape:
        return at.full(at.out.shape, 0, x.dtype)
    shape = [1] * (len(at.out.shape) - len(x.shape)) + list(x.shape)
    times = [1] * (len(shape) - len(repeats)) + list(repeats)
    inner = [each for size in shape for each in (1, size)]
    outer = [each for time, size in zip(times, shape, strict=True) for each in (time, size)]
    return x.reshape(*inner).expand(*outer).reshape(*at.out.shape)


@rule("repeat_interleave.self_int")
def _(
    at: Site, x: Symbol, repeats: int, dim: int | None = None, *, output_size: object = None
) -> Symbol:
    del output_size
    flat = x.reshape(x.type.elements) if dim is None else x
    axis = 0 if dim is None else axis_of(x, dim)
    head, tail = flat.shape[: axis + 1], flat.shape[axis + 1 :]
    spread = flat.reshape(*head, 1, *tail).expand(*head, repeats, *tail)
    return spread.reshape(*at.out.shape)


@rule("diagonal", "diagonal_copy")
def _(at: Site, x: Symbol, offset: int = 0, first: int = 0, second: int = 1) -> Symbol:
    return at.take_flat(x, np.diagonal(places(x.shape), offset, first, second))


@rule("diagonal_scatter")
def _(
    at: Site, x: Symbol, source: Symbol, offset: int = 0, first: int = 0, second: int = 1
) -> Symbol:
    taken = np.diagonal(places(x.shape), offset, first, second)
    return at.put_flat(x, taken, source.cast(x.dtype))


@rule("unfold", "unfold_copy")
def _(at: Site, x: Symbol, dim: int, size: int, step: int) -> Symbol:
    if not x.shape:
        return x.reshape(*at.out.shape)
    axis = axis_of(x, dim)
    windows = np.lib.stride_tricks.sliding_window_view(places(x.shape), size, axis)
    return at.take_flat(x, windows[(slice(None),) * axis + (slice(None, None, step),)])


@rule("as_strided", "as_strided_copy")
def _(
    at: Site, x: Symbol, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Symbol:
    return at.take_flat(x, _strided(at, x, size, stride, offset))


@rule("as_strided_scatter")
def _(
    at: Site,
    x: Symbol,
    source: Symbol,
    size: Sequence[int],
    stride: Sequence[int],
    offset: int | None = None,
) -> Symbol:
    taken = _strided(at, x, size, stride, offset)
    if len(np.unique(taken)) != taken.size:
        raise UnsupportedError("writing to a view that overlaps itself")
    return at.put_flat(x, taken, source.cast(x.dtype))


def _strided(
    at: Site, x: Symbol, size: Sequence[int], stride: Sequence[int], offset: int | None
) -> Array:
    base: Any = at.node.args[0]
    value = base.meta["val"]
    if not value.is_contiguous() or value.storage_offset() or offset is None:
        if not value.is_contiguous() or value.storage_offset():
            raise UnsupportedError("a strided view of a tensor that is not contiguous")
        offset = 0
    taken = np.full(tuple(size), offset, np.int64)
    for axis, (count, step) in enumerate(zip(size, stride, strict=True)):
        shape = [1] * len(size)
        shape[axis] = count
        taken += (np.arange(count) * step).reshape(shape)
    if taken.size and taken.max() >= x.type.elements:
        raise UnsupportedError("a strided view beyond its tensor")
    return taken


@rule("constant_pad_nd")
def _(at: Site, x: Symbol, widths: Sequence[int], value: Operand = 0) -> Symbol:
    return pad(at, x, widths, "constant", value)


@rule("pad")
def _(
    at: Site,
    x: Symbol,
    widths: Sequence[int],
    mode: str = "constant",
    value: Operand | None = None,
) -> Symbol:
    return pad(at, x, widths, mode, 0 if value is None else value)


@rule("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def _(at: Site, x: Symbol, widths: Sequence[int]) -> Symbol:
    return pad(at, x, widths, "reflect", 0)


@rule("replication_pad1d", "replication_pad2d", "replication_pad3d")
def _(at: Site, x: Symbol, widths: Sequence[int]) -> Symbol:
    return pad(at, x, widths, "replicate", 0)


def pad(at: Site, x: Symbol, widths: Sequence[int], mode: str, value: Operand) -> Symbol:
    """Pad with torch's widths: pairs from the last axis on, negative ones cut."""
    rank = len(x.shape)
    before, after = [0] * rank, [0] * rank
    for index in range(len(widths) // 2):
        axis = rank - 1 - index
        first, last = widths[2 * index], widths[2 * index + 1]
        x = cut(at, x, axis, max(0, -first), x.shape[axis] - max(0, -last))
        before[axis], after[axis] = max(0, first), max(0, last)
    if not any(before) and not any(after):
        return x
    if isinstance(value, Symbol):
        raise UnsupportedError("padding with a value from a tensor")
    around = {"before": tuple(before), "after": tuple(after)}
    if mode == "constant":
        return at.emit("Pad", x, **around, value=float(value))
    return at.emit("PadMode", x, **around, mode=mode)
