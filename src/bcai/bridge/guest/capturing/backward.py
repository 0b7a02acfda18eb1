"""Rules for the operations of torch's backward passes, which the export never meets.

Most are the gradient of a forward rule; `backward_windows` has those of convolutions and pools.
"""

from collections.abc import Sequence
from typing import Any

from bcai.bridge.guest.capturing.pulling import first, only, pulled
from bcai.bridge.guest.export.site import Family, Rule, Site, axis_of
from bcai.bridge.guest.export.table import RULES as FORWARD
from bcai.bridge.guest.export.types import UnsupportedError
from bcai.vm.isa.symbol import Symbol

rule = Family()
Values = Sequence[int]


def _of(aten: str) -> Rule:
    """The gradient by its only tensor, of a forward rule that takes the same other arguments."""
    forward = FORWARD[f"aten.{aten}"]

    def write(at: Site, d: Symbol, x: Symbol, *rest: Any, **more: Any) -> Symbol:
        return only(pulled(at, lambda: first(forward(at, x, *rest, **more)), d, [x]))

    return write


for _name, _forward in {
    "gelu_backward": "gelu.default",
    "silu_backward": "silu.default",
    "mish_backward": "mish.default",
    "hardswish_backward": "hardswish.default",
    "hardsigmoid_backward": "hardsigmoid.default",
    "softplus_backward": "softplus.default",
    "hardtanh_backward": "hardtanh.default",
    "mse_loss_backward": "mse_loss.default",
    "smooth_l1_loss_backward": "smooth_l1_loss.default",
    "huber_loss_backward": "huber_loss.default",
    "binary_cross_entropy_backward": "binary_cross_entropy.default",
}.items():
    rule(_name)(_of(_forward))


@rule("threshold_backward")
def _(at: Site, d: Symbol, x: Symbol, threshold: float) -> Symbol:
    return at.where(x > float(threshold), d, 0.0)


@rule("sigmoid_backward")
def _(at: Site, d: Symbol, y: Symbol) -> Symbol:
    del at
    return d * (y * (1.0 - y))


@rule("tanh_backward")
def _(at: Site, d: Symbol, y: Symbol) -> Symbol:
    del at
    return d * (1.0 - y * y)


@rule("leaky_relu_backward")
def _(at: Site, d: Symbol, x: Symbol, slope: float, is_result: bool) -> Symbol:
    del is_result
    return at.where(x > 0.0, d, d * float(slope))


@rule("elu_backward")
def _(
    at: Site, d: Symbol, alpha: float, scale: float, rate: float, is_result: bool, x: Symbol
) -> Symbol:
    if is_result:
        slope = (x + float(alpha * scale)) * float(rate)
    else:
        slope = at.emit("Exp", x * float(rate)) * float(alpha * scale * rate)
    return d * at.where(x <= 0.0, slope, float(scale))


@rule("hardshrink_backward", "softshrink_backward")
def _(at: Site, d: Symbol, x: Symbol, bound: float) -> Symbol:
    return at.where((x > float(bound)) | (x < -float(bound)), d, 0.0)


@rule("log_sigmoid_backward")
def _(at: Site, d: Symbol, x: Symbol, buffer: object) -> Symbol:
    del buffer
    return d * at.emit("Sigmoid", -x)


@rule("_softmax_backward_data")
def _(at: Site, d: Symbol, y: Symbol, dim: int, dtype: object) -> Symbol:
    del dtype
    weighted = d * y
    total = at.emit("Sum", weighted, axes=(axis_of(y, dim),), keepdims=True)
    return weighted - y * total


@rule("_log_softmax_backward_data")
def _(at: Site, d: Symbol, y: Symbol, dim: int, dtype: object) -> Symbol:
    del dtype
    total = at.emit("Sum", d, axes=(axis_of(y, dim),), keepdims=True)
    return d - at.emit("Exp", y) * total


@rule("nll_loss_forward", "nll_loss2d_forward")
def _(at: Site, x: Symbol, target: Symbol, *rest: Any) -> list[Symbol | None]:
    return [first(FORWARD["aten.nll_loss.default"](at, x, target, *rest)), None]


@rule("nll_loss_backward", "nll_loss2d_backward")
def _(at: Site, d: Symbol, x: Symbol, target: Symbol, *rest: Any) -> Symbol:
    forward = FORWARD["aten.nll_loss.default"]
    return only(pulled(at, lambda: first(forward(at, x, target, *rest[:3])), d, [x]))


@rule("native_dropout_backward")
def _(at: Site, d: Symbol, mask: Symbol, scale: float) -> Symbol:
    del at
    return d * mask.cast(d.dtype) * float(scale)


@rule("embedding_dense_backward")
def _(at: Site, d: Symbol, indices: Symbol, count: int, padding: int, scale: bool) -> Symbol:
    if scale:
        raise UnsupportedError("gradients scaled by how often a word occurs")
    weight = at.full((count, d.shape[-1]), 0, d.dtype)
    forward = FORWARD["aten.embedding.default"]
    return only(pulled(at, lambda: first(forward(at, weight, indices, padding)), d, [weight]))


@rule("select_backward")
def _(at: Site, d: Symbol, sizes: Values, dim: int, index: int) -> Symbol:
    zeros = at.full(tuple(sizes), 0, d.dtype)
    return first(FORWARD["aten.select_scatter.default"](at, zeros, d, dim, index))


@rule("slice_backward")
def _(at: Site, d: Symbol, sizes: Values, dim: int, start: int, end: int, step: int) -> Symbol:
    zeros = at.full(tuple(sizes), 0, d.dtype)
    return first(FORWARD["aten.slice_scatter.default"](at, zeros, d, dim, start, end, step))


@rule("native_batch_norm_backward")
def _(
    at: Site,
    d: Symbol,
    x: Symbol,
    weight: Symbol | None,
    mean: Symbol | None,
    variance: Symbol | None,
    saved_mean: object,
    saved_deviation: object,
    training: bool,
    eps: float,
    mask: Sequence[bool],
) -> list[Symbol | None]:
    del saved_mean, saved_deviation
    narrow, wide = x.dtype, x.dtype if weight is None else weight.dtype
    x, d = x.cast(wide), d.cast(wide)
    channels = x.shape[1:2]
    scale = at.full(channels, 1, x.dtype) if weight is None else weight
    shift = at.full(channels, 0, x.dtype)

    def write() -> Symbol:
        if not training:
            assert mean is not None
            assert variance is not None
            return at.emit("BatchNorm", x, scale, shift, mean, variance, eps=eps)
        zeros, ones = at.full(channels, 0, x.dtype), at.full(channels, 1, x.dtype)
        return at.emit("BatchNormTrain", x, scale, shift, zeros, ones, eps=eps, momentum=0.0)

    slope, *others = pulled(at, write, d, [x, scale, shift])
    found = [None if slope is None else slope.cast(narrow), *others]
    return [each if asked else None for each, asked in zip(found, mask, strict=True)]


@rule("_weight_norm_interface_backward")
def _(at: Site, d: Symbol, v: Symbol, size: Symbol, norms: Symbol, dim: int) -> list[Symbol | None]:
    axes = tuple(axis for axis in range(len(v.shape)) if axis != axis_of(v, dim))
    along = at.emit("Sum", d * v, axes=axes, keepdims=True) / norms
    return [size / norms * (d - v * along / norms), along]
