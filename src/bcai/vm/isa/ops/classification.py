"""Losses of classification: `CrossEntropy` of logits and `Nll` of log-probabilities.

The class axis is axis 1 (axis 0 of a vector). A target is an integer class per position, or (for
`CrossEntropy`) a probability for every class. Positions whose class is `ignore_index` count for
nothing; a weighted mean divides by the sum of the weights that counted.
"""

import math
from dataclasses import dataclass

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.ops.activation import where
from bcai.vm.isa.ops.index import check_index_type
from bcai.vm.isa.ops.loss import SUMMED, Reduction, reduced_type
from bcai.vm.isa.rules import same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, TensorType
from bcai.vm.isa.widened import widened, widened_gradient


def _nll(
    logp: TensorType,
    target: TensorType,
    weight: TensorType | None = None,
    *,
    reduction: str,
    ignore_index: int,
) -> Types:
    del ignore_index
    axis = min(1, logp.rank - 1)
    if logp.rank < 1 or logp.shape[axis] < 1:
        raise VerifyError(f"{logp}: expected a class axis of at least one class")
    positions = logp.with_shape(*logp.shape[:axis], *logp.shape[axis + 1 :])
    check_index_type(target)
    if target.shape != positions.shape:
        raise VerifyError(f"target is {target}, expected the shape {positions.shape}")
    if weight is not None and weight != logp.with_shape(logp.shape[axis]):
        raise VerifyError(f"weight is {weight}, expected {logp.with_shape(logp.shape[axis])}")
    return reduced_type(positions, reduction)


