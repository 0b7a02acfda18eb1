"""Running folds, sorting, and where the extremes are."""

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.ops.activation import where
from bcai.vm.isa.order import widen
from bcai.vm.isa.rules import check_axis, reduced
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import ANY, NUMBERS, Array, DType, TensorType


def _scan(x: TensorType, *, axis: int, exclusive: bool, reverse: bool) -> Types:
    del exclusive, reverse
    check_axis(x, axis)
    return x


_SCAN = types_of(
    _scan,
    accepts=(
        case("float32[4,3]", axis=0, exclusive=False, reverse=False),
        case("float32[2,5]", axis=-1, exclusive=True, reverse=False),
        case("float32[5]", axis=0, exclusive=False, reverse=True),
        case("float32[5]", axis=0, exclusive=True, reverse=True),
        case("float32[0,2]", axis=0, exclusive=True, reverse=False),
    ),
    rejects=(
        case("float32[4]", axis=1, exclusive=False, reverse=False),
        case("float32[]", axis=0, exclusive=False, reverse=False),
    ),
)


def _accumulate(
    x: Array, operation: np.ufunc, identity: int, axis: int, exclusive: bool, reverse: bool
) -> Array:
    wide = np.flip(widen(x), axis) if reverse else widen(x)
    if exclusive and x.shape[axis]:
        first = np.full_like(wide.take([0], axis), identity)
        wide = np.concatenate([first, wide.take(range(x.shape[axis] - 1), axis)], axis)
    total = operation.accumulate(wide, axis, dtype=wide.dtype)
    return (np.flip(total, axis) if reverse else total).astype(x.dtype)


@instruction(
    opcode=0x0220, dtypes=NUMBERS, types=_SCAN, name="CumSum", bound=Bound(ulp=1, terms_ulp=1)
)
def cumsum(x: Array, *, axis: int, exclusive: bool = False, reverse: bool = False) -> Array:
    """Running sum along an axis: one addition after the other, from the first element on.

    `exclusive` leaves the element itself out and begins with 0; `reverse` begins at the end.
    float16 and bfloat16 run in float32. Integers wrap. Source: ONNX CumSum-14.
    """
    return _accumulate(x, np.add, 0, axis, exclusive, reverse)


@cumsum.gradient
def _(call: Call) -> Gradients:
    turned = {**call.attributes, "reverse": not call.attributes["reverse"]}
    return (call.d.emit("CumSum", **turned),)


@instruction(
    opcode=0x0221, dtypes=NUMBERS, types=_SCAN, name="CumProd", bound=Bound(ulp=1, terms_ulp=1)
)
def cumprod(x: Array, *, axis: int, exclusive: bool = False, reverse: bool = False) -> Array:
    """Running product along an axis, as `CumSum` with products and 1."""
    return _accumulate(x, np.multiply, 1, axis, exclusive, reverse)


@cumprod.gradient
def _(call: Call) -> Gradients:
    # With zeros about, d/dx_j is the sum over i of d_i times the product of all x_k that run into
    # y_i but x_j: row j of a square holds x with 1 in place j, and is run along k.
    x, axis = call[0], int(call.attributes["axis"]) % len(call[0].shape)
    n, rank = x.shape[axis], len(x.shape)
    last = [*(each for each in range(rank) if each != axis), axis]
    rows, d = x.permute(*last), call.d.permute(*last)
    head = rows.shape[:-1]
    eye = np.eye(n, dtype=np.uint8)
    constant = {"data": eye.tobytes(), "shape": (n, n), "dtype": DType.bool}
    own = call.builder.emit("Const", (), constant)[0]
    square = where(own, 1.0, rows.reshape(*head, 1, n).expand(*head, n, n))
    reverse, exclusive = bool(call.attributes["reverse"]), bool(call.attributes["exclusive"])
    run = square.emit("CumProd", axis=-1, exclusive=exclusive, reverse=reverse)
    reach = np.tri(n, k=-1 if exclusive else 0, dtype=np.uint8)  # [i, j]: x_j runs into y_i
    reach = reach if reverse else np.ascontiguousarray(reach.T)
    constant = {"data": reach.tobytes(), "shape": (n, n), "dtype": DType.bool}
    counts = call.builder.emit("Const", (), constant)[0]
    parts = where(counts, run * d.reshape(*head, 1, n), 0.0)
    summed = parts.emit("Sum", axes=(-1,), keepdims=False)
    return (summed.permute(*(last.index(each) for each in range(rank))),)


def _arg(x: TensorType, *, axis: int, keepdims: bool) -> Types:
    result = reduced(x, (axis,), keepdims)
    if result.elements and not x.elements:
        raise VerifyError(f"{x} has no element along axis {axis}")
    return result.with_dtype(DType.int64)


