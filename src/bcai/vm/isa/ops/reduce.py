"""Reductions over axes, in the order of Note [Order of a sum]."""

import math

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.ops.activation import where
from bcai.vm.isa.order import fold_last, sum_last
from bcai.vm.isa.rules import REDUCE, check_axes, reduced
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import ANY, FLOATS, NUMBERS, Array, TensorType
from bcai.vm.isa.widened import widened, widened_gradient


def flatten_axes(x: Array, axes: tuple[int, ...]) -> Array:
    """Move the reduced axes to the end, ascending, as one axis in row-major order."""
    plain = sorted(axis % x.ndim for axis in axes) if x.ndim else []
    kept = [axis for axis in range(x.ndim) if axis not in plain]
    moved = x.transpose(*kept, *plain)
    return moved.reshape(*(x.shape[axis] for axis in kept), math.prod(x.shape[a] for a in plain))


def keep(result: Array, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Put reduced axes back as size 1 if they are kept."""
    plain = {axis % x.ndim for axis in axes} if x.ndim else set[int]()
    if not keepdims:
        return result
    return result.reshape(tuple(1 if axis in plain else n for axis, n in enumerate(x.shape)))


def unreduce(d: Symbol, x: Symbol, axes: tuple[int, ...]) -> Symbol:
    """Spread a reduction's gradient over the reduced axes."""
    plain = {axis % len(x.shape) for axis in axes}
    shape = (1 if axis in plain else n for axis, n in enumerate(x.shape))
    return d.reshape(*shape).expand(*x.shape)


@instruction(
    opcode=0x0200, dtypes=NUMBERS, types=REDUCE, name="Sum", bound=Bound(ulp=1, terms_ulp=1)
)
def sum_(x: Array, *, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """Sum over `axes`, flattened ascending in row-major order. Of nothing: +0. Integers wrap."""
    return keep(sum_last(flatten_axes(x, axes)), x, axes, keepdims)


@sum_.gradient
def _(call: Call) -> Gradients:
    return (unreduce(call.d, call[0], call.attributes["axes"]),)


def count_of(x: Symbol, axes: tuple[int, ...]) -> int:
    """How many elements a reduction over `axes` folds into one."""
    return math.prod(x.shape[axis] for axis in axes)


@instruction(opcode=0x0201, dtypes=FLOATS, types=REDUCE, bound=Bound(ulp=2, terms_ulp=1))
def mean(x: Array, *, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """`Sum` divided by the number of elements, rounded to the dtype. Of nothing: not-a-number."""
    return np.asarray(x.sum(axes, keepdims=keepdims) / math.prod(x.shape[a] for a in axes))


@mean.lowering
@widened
def _(call: Call) -> Symbol:
    total = call[0].emit("Sum", **call.attributes)
    return total / float(count_of(call[0], call.attributes["axes"]))


def _extreme(x: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> Types:
    result = reduced(x, axes, keepdims)
    if result.elements and not x.elements:
        raise VerifyError(f"{x} has no element along axes {axes}")
    return result


_EXTREME = types_of(
    _extreme,
    accepts=(
        case("float32[2,3]", axes=(0,), keepdims=False),
        case("float32[2,3,4]", axes=(0, -1), keepdims=True),
        case("float32[]", axes=(), keepdims=False),
        case("float32[0,3]", axes=(1,), keepdims=False),
    ),
    rejects=(
        case("float32[2,0]", axes=(1,), keepdims=False),
        case("float32[2,3]", axes=(2,), keepdims=False),
    ),
)


@instruction(opcode=0x0202, dtypes=ANY, types=_EXTREME)
def reduce_max(x: Array, *, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """Largest element over `axes`; not-a-number wins, and +0 is above -0."""
    rows = flatten_axes(x, axes)
    largest = rows.max(-1) if rows.size else rows[..., :0].sum(-1, dtype=x.dtype)
    if x.dtype.kind not in "biu":
        has_zero = ((rows == 0) & ~np.signbit(rows)).any(-1)
        largest = np.where((largest == 0) & has_zero, np.zeros((), x.dtype), largest)
    return keep(largest, x, axes, keepdims)


@instruction(opcode=0x0203, dtypes=ANY, types=_EXTREME)
def reduce_min(x: Array, *, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """Smallest element over `axes`; not-a-number wins, and -0 is below +0."""
    rows = flatten_axes(x, axes)
    smallest = rows.min(-1) if rows.size else rows[..., :0].sum(-1, dtype=x.dtype)
    if x.dtype.kind not in "biu":
        has_zero = ((rows == 0) & np.signbit(rows)).any(-1)
        smallest = np.where((smallest == 0) & has_zero, -np.zeros((), x.dtype), smallest)
    return keep(smallest, x, axes, keepdims)


def _extreme_gradient(call: Call) -> Gradients:
    """The gradient goes to the elements that are the extreme, in equal shares."""
    x, axes = call[0], call.attributes["axes"]
    hit = x.equal(unreduce(call.result, x, axes))
    share = unreduce(call.d / hit.cast(x.dtype).emit("Sum", **call.attributes), x, axes)
    return (where(hit, share, 0.0),)


reduce_max.gradient(_extreme_gradient)
reduce_min.gradient(_extreme_gradient)


@instruction(opcode=0x0204, dtypes=NUMBERS, types=REDUCE, bound=Bound(ulp=1, terms_ulp=1))
def prod(x: Array, *, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """Product over `axes`, in the order of `Sum` with 1 for what is absent. Integers wrap."""
    return keep(fold_last(flatten_axes(x, axes), np.multiply, 1), x, axes, keepdims)


@prod.gradient
def _(call: Call) -> Gradients:
    x, axes = call[0], sorted(axis % len(call[0].shape) for axis in call.attributes["axes"])
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    moved = x.permute(*kept, *axes)
    flat = moved.reshape(*(x.shape[axis] for axis in kept), count_of(x, tuple(axes)))
    before = flat.emit("CumProd", axis=-1, exclusive=True, reverse=False)
    after = flat.emit("CumProd", axis=-1, exclusive=True, reverse=True)
    others = (before * after).reshape(*moved.shape)
    order = [*kept, *axes]
    back = others.permute(*(order.index(axis) for axis in range(len(order))))
    return (unreduce(call.d, x, tuple(axes)) * back,)


def _variance(x: TensorType, *, axes: tuple[int, ...], keepdims: bool, correction: int) -> Types:
    check_axes(x, axes)
    if correction < 0:
        raise VerifyError(f"correction is {correction}, expected 0 or more")
    return reduced(x, axes, keepdims)


@instruction(
    opcode=0x0205,
    dtypes=FLOATS,
    bound=Bound(ulp=8, terms_ulp=4),
    types=types_of(
        _variance,
        accepts=(
            case("float32[4,3]", axes=(0,), keepdims=False, correction=1),
            case("float32[2,3,4]", axes=(0, 2), keepdims=True, correction=0),
        ),
        rejects=(case("float32[4]", axes=(0,), keepdims=False, correction=-1),),
    ),
)
def variance(
    x: Array, *, axes: tuple[int, ...], keepdims: bool = False, correction: int = 0
) -> Array:
    """Mean squared distance from the mean, in two passes; divided by `n - correction`."""
    n = math.prod(x.shape[axis] for axis in axes)
    return np.asarray(x.var(axes, keepdims=keepdims) * n / max(0, n - correction))


@variance.lowering
@widened
def _(call: Call) -> Symbol:
    x, axes = call[0], call.attributes["axes"]
    centred = x - x.emit("Mean", axes=axes, keepdims=True)
    total = (centred * centred).emit("Sum", axes=axes, keepdims=call.attributes["keepdims"])
    return total / float(max(0, count_of(x, axes) - int(call.attributes["correction"])))


def _norm(x: TensorType, *, axes: tuple[int, ...], keepdims: bool, order: float) -> Types:
    if math.isnan(order):
        raise VerifyError("order is not a number")
    return (
        _extreme(x, axes=axes, keepdims=keepdims)
        if math.isinf(order)
        else reduced(x, axes, keepdims)
    )


@instruction(
    opcode=0x0206,
    dtypes=FLOATS,
    bound=Bound(ulp=16, terms_ulp=4),
    types=types_of(
        _norm,
        accepts=tuple(
            case("float32[4,3]", axes=(0,), keepdims=False, order=each)
            for each in (2.0, 1.0, math.inf, 3.0)
        ),
        rejects=(case("float32[4]", axes=(0,), keepdims=False, order=math.nan),),
    ),
)
def norm(x: Array, *, axes: tuple[int, ...], keepdims: bool = False, order: float = 2.0) -> Array:
    """`Sum(|x|^order)^(1/order)`; order infinity is the largest magnitude, 0 counts non-zeros."""
    magnitude = np.abs(x)
    if order == math.inf:
        return np.asarray(magnitude.max(axes, keepdims=keepdims))
    if order == -math.inf:
        return np.asarray(magnitude.min(axes, keepdims=keepdims))
    if order == 0:
        return np.asarray((x != 0).sum(axes, keepdims=keepdims))
    return np.asarray((magnitude**order).sum(axes, keepdims=keepdims) ** (1 / order))


@norm.lowering
@widened
def _(call: Call) -> Symbol:
    x, order = call[0], float(call.attributes["order"])
    fold = {"axes": call.attributes["axes"], "keepdims": call.attributes["keepdims"]}
    if math.isinf(order):
        return abs(x).emit("ReduceMax" if order > 0 else "ReduceMin", **fold)
    if order == 0:
        return x.emit("NotEqual", 0.0).cast(x.dtype).emit("Sum", **fold)
    if order == 1:
        return abs(x).emit("Sum", **fold)
    if order == 2:
        return (x * x).emit("Sum", **fold).emit("Sqrt")
    return (abs(x) ** order).emit("Sum", **fold) ** (1 / order)


@norm.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    x, axes, order = call[0], call.attributes["axes"], float(call.attributes["order"])
    d, y = unreduce(call.d, x, axes), unreduce(call.result, x, axes)
    if math.isinf(order):
        hit = abs(x).equal(y)
        share = d / unreduce(hit.cast(x.dtype).emit("Sum", axes=axes, keepdims=False), x, axes)
        return (where(hit, share * x.emit("Sign"), 0.0),)
    if order == 0:
        return (None,)
    if order == 1:
        return (d * x.emit("Sign"),)
    slope = x / y if order == 2 else x.emit("Sign") * (abs(x) / y) ** (order - 1)
    return (where(y.equal(0.0), 0.0, d * slope),)


@instruction(
    opcode=0x0207, dtypes=FLOATS, types=_EXTREME, name="LogSumExp", bound=Bound(ulp=8, terms_ulp=4)
)
def log_sum_exp(x: Array, *, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """`Log(Sum(Exp(x - max))) + max`; an infinite maximum is not subtracted."""
    if not x.size:
        return x.sum(axes, keepdims=keepdims)
    largest = x.max(axes, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0)
    total = np.log(np.exp(x - largest).sum(axes, keepdims=True)) + largest
    return np.asarray(total if keepdims else np.squeeze(total, axes))


@log_sum_exp.lowering
@widened
def _(call: Call) -> Symbol:
    x, axes = call[0], call.attributes["axes"]
    if not x.type.elements:
        return x.emit("Sum", **call.attributes)
    largest = x.emit("ReduceMax", axes=axes, keepdims=True)
    largest = where(abs(largest).equal(math.inf), 0.0, largest)
    total = (x - largest).emit("Exp").emit("Sum", axes=axes, keepdims=True).emit("Log") + largest
    return total if call.attributes["keepdims"] else total.emit("Squeeze", axes=axes)


@log_sum_exp.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    x, axes = call[0], call.attributes["axes"]
    share = (x - unreduce(call.result, x, axes)).emit("Exp")
    return (unreduce(call.d, x, axes) * share,)


OPS = (
    sum_,
    mean,
    reduce_max,
    reduce_min,
    prod,
    variance,
    norm,
    log_sum_exp,
)