def _cross_entropy(
    logits: TensorType,
    target: TensorType,
    weight: TensorType | None = None,
    *,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
) -> Types:
    if not 0.0 <= label_smoothing <= 1.0:
        raise VerifyError(f"label_smoothing is {label_smoothing}, expected 0 to 1")
    if not target.dtype.is_float:
        return _nll(logits, target, weight, reduction=reduction, ignore_index=ignore_index)
    same_dtype(logits, target)
    axis = min(1, logits.rank - 1)
    if target != logits or logits.rank < 1 or logits.shape[axis] < 1:
        raise VerifyError(f"target is {target}, expected probabilities {logits} or classes")
    if weight is not None and weight != logits.with_shape(logits.shape[axis]):
        raise VerifyError(f"weight is {weight}, expected {logits.with_shape(logits.shape[axis])}")
    positions = logits.with_shape(*logits.shape[:axis], *logits.shape[axis + 1 :])
    return reduced_type(positions, reduction)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What loss and gradient share, with the class axis kept as size 1 where it is summed."""

    axis: int
    classes: int
    weights: Symbol | None
    """`T[classes, 1, ...]`, broadcasting along the class axis."""
    target: Symbol
    """Classes with the axis put in, ignored ones replaced by 0; or probabilities."""
    counted: Symbol | None
    """Weight of each position, 0 where it is ignored; None for probabilities."""


def _parts(call: Call) -> _Parts:
    x, target, weight = call[0], call[1], call.get(2)
    axis = min(1, len(x.shape) - 1)
    classes = x.shape[axis]
    weights = None
    if weight is not None:
        weights = weight.reshape(classes, *(1 for _ in x.shape[axis + 1 :]))
    if target.dtype.is_float:
        return _Parts(axis, classes, weights, target, None)
    column = target.reshape(*x.shape[:axis], 1, *x.shape[axis + 1 :])
    valid = column.emit("NotEqual", column.full_like(float(call.attributes["ignore_index"])))
    safe = where(valid, column, column.full_like(0.0))
    counted = valid.cast(x.dtype)
    if weight is not None:
        counted = counted * weight.emit("Gather", safe, axis=0)
    return _Parts(axis, classes, weights, safe, counted)


def _reduce(call: Call, loss: Symbol, parts: _Parts) -> Symbol:
    """Reduce a loss that still has the class axis, as size 1."""
    reduction = call.attributes["reduction"]
    if reduction == "none":
        shape = loss.shape
        return loss.reshape(*shape[: parts.axis], *shape[parts.axis + 1 :])
    total = loss.sum()
    return total if reduction == "sum" else total / _denominator(parts, loss)


def _denominator(parts: _Parts, loss: Symbol) -> Symbol:
    if parts.counted is None:
        return loss.scalar(float(max(1, loss.type.elements)))
    return parts.counted.sum()


def _log_sum_exp(x: Symbol, axis: int) -> Symbol:
    """`Log(Sum(Exp(x - max))) + max`, the class axis kept."""
    if not x.type.elements:
        return x.sum(axis, keepdims=True)
    largest = x.emit("ReduceMax", axes=(axis,), keepdims=True)
    return (x - largest).emit("Exp").sum(axis, keepdims=True).emit("Log") + largest


@instruction(
    opcode=0x0810,
    dtypes=FLOATS,
    bound=SUMMED,
    types=types_of(
        _nll,
        accepts=(
            case("float32[4,3]", "int64[4]", reduction="mean", ignore_index=-100),
            case("float32[4,3,2]", "int64[4,2]", "float32[3]", reduction="sum", ignore_index=1),
            case("float32[4,3]", "int64[4]", "float32[3]", reduction="none", ignore_index=-100),
        ),
        rejects=(
            case("float32[4,3]", "int64[3]", reduction="mean", ignore_index=-100),
            case("float32[4,3]", "float32[4]", reduction="mean", ignore_index=-100),
            case("float32[4,3]", "int64[4]", "float32[4]", reduction="mean", ignore_index=-100),
        ),
    ),
)
def nll(
    logp: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
) -> Array:
    """Negative log-likelihood of the target class.

    Source: `torch.nn.NLLLoss`, ONNX NegativeLogLikelihoodLoss-22.
    """
    return _nll_array(logp, target, weight, reduction, ignore_index)


def _nll_array(
    logp: Array, target: Array, weight: Array | None, reduction: str, ignore_index: int
) -> Array:
    axis = min(1, logp.ndim - 1)
    valid = target != ignore_index
    safe = np.where(valid, target, 0)
    picked = np.take_along_axis(logp, np.expand_dims(safe, axis), axis).squeeze(axis)
    counted = valid * (1.0 if weight is None else weight[safe])
    loss = -picked * counted
    if reduction == "none":
        return loss
    return np.asarray(loss.sum() / (counted.sum() if reduction == "mean" else 1))


@nll.lowering
@widened
def _(call: Call) -> Symbol:
    parts = _parts(call)
    assert parts.counted is not None  # the type rule takes classes only
    picked = call[0].emit("GatherElements", parts.target, axis=parts.axis)
    return _reduce(call, -(picked * parts.counted), parts)


@instruction(
    opcode=0x0811,
    dtypes=FLOATS,
    bound=SUMMED,
    types=types_of(
        _cross_entropy,
        accepts=(
            case(
                "float32[4,3]", "int64[4]", reduction="mean", ignore_index=-100, label_smoothing=0.0
            ),
            case(
                "float32[4,3,2]", "int64[4,2]", "float32[3]",
                reduction="mean", ignore_index=1, label_smoothing=0.1,
            ),
            case(
                "float32[4,3]", "float32[4,3]", "float32[3]",
                reduction="sum", ignore_index=-100, label_smoothing=0.2,
            ),
            case(
                "float32[3]", "int64[]", reduction="none", ignore_index=-100, label_smoothing=0.0
            ),
        ),
        rejects=(
            case(
                "float32[4,3]", "int64[3]", reduction="mean", ignore_index=-100, label_smoothing=0.0
            ),
            case(
                "float32[4,3]", "float32[4]", reduction="mean", ignore_index=-1, label_smoothing=0.0
            ),
            case(
                "float32[4,3]", "int64[4]", reduction="mean", ignore_index=-1, label_smoothing=1.5
            ),
        ),
    ),
)  # fmt: skip
def cross_entropy(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """Cross-entropy of logits: `(Log(Sum(Exp(x - max))) + max) - x[target]`.

    With label smoothing e the target becomes `(1 - e) * target + e / classes`.
    Source: `torch.nn.CrossEntropyLoss`, ONNX SoftmaxCrossEntropyLoss-13, arXiv:1512.00567.
    """
    axis = min(1, logits.ndim - 1)
    shifted = logits - logits.max(axis, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
    e, classes = label_smoothing, logits.shape[axis]
    shape = (classes, *(1,) * (logits.ndim - axis - 1))
    weights = np.ones(shape) if weight is None else weight.reshape(shape)
    if target.dtype.kind == "f":
        loss = -((target * (1 - e) + e / classes) * weights * logp).sum(axis)
        return _mean_or_sum(loss, reduction, float(loss.size))
    plain = _nll_array(logp, target, weight, "none", ignore_index)
    valid = target != ignore_index
    spread = -(weights * logp).sum(axis) * valid
    counted = valid * (1.0 if weight is None else weight[np.where(valid, target, 0)])
    return _mean_or_sum((1 - e) * plain + e / classes * spread, reduction, float(counted.sum()))


def _mean_or_sum(loss: Array, reduction: str, denominator: float) -> Array:
    if reduction == "none":
        return loss
    return np.asarray(loss.sum() / (denominator if reduction == "mean" else 1))


@cross_entropy.lowering
@widened
def _(call: Call) -> Symbol:
    x, smoothing = call[0], float(call.attributes["label_smoothing"])
    parts = _parts(call)
    total = _log_sum_exp(x, parts.axis)
    if parts.counted is None:
        loss = ((total - x) * _mixed(parts, smoothing)).sum(parts.axis, keepdims=True)
        return _reduce(call, loss, parts)
    loss = (total - x.emit("GatherElements", parts.target, axis=parts.axis)) * parts.counted
    if smoothing:
        spread = total - x if parts.weights is None else (total - x) * parts.weights
        spread = spread.sum(parts.axis, keepdims=True) * _valid(call, parts)
        loss = loss * (1.0 - smoothing) + spread * (smoothing / parts.classes)
    return _reduce(call, loss, parts)


def _mixed(parts: _Parts, smoothing: float) -> Symbol:
    """Smoothed probabilities, weighted."""
    target = _smoothed(parts, smoothing)
    return target if parts.weights is None else target * parts.weights


def _smoothed(parts: _Parts, smoothing: float) -> Symbol:
    if not smoothing:
        return parts.target
    return parts.target * (1.0 - smoothing) + smoothing / parts.classes


def _valid(call: Call, parts: _Parts) -> Symbol:
    """1 where the position counts, 0 where it is ignored."""
    x, target = call[0], call[1]
    column = target.reshape(*x.shape[: parts.axis], 1, *x.shape[parts.axis + 1 :])
    ignored = column.full_like(float(call.attributes["ignore_index"]))
    return column.emit("NotEqual", ignored).cast(x.dtype)


@cross_entropy.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    x, smoothing = call[0], float(call.attributes["label_smoothing"])
    parts = _parts(call)
    p = x.emit("Softmax", axis=parts.axis)
    scale = _scale(call, parts)
    if parts.counted is None:
        mixed = _mixed(parts, smoothing)
        d_x = (p * mixed.sum(parts.axis, keepdims=True) - mixed) * scale
        d_target = (_log_sum_exp(x, parts.axis) - x) * scale * (1.0 - smoothing)
        if parts.weights is not None:
            d_target = d_target * parts.weights
        return d_x, d_target, _weight_gradient(call, parts, scale)
    d_x = where(_hit(x, parts), p - 1.0, p) * parts.counted
    if smoothing:
        spread = _spread_gradient(p, parts) * _valid(call, parts)
        d_x = d_x * (1.0 - smoothing) + spread * (smoothing / parts.classes)
    return d_x * scale, None, _weight_gradient(call, parts, scale)


def _hit(x: Symbol, parts: _Parts) -> Symbol:
    """Whether each place along the class axis is the target."""
    target = parts.target
    count = {"start": 0.0, "step": 1.0, "count": parts.classes, "dtype": target.dtype}
    places = x.builder.emit("Arange", (), count)[0]
    places = places.reshape(parts.classes, *(1 for _ in x.shape[parts.axis + 1 :]))
    # A class may be counted from the end, as in every index.
    plain = where(target < 0, target + parts.classes, target)
    return places.equal(plain)


def _weight_gradient(call: Call, parts: _Parts, scale: Symbol) -> Symbol | None:
    """Sum over positions; of a mean over classes also through its denominator."""
    x, weight, smoothing = call[0], call.get(2), float(call.attributes["label_smoothing"])
    if weight is None:
        return None
    gap = _log_sum_exp(x, parts.axis) - x
    others = {"axes": tuple(each for each in range(len(x.shape)) if each != parts.axis)}
    if parts.counted is None:
        return (gap * _smoothed(parts, smoothing) * scale).emit("Sum", **others)
    share = _valid(call, parts) * scale
    at_target = gap.emit("GatherElements", parts.target, axis=parts.axis) * (1.0 - smoothing)
    if call.attributes["reduction"] == "mean":
        at_target = at_target - call.result
    count = parts.target.type.elements
    flat = (at_target * share).reshape(count)
    places = parts.target.reshape(count)
    d_weight = weight.full_like(0.0).emit("ScatterAdd", places, flat, axis=0)
    if not smoothing:
        return d_weight
    return d_weight + (gap * share).emit("Sum", **others) * (smoothing / parts.classes)


def _spread_gradient(p: Symbol, parts: _Parts) -> Symbol:
    if parts.weights is None:
        return p * float(parts.classes) - 1.0
    return p * parts.weights.sum(0, keepdims=True) - parts.weights


def _scale(call: Call, parts: _Parts) -> Symbol:
    """What arrives at each position's loss, the class axis kept as size 1."""
    x, d = call[0], call.d
    if call.attributes["reduction"] == "none":
        return d.reshape(*x.shape[: parts.axis], 1, *x.shape[parts.axis + 1 :])
    if call.attributes["reduction"] == "sum":
        return d
    if parts.counted is not None:
        return d / parts.counted.sum()
    return d / float(max(1, math.prod(x.shape) // parts.classes))


OPS = (nll, cross_entropy)