_ARG = types_of(
    _arg,
    accepts=(
        case("float32[4,3]", axis=0, keepdims=False),
        case("float32[2,5]", axis=-1, keepdims=True),
        case("float32[0,2]", axis=1, keepdims=False),
    ),
    rejects=(
        case("float32[4]", axis=1, keepdims=False),
        case("float32[0]", axis=0, keepdims=False),
    ),
)


@instruction(opcode=0x0222, dtypes=ANY, types=_ARG, differentiable=False)
def arg_max(x: Array, *, axis: int, keepdims: bool = False) -> Array:
    """Place of the largest element along an axis; the first of equals, and not-a-number wins."""
    return _place(np.argmax, x, axis, keepdims)


@instruction(opcode=0x0223, dtypes=ANY, types=_ARG, differentiable=False)
def arg_min(x: Array, *, axis: int, keepdims: bool = False) -> Array:
    """Place of the smallest element along an axis; the first of equals, and not-a-number wins."""
    return _place(np.argmin, x, axis, keepdims)


def _place(find: object, x: Array, axis: int, keepdims: bool) -> Array:
    assert callable(find)
    wide = widen(x)
    found = np.asarray(
        find(wide, axis, keepdims=keepdims) if x.size else wide.sum(axis, keepdims=keepdims)
    )
    return found.astype(np.int64)


def _sort(x: TensorType, *, axis: int, descending: bool) -> Types:
    del descending
    check_axis(x, axis)
    return x, x.with_dtype(DType.int64)


@instruction(
    opcode=0x0224,
    dtypes=ANY,
    types=types_of(
        _sort,
        accepts=(
            case("float32[4,3]", axis=0, descending=False),
            case("float32[2,5]", axis=-1, descending=True),
            case("float32[0]", axis=0, descending=False),
        ),
        rejects=(case("float32[4]", axis=1, descending=False),),
    ),
)
def sort(x: Array, *, axis: int = -1, descending: bool = False) -> tuple[Array, Array]:
    """Elements in order along an axis, and the places they came from (int64).

    Equal elements keep their order, -0 and +0 are equal, and not-a-number is above all.
    Source: `torch.sort` with `stable=True`.
    """
    wide = widen(x)
    turned = np.flip(wide, axis) if descending else wide
    places = np.argsort(turned, axis, kind="stable")
    if descending:
        places = x.shape[axis] - 1 - np.flip(places, axis)
    return np.take_along_axis(x, places, axis), places.astype(np.int64)


@sort.gradient
def _(call: Call) -> Gradients:
    return (_to_places(call),)


def _to_places(call: Call) -> Symbol:
    """The gradient of each value where the value came from."""
    axis = call.attributes["axis"]
    zeros = call[0].full_like(0.0)
    return zeros.emit("ScatterElements", call.results[1], call.d, axis=axis)


def _topk(x: TensorType, *, k: int, axis: int, largest: bool) -> Types:
    del largest
    plain = check_axis(x, axis)
    if not 0 <= k <= x.shape[plain]:
        raise VerifyError(f"k is {k}, expected 0 to {x.shape[plain]}")
    kept = x.with_shape(*x.shape[:plain], k, *x.shape[plain + 1 :])
    return kept, kept.with_dtype(DType.int64)


@instruction(
    opcode=0x0225,
    dtypes=ANY,
    name="TopK",
    types=types_of(
        _topk,
        accepts=(
            case("float32[4,3]", k=2, axis=0, largest=True),
            case("float32[2,5]", k=5, axis=-1, largest=False),
            case("float32[3]", k=0, axis=0, largest=True),
        ),
        rejects=(
            case("float32[4]", k=5, axis=0, largest=True),
            case("float32[4]", k=1, axis=1, largest=True),
        ),
    ),
)
def topk(x: Array, *, k: int, axis: int = -1, largest: bool = True) -> tuple[Array, Array]:
    """The first k of `Sort`, descending if `largest`: values and places. Source: ONNX TopK-24."""
    values, places = sort.body(x, axis=axis, descending=largest)
    return np.take(values, range(k), axis), np.take(places, range(k), axis)


@topk.lowering
def _(call: Call) -> tuple[Symbol, ...]:
    axis, at = call.attributes["axis"], call.attributes
    ordered = {"axis": axis, "descending": at["largest"]}
    return tuple(
        each.emit("Slice", axis=axis, start=0, stop=at["k"], step=1)
        for each in call.builder.emit("Sort", (call[0],), ordered)
    )


@topk.gradient
def _(call: Call) -> Gradients:
    return (_to_places(call),)


OPS = (cumsum, cumprod, arg_max, arg_min, sort, topk)
