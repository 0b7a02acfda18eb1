"""Reductions, scans, sorting, and where the extremes are."""

import math
from collections.abc import Sequence

import numpy as np

from bcai.bridge.guest.export.site import Family, Operand, Rule, Site, axis_of
from bcai.bridge.guest.export.types import Scalar, UnsupportedError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()
Dims = Sequence[int] | int | None


def axes_of(x: Symbol, dims: Dims) -> tuple[int, ...]:
    """Reduced axes; None and empty stand for all."""
    if dims is None or (isinstance(dims, Sequence) and not dims):
        return tuple(range(len(x.shape)))
    wanted = [dims] if isinstance(dims, int) else dims
    return tuple(sorted(axis_of(x, dim) for dim in wanted)) if x.shape else ()


def fold(at: Site, name: str, x: Symbol, dims: Dims, keepdim: bool = False) -> Symbol:
    """Emit a reduction over dims."""
    return at.emit(name, x, axes=axes_of(x, dims), keepdims=keepdim)


@rule("sum", "sum.dim_IntList")
def _(at: Site, x: Symbol, dims: Dims = None, keepdim: bool = False) -> Symbol:
    return fold(at, "Sum", x.cast(at.out.dtype), dims, keepdim)


@rule("mean", "mean.dim")
def _(at: Site, x: Symbol, dims: Dims = None, keepdim: bool = False) -> Symbol:
    return fold(at, "Mean", x.cast(at.out.dtype), dims, keepdim)


@rule("nansum")
def _(at: Site, x: Symbol, dims: Dims = None, keepdim: bool = False) -> Symbol:
    if x.dtype.is_float:
        x = at.where(at.emit("IsNan", x), 0.0, x)
    return fold(at, "Sum", x.cast(at.out.dtype), dims, keepdim)


@rule("prod", "prod.dim_int")
def _(at: Site, x: Symbol, dims: Dims = None, keepdim: bool = False) -> Symbol:
    return fold(at, "Prod", x.cast(at.out.dtype), dims, keepdim)


@rule("amax")
def _(at: Site, x: Symbol, dims: Dims = (), keepdim: bool = False) -> Symbol:
    return fold(at, "ReduceMax", x, dims, keepdim)


@rule("amin")
def _(at: Site, x: Symbol, dims: Dims = (), keepdim: bool = False) -> Symbol:
    return fold(at, "ReduceMin", x, dims, keepdim)


@rule("aminmax")
def _(at: Site, x: Symbol, *, dim: int | None = None, keepdim: bool = False) -> list[Symbol]:
    return [fold(at, name, x, dim, keepdim) for name in ("ReduceMin", "ReduceMax")]


@rule("max")
def _(at: Site, x: Symbol) -> Symbol:
    return fold(at, "ReduceMax", x, None)


@rule("min")
def _(at: Site, x: Symbol) -> Symbol:
    return fold(at, "ReduceMin", x, None)


@rule("max.dim")
def _(at: Site, x: Symbol, dim: int, keepdim: bool = False) -> list[Symbol]:
    return _extreme(at, x, dim, keepdim, "ArgMax")


@rule("min.dim")
def _(at: Site, x: Symbol, dim: int, keepdim: bool = False) -> list[Symbol]:
    return _extreme(at, x, dim, keepdim, "ArgMin")


def _extreme(at: Site, x: Symbol, dim: int, keepdim: bool, name: str) -> list[Symbol]:
    if not x.shape:
        return [x, at.full((), 0, DType.int64)]
    axis = axis_of(x, dim)
    places = at.emit(name, x, axis=axis, keepdims=True)
    return drop(at.emit("GatherElements", x, places, axis=axis), places, axis, keepdim)


def drop(values: Symbol, places: Symbol, axis: int, keepdim: bool) -> list[Symbol]:
    """Values and places without their axis of size 1, unless it is kept."""
    if keepdim:
        return [values, places]
    shape = (*values.shape[:axis], *values.shape[axis + 1 :])
    return [values.reshape(*shape), places.reshape(*shape)]


def _arg(name: str) -> Rule:
    def write(at: Site, x: Symbol, dim: int | None = None, keepdim: bool = False) -> Symbol:
        if not x.shape:
            return at.full((), 0, DType.int64)
        if dim is None:
            flat = x.reshape(x.type.elements)
            return at.emit(name, flat, axis=0, keepdims=False).reshape(*at.out.shape)
        return at.emit(name, x, axis=axis_of(x, dim), keepdims=keepdim)

    return write


