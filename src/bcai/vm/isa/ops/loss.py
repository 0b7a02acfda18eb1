"""Losses, element by element: macros with a reduction `none`, `mean` or `sum`."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Op, TypeRule, Types, case, instruction, types_of
from bcai.vm.isa.ops.activation import where
from bcai.vm.isa.rules import broadcast, same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, TensorType
from bcai.vm.isa.widened import widened

Reduction = Literal["none", "mean", "sum"]
SUMMED = Bound(ulp=16, terms_ulp=4)


def reduce_loss(loss: Symbol, reduction: str) -> Symbol:
    """Apply a reduction to a loss per element."""
    if reduction == "none":
        return loss
    total = loss.sum()
    return total / float(max(1, loss.type.elements)) if reduction == "mean" else total


def reduce_array(loss: Array, reduction: str) -> Array:
    """`reduce_loss`, in NumPy."""
    if reduction == "none":
        return loss
    return np.asarray(loss.mean() if reduction == "mean" and loss.size else loss.sum())


def reduced_type(type_: TensorType, reduction: str) -> TensorType:
    """Type of a loss after its reduction."""
    return type_ if reduction == "none" else type_.with_shape()


def _pair(x: TensorType, y: TensorType, *, reduction: str, **_: Any) -> Types:
    shape = broadcast(x, y)
    return reduced_type(TensorType(same_dtype(x, y), shape), reduction)


def _pair_rule(**attributes: float) -> TypeRule:
    return types_of(
        _pair,
        accepts=(
            case("float32[4,3]", "float32[4,3]", reduction="none", **attributes),
            case("float32[4,3]", "float32[4,3]", reduction="mean", **attributes),
            case("float32[4,3]", "float32[3]", reduction="sum", **attributes),
        ),
        rejects=(
            case("float32[4]", "float32[3]", reduction="mean", **attributes),
            case("float32[4]", "float64[4]", reduction="mean", **attributes),
            case("float32[4]", "float32[4]", reduction="most", **attributes),
        ),
    )


def _loss(
    opcode: int, *, name: str | None = None, **attributes: float
) -> Callable[[Callable[..., Array]], Op]:
    return instruction(
        opcode=opcode, name=name, dtypes=FLOATS, types=_pair_rule(**attributes), bound=SUMMED
    )


@_loss(0x0800)
def mse(x: Array, y: Array, *, reduction: Reduction = "mean") -> Array:
    """Squared difference. Source: `torch.nn.MSELoss`."""
    return reduce_array((x - y) ** 2, reduction)


@mse.lowering
@widened
def _(call: Call) -> Symbol:
    difference = call[0] - call[1]
    return reduce_loss(difference * difference, call.attributes["reduction"])


@_loss(0x0801, name="L1")
def l1(x: Array, y: Array, *, reduction: Reduction = "mean") -> Array:
    """Absolute difference. Source: `torch.nn.L1Loss`."""
    return reduce_array(np.abs(x - y), reduction)


@l1.lowering
@widened
def _(call: Call) -> Symbol:
    return reduce_loss(abs(call[0] - call[1]), call.attributes["reduction"])


@_loss(0x0802, name="SmoothL1", beta=0.5)
def smooth_l1(x: Array, y: Array, *, beta: float = 1.0, reduction: Reduction = "mean") -> Array:
    """Squared below `beta` (divided by `2 beta`), absolute above. Source: arXiv:1504.08083."""
    d = np.abs(x - y)
    return reduce_array(
        np.where(d < beta, d * d / (2 * beta) if beta else d, d - beta / 2), reduction
    )


@smooth_l1.lowering
@widened
def _(call: Call) -> Symbol:
    d, beta = abs(call[0] - call[1]), float(call.attributes["beta"])
    if beta > 0:
        d = where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta)
    return reduce_loss(d, call.attributes["reduction"])


@_loss(0x0803, delta=0.5)
def huber(x: Array, y: Array, *, delta: float = 1.0, reduction: Reduction = "mean") -> Array:
    """Half the square below `delta`, a line above. Source: `torch.nn.HuberLoss`."""
    d = np.abs(x - y)
    return reduce_array(np.where(d < delta, d * d / 2, delta * (d - delta / 2)), reduction)


@huber.lowering
@widened
def _(call: Call) -> Symbol:
    d, delta = abs(call[0] - call[1]), float(call.attributes["delta"])
    loss = where(d < delta, d * d * 0.5, (d - 0.5 * delta) * delta)
    return reduce_loss(loss, call.attributes["reduction"])


def _weighted(
    x: TensorType, y: TensorType, weight: TensorType | None = None, *, reduction: str
) -> Types:
    if weight is not None:
        shape = broadcast(x, y)
        if same_dtype(x, weight) and broadcast(x.with_shape(*shape), weight) != shape:
            raise VerifyError(f"weight is {weight}, expected what broadcasts to {shape}")
    return _pair(x, y, reduction=reduction)


_WEIGHTED = types_of(
    _weighted,
    accepts=(
        case("float32[4,3]", "float32[4,3]", reduction="mean"),
        case("float32[4,3]", "float32[4,3]", "float32[3]", reduction="sum"),
        case("float32[4]", "float32[4]", "float32[]", reduction="none"),
    ),
    rejects=(
        case("float32[4]", "float32[3]", reduction="mean"),
        case("float32[4]", "float32[4]", "float32[3]", reduction="mean"),
    ),
)
LOG_MIN = -100.0  # torch's floor of a logarithm, so that a sure mistake costs a finite amount


@instruction(opcode=0x0804, dtypes=FLOATS, types=_WEIGHTED, bound=SUMMED)
def bce(
    p: Array, target: Array, weight: Array | None = None, *, reduction: Reduction = "mean"
) -> Array:
    """Binary cross-entropy of probabilities; logarithms are cut at -100.

    Source: `torch.nn.BCELoss`.
    """
    yes, no = np.maximum(np.log(p), LOG_MIN), np.maximum(np.log1p(-p), LOG_MIN)
    loss = -(target * yes + (1 - target) * no)
    return reduce_array(loss * (1 if weight is None else weight), reduction)


@bce.lowering
@widened
def _(call: Call) -> Symbol:
    p, target, weight = call[0], call[1], call.get(2)
    yes = p.emit("Log").emit("Max", LOG_MIN)
    no = (-p).emit("Log1p").emit("Max", LOG_MIN)
    loss = -(target * yes + (1.0 - target) * no)
    loss = loss if weight is None else loss * weight
    return reduce_loss(loss, call.attributes["reduction"])


@instruction(opcode=0x0805, dtypes=FLOATS, types=_WEIGHTED, bound=SUMMED)
def bce_with_logits(
    x: Array, target: Array, pos_weight: Array | None = None, *, reduction: Reduction = "mean"
) -> Array:
    """Binary cross-entropy of `sigmoid(x)`, without overflow; `pos_weight` weighs the yes side.

    Source: `torch.nn.BCEWithLogitsLoss`.
    """
    soft = np.logaddexp(-x, 0)
    yes = 1 if pos_weight is None else 1 + (pos_weight - 1) * target
    return reduce_array((1 - target) * x + yes * soft, reduction)


@bce_with_logits.lowering
@widened
def _(call: Call) -> Symbol:
    x, target, pos_weight = call[0], call[1], call.get(2)
    soft = (-x).emit("Max", 0.0) + (-abs(x)).emit("Exp").emit("Log1p")
    if pos_weight is not None:
        soft = soft * ((pos_weight - 1.0) * target + 1.0)
    return reduce_loss((1.0 - target) * x + soft, call.attributes["reduction"])


KlReduction = Literal["none", "mean", "sum", "batchmean"]


def _kl(x: TensorType, target: TensorType, *, log_target: bool, reduction: str) -> Types:
    del log_target
    return _pair(x, target, reduction=reduction)


@instruction(
    opcode=0x0806,
    dtypes=FLOATS,
    bound=SUMMED,
    types=types_of(
        _kl,
        accepts=(
            case("float32[4,3]", "float32[4,3]", log_target=False, reduction="batchmean"),
            case("float32[4,3]", "float32[4,3]", log_target=True, reduction="sum"),
            case("float32[4]", "float32[4]", log_target=False, reduction="none"),
        ),
        rejects=(case("float32[4]", "float32[3]", log_target=False, reduction="sum"),),
    ),
)
def kl_div(
    x: Array, target: Array, *, log_target: bool = False, reduction: KlReduction = "mean"
) -> Array:
    """`target * (log target - x)` with `x` a logarithm; a target of 0 costs nothing.

    `batchmean` divides by the size of the first axis. Source: `torch.nn.KLDivLoss`.
    """
    if log_target:
        loss = np.exp(target) * (target - x)
    else:
        positive = np.where(target > 0, target, 1)
        loss = np.where(target > 0, target * (np.log(positive) - x), 0)
    if reduction == "batchmean":
        return np.asarray(loss.sum() / loss.shape[0])
    return reduce_array(loss, reduction)


@kl_div.lowering
@widened
def _(call: Call) -> Symbol:
    x, target, reduction = call[0], call[1], str(call.attributes["reduction"])
    if call.attributes["log_target"]:
        loss = target.emit("Exp") * (target - x)
    else:
        is_positive = target > 0.0
        logarithm = where(is_positive, target, 1.0).emit("Log")
        loss = where(is_positive, target * (logarithm - x), 0.0)
    if reduction == "batchmean":
        return loss.sum() / float(max(1, math.prod(loss.shape[:1])))
    return reduce_loss(loss, reduction)


OPS = (mse, l1, smooth_l1, huber, bce, bce_with_logits, kl_div)