rule("argmax")(_arg("ArgMax"))
rule("argmin")(_arg("ArgMin"))


@rule("any", "any.dim", "any.dims", "_is_any_true")
def _(at: Site, x: Symbol, dims: Dims = None, keepdim: bool = False) -> Symbol:
    return _truth(at, x, dims, keepdim, "ReduceMax", False)


@rule("all", "all.dim", "all.dims", "_is_all_true")
def _(at: Site, x: Symbol, dims: Dims = None, keepdim: bool = False) -> Symbol:
    return _truth(at, x, dims, keepdim, "ReduceMin", True)


def _truth(at: Site, x: Symbol, dims: Dims, keepdim: bool, name: str, of_none: bool) -> Symbol:
    if isinstance(dims, Sequence) and not dims and "dims" in str(at.node.target):
        return x.cast(DType.bool)
    if not x.type.elements:
        return at.full(at.out.shape, of_none, DType.bool).cast(at.out.dtype)
    return fold(at, name, x.cast(DType.bool), dims, keepdim).cast(at.out.dtype)


@rule("count_nonzero", "count_nonzero.dim_IntList")
def _(at: Site, x: Symbol, dims: Dims = None) -> Symbol:
    return fold(at, "Sum", x.cast(DType.bool).cast(DType.int64), dims)


@rule("logsumexp", "special_logsumexp")
def _(at: Site, x: Symbol, dims: Dims, keepdim: bool = False) -> Symbol:
    return fold(at, "LogSumExp", x.cast(at.out.dtype), dims, keepdim)


def variance(
    at: Site, x: Symbol, dims: Dims, correction: Scalar | None, keepdim: bool = False
) -> Symbol:
    """Variance; `correction` is 1 unless given."""
    plain = 1 if correction is None else correction
    if plain != int(plain):
        raise UnsupportedError(f"a correction of {plain}")
    axes = axes_of(x, dims)
    return at.emit("Variance", x, axes=axes, keepdims=keepdim, correction=int(plain))


@rule("var.correction")
def _(
    at: Site,
    x: Symbol,
    dims: Dims = None,
    *,
    correction: Scalar | None = None,
    keepdim: bool = False,
) -> Symbol:
    return variance(at, x, dims, correction, keepdim)


@rule("std.correction")
def _(
    at: Site,
    x: Symbol,
    dims: Dims = None,
    *,
    correction: Scalar | None = None,
    keepdim: bool = False,
) -> Symbol:
    return at.emit("Sqrt", variance(at, x, dims, correction, keepdim))


@rule("var_mean.correction")
def _(
    at: Site,
    x: Symbol,
    dims: Dims = None,
    *,
    correction: Scalar | None = None,
    keepdim: bool = False,
) -> list[Symbol]:
    return [variance(at, x, dims, correction, keepdim), fold(at, "Mean", x, dims, keepdim)]


@rule("std_mean.correction")
def _(
    at: Site,
    x: Symbol,
    dims: Dims = None,
    *,
    correction: Scalar | None = None,
    keepdim: bool = False,
) -> list[Symbol]:
    deviation = at.emit("Sqrt", variance(at, x, dims, correction, keepdim))
    return [deviation, fold(at, "Mean", x, dims, keepdim)]


@rule("linalg_vector_norm")
def _(
    at: Site,
    x: Symbol,
    order: Scalar = 2,
    dims: Dims = None,
    keepdim: bool = False,
) -> Symbol:
    return norm(at, x.cast(at.out.dtype), order, dims, keepdim)


@rule("norm.ScalarOpt_dim", "norm.Scalar", "norm.ScalarOpt_dim_dtype", "norm.ScalarOpt_dtype")
def _(
    at: Site,
    x: Symbol,
    order: Scalar | None = 2,
    dims: Dims = None,
    keepdim: bool = False,
) -> Symbol:
    return norm(at, x.cast(at.out.dtype), 2 if order is None else order, dims, keepdim)


def norm(at: Site, x: Symbol, order: Scalar, dims: Dims, keepdim: bool = False) -> Symbol:
    """Vector norm over dims."""
    axes = axes_of(x, dims)
    return at.emit("Norm", x, axes=axes, keepdims=keepdim, order=float(order))


@rule("dist")
def _(at: Site, a: Symbol, b: Symbol, order: Scalar = 2) -> Symbol:
    a, b = at.same(a, b)
    return norm(at, a - b, order, None)


@rule("_cdist_forward")
def _(at: Site, a: Symbol, b: Symbol, order: Scalar, mode: int | None) -> Symbol:
    """Distances of every row of one to every row of the other."""
    del mode  # how torch computes it
    gaps = a.emit("Unsqueeze", axes=(-2,)) - b.emit("Unsqueeze", axes=(-3,))
    return norm(at, gaps, order, -1)


@rule("_pdist_forward")
def _(at: Site, x: Symbol, order: Scalar = 2) -> Symbol:
    """Distances of every row to those after it."""
    pairs = np.triu_indices(x.shape[0], 1)
    first, second = (at.emit("Gather", x, at.constant(each), axis=0) for each in pairs)
    return norm(at, first - second, order, -1)


@rule("cumsum")
def _(at: Site, x: Symbol, dim: int) -> Symbol:
    return _scan(at, "CumSum", x, dim)


@rule("cumprod")
def _(at: Site, x: Symbol, dim: int) -> Symbol:
    return _scan(at, "CumProd", x, dim)


def _scan(at: Site, name: str, x: Symbol, dim: int) -> Symbol:
    x = x.cast(at.out.dtype)
    return at.emit(name, x, axis=axis_of(x, dim)) if x.shape else x


@rule("logcumsumexp")
def _(at: Site, x: Symbol, dim: int) -> Symbol:
    if not x.shape or not x.type.elements:
        return x
    row, axis = _running(at, x, dim, -math.inf)
    return at.emit("LogSumExp", row, axes=(axis,), keepdims=False)


@rule("cummax")
def _(at: Site, x: Symbol, dim: int) -> list[Symbol]:
    return _running_extreme(at, x, dim, "ArgMax", -math.inf)


@rule("cummin")
def _(at: Site, x: Symbol, dim: int) -> list[Symbol]:
    return _running_extreme(at, x, dim, "ArgMin", math.inf)


def _running_extreme(at: Site, x: Symbol, dim: int, name: str, rest: float) -> list[Symbol]:
    if not x.shape or not x.type.elements:
        return [x, at.full(x.shape, 0, DType.int64)]
    row, axis = _running(at, x, dim, rest)
    size = row.shape[axis]
    # The last of equals wins: look at each row from its end.
    turned = at.emit("Flip", row, axes=(axis,))
    places = at.emit(name, turned, axis=axis, keepdims=False) * -1 + (size - 1)
    return [at.emit("GatherElements", x, places, axis=axis - 1), places]


def _running(at: Site, x: Symbol, dim: int, rest: float) -> tuple[Symbol, int]:
    """All beginnings of an axis: `[..., i, j, ...]` is x_j for j <= i, else `rest`; j's axis."""
    axis = axis_of(x, dim)
    size, tail = x.shape[axis], x.shape[axis + 1 :]
    shape = (*x.shape[: axis + 1], size, *tail)
    rows = x.reshape(*x.shape[:axis], 1, size, *tail).expand(*shape)
    begun = at.constant(np.tri(size, dtype=np.bool_)).reshape(size, size, *(1 for _ in tail))
    return at.where(begun, rows, rest), axis + 1


@rule("sort", "sort.stable")
def _(
    at: Site,
    x: Symbol,
    dim: int = -1,
    descending: bool = False,
    *,
    stable: bool | None = None,
) -> list[Symbol]:
    del stable
    return ordered(at, x, dim, descending)


@rule("argsort", "argsort.stable")
def _(
    at: Site, x: Symbol, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Symbol:
    del stable
    return ordered(at, x, dim, descending)[1]


def ordered(at: Site, x: Symbol, dim: int, descending: bool) -> list[Symbol]:
    """Values in order and the places they came from."""
    if not x.shape:
        return [x, at.full((), 0, DType.int64)]
    return list(at.all("Sort", x, axis=axis_of(x, dim), descending=descending))


@rule("topk")
def _(
    at: Site, x: Symbol, k: int, dim: int = -1, largest: bool = True, ordered: bool = True
) -> list[Symbol]:
    del ordered
    if not x.shape:
        return [x, at.full((), 0, DType.int64)]
    return list(at.all("TopK", x, k=k, axis=axis_of(x, dim), largest=largest))


@rule("kthvalue")
def _(at: Site, x: Symbol, k: int, dim: int = -1, keepdim: bool = False) -> list[Symbol]:
    return _at_rank(at, x, dim, keepdim, k - 1)


@rule("median.dim", "nanmedian.dim")
def _(at: Site, x: Symbol, dim: int, keepdim: bool = False) -> list[Symbol]:
    size = x.shape[axis_of(x, dim)] if x.shape else 1
    if "nanmedian" in str(at.node.target):
        return _nan_median(at, x, dim, keepdim)
    values, places = _at_rank(at, x, dim, keepdim, (size - 1) // 2)
    if not x.dtype.is_float or not x.shape:
        return [values, places]
    # Not-a-number wins: ArgMax finds the first.
    axis = axis_of(x, dim)
    worst = at.emit("ArgMax", x, axis=axis, keepdims=True)
    spoilt = at.emit("IsNan", at.emit("GatherElements", x, worst, axis=axis))
    nan, nan_place = drop(at.emit("GatherElements", x, worst, axis=axis), worst, axis, keepdim)
    spoilt = spoilt.reshape(*values.shape)
    return [at.where(spoilt, nan, values), at.where(spoilt, nan_place, places)]


@rule("median", "nanmedian")
def _(at: Site, x: Symbol) -> Symbol:
    flat = x.reshape(x.type.elements)
    if not x.type.elements:
        return at.full((), math.nan, x.dtype)
    if "nanmedian" in str(at.node.target):
        return _nan_median(at, flat, 0, False)[0]
    middle = _at_rank(at, flat, 0, False, (x.type.elements - 1) // 2)[0]
    if not x.dtype.is_float:
        return middle
    spoilt = fold(at, "ReduceMax", at.emit("IsNan", flat), None)
    return at.where(spoilt, math.nan, middle)


def _at_rank(at: Site, x: Symbol, dim: int, keepdim: bool, rank: int) -> list[Symbol]:
    if not x.shape:
        return [x, at.full((), 0, DType.int64)]
    axis = axis_of(x, dim)
    both = at.all("Sort", x, axis=axis, descending=False)
    kept = [at.emit("Slice", each, axis=axis, start=rank, stop=rank + 1) for each in both]
    return drop(kept[0], kept[1], axis, keepdim)


def _nan_median(at: Site, x: Symbol, dim: int, keepdim: bool) -> list[Symbol]:
    """Middle of what is a number; not-a-numbers are sorted behind."""
    if not x.shape or not x.dtype.is_float:
        return _at_rank(at, x, dim, keepdim, 0 if not x.shape else (x.shape[dim] - 1) // 2)
    axis = axis_of(x, dim)
    values, places = at.all("Sort", x, axis=axis, descending=False)
    there = x.equal(x).cast(DType.int64)
    count = at.emit("Sum", there, axes=(axis,), keepdims=True)
    rank = at.emit("Max", (count - 1) / 2, 0)
    kept = [at.emit("GatherElements", each, rank, axis=axis) for each in (values, places)]
    return drop(kept[0], kept[1], axis, keepdim)


@rule("renorm")
def _(at: Site, x: Symbol, order: Scalar, dim: int, limit: Scalar) -> Symbol:
    kept = axis_of(x, dim)
    axes = tuple(axis for axis in range(len(x.shape)) if axis != kept)
    size = at.emit("Norm", x, axes=axes, keepdims=True, order=float(order))
    return at.where(size > float(limit), x * (float(limit) / (size + 1e-7)), x)


@rule("bucketize.Tensor", "searchsorted.Tensor", "searchsorted.Scalar", "bucketize.Scalar")
def _(
    at: Site,
    first: Operand,
    second: Operand,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: object = None,
) -> Symbol:
    del out_int32
    if sorter is not None:
        raise UnsupportedError("a sorter")
    is_bucketize = "bucketize" in str(at.node.target)
    edges, x = at.promoted(second, first) if is_bucketize else at.promoted(first, second)
    from_right = side == "right" if side is not None else right
    column = x.reshape(*x.shape, 1)
    rows = edges if len(edges.shape) == 1 else edges.reshape(*edges.shape[:-1], 1, edges.shape[-1])
    below = rows <= column if from_right else rows < column
    if x.dtype.is_float:  # not-a-number is above all
        below = below | at.emit("IsNan", column).expand(*below.shape)
    counted = at.emit("Sum", below.cast(DType.int64), axes=(-1,), keepdims=False)
    return counted.cast(at.out.dtype)
