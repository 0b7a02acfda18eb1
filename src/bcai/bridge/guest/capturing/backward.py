"""Rules for the operations of torch's backward passes, which the export never meets.

Most are the gradient of a forward rule: it is written once more, and pulled back. Instructions
that nothing needs then are left out of the part.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bcai.bridge.guest.export import conv
from bcai.bridge.guest.export.random import draw
from bcai.bridge.guest.export.site import Family, Rule, Site, axis_of
from bcai.bridge.guest.export.table import RULES as FORWARD
from bcai.bridge.guest.export.types import UnsupportedError
from bcai.vm.compiler.differentiate import pull_back
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType
from bcai.vm.program.builder import Builder

rule = Family()
Values = Sequence[int]


def pulled(
    at: Site, write: Callable[[], Symbol], d: Symbol, wanted: Sequence[Symbol | None]
) -> list[Symbol | None]:
    """Gradients with respect to each of `wanted`, of what `write` writes."""
    builder = at.builder
    assert isinstance(builder, Builder)
    start = len(builder.instructions)
    result = write()
    there = {each.index for each in wanted if each is not None}
    found = pull_back(builder, start, {result.index: d.expand(*result.shape)}, there)
    return [None if each is None else found.get(each.index, each.full_like(0.0)) for each in wanted]


def _only(found: Sequence[Symbol | None]) -> Symbol:
    (one,) = found
    assert one is not None
    return one


def _of(aten: str) -> Rule:
    """The gradient by its only tensor, of a forward rule that takes the same other arguments."""
    forward = FORWARD[f"aten.{aten}"]

    def write(at: Site, d: Symbol, x: Symbol, *rest: Any, **more: Any) -> Symbol:
        return _only(pulled(at, lambda: _one(forward(at, x, *rest, **more)), d, [x]))

    return write


def _one(found: Any) -> Symbol:
    return found if isinstance(found, Symbol) else found[0]


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
    return [_one(FORWARD["aten.nll_loss.default"](at, x, target, *rest)), None]


@rule("nll_loss_backward", "nll_loss2d_backward")
def _(at: Site, d: Symbol, x: Symbol, target: Symbol, *rest: Any) -> Symbol:
    forward = FORWARD["aten.nll_loss.default"]
    return _only(pulled(at, lambda: _one(forward(at, x, target, *rest[:3])), d, [x]))


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
    return _only(pulled(at, lambda: _one(forward(at, weight, indices, padding)), d, [weight]))


@rule("select_backward")
def _(at: Site, d: Symbol, sizes: Values, dim: int, index: int) -> Symbol:
    zeros = at.full(tuple(sizes), 0, d.dtype)
    return _one(FORWARD["aten.select_scatter.default"](at, zeros, d, dim, index))


@rule("slice_backward")
def _(at: Site, d: Symbol, sizes: Values, dim: int, start: int, end: int, step: int) -> Symbol:
    zeros = at.full(tuple(sizes), 0, d.dtype)
    return _one(FORWARD["aten.slice_scatter.default"](at, zeros, d, dim, start, end, step))


@rule("convolution")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol,
    bias: Symbol | None,
    stride: Values,
    padding: Values,
    dilation: Values,
    transposed: bool,
    output_padding: Values,
    groups: int,
) -> Symbol:
    if transposed:
        return conv.transposed(
            at, x, weight, bias, stride, padding, output_padding, dilation, groups
        )
    around = conv.spread(padding, len(weight.shape) - 2)
    return at.emit(
        "Conv",
        x,
        weight,
        bias,
        stride=conv.spread(stride, len(around)),
        padding_before=around,
        padding_after=around,
        dilation=conv.spread(dilation, len(around)),
        groups=groups,
    )


@rule("convolution_backward")
def _(
    at: Site,
    d: Symbol,
    x: Symbol,
    weight: Symbol,
    bias_sizes: Values | None,
    *rest: Any,
) -> list[Symbol | None]:
    *settings, mask = rest
    forward = rule.rules["aten.convolution.default"]
    found = pulled(at, lambda: _one(forward(at, x, weight, None, *settings)), d, [x, weight])
    bias = None
    if mask[2]:
        axes = (0, *range(2, len(d.shape)))
        bias = at.emit("Sum", d, axes=axes, keepdims=False)
    del bias_sizes
    return [*(each if asked else None for each, asked in zip(found, mask, strict=False)), bias]


@rule("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward")
def _(
    at: Site,
    d: Symbol,
    x: Symbol,
    kernel: Values,
    stride: Values,
    padding: Values,
    dilation: Values,
    ceil: bool,
    places: Symbol,
) -> Symbol:
    del places
    rank = conv.rank_of(at)
    around = conv.spread(padding, rank)

    def write() -> Symbol:
        y = at.emit(
            "MaxPool",
            conv.batched(x, rank),
            kernel=conv.spread(kernel, rank),
            stride=conv.spread(stride or kernel, rank),
            padding_before=around,
            padding_after=around,
            dilation=conv.spread(dilation, rank),
            ceil=ceil,
        )
        return y.reshape(*d.shape)

    return _only(pulled(at, write, d, [x]))


@rule("avg_pool2d_backward", "avg_pool3d_backward")
def _(
    at: Site,
    d: Symbol,
    x: Symbol,
    kernel: Values,
    stride: Values,
    padding: Values,
    ceil: bool,
    include_pad: bool,
    divisor: int | None,
) -> Symbol:
    rank = conv.rank_of(at)
    if divisor is not None:
        raise UnsupportedError("a divisor")
    around = conv.spread(padding, rank)

    def write() -> Symbol:
        y = at.emit(
            "AvgPool",
            conv.batched(x, rank),
            kernel=conv.spread(kernel, rank),
            stride=conv.spread(stride or kernel, rank),
            padding_before=around,
            padding_after=around,
            ceil=ceil,
            count_include_pad=include_pad,
        )
        return y.reshape(*d.shape)

    return _only(pulled(at, write, d, [x]))


@rule("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward")
def _(at: Site, d: Symbol, x: Symbol) -> Symbol:
    rank = conv.rank_of(at)

    def write() -> Symbol:
        y = at.emit("AdaptiveAvgPool", conv.batched(x, rank), output=d.shape[-rank:])
        return y.reshape(*d.shape)

    return _only(pulled(at, write, d, [x]))


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

    found = pulled(at, write, d, [x, scale, shift])
    return [each if asked else None for each, asked in zip(found, mask, strict=True)]


@rule("random.from")
def _(at: Site, x: Symbol, low: int, high: int | None) -> Symbol:
    del x
    if high is None:
        raise UnsupportedError("a range without an end")
    return draw(at, "RandomInt", low=low, high=high).cast(at.out.dtype)


@rule("random.to")
def _(at: Site, x: Symbol, high: int) -> Symbol:
    del x
    return draw(at, "RandomInt", low=0, high=high).cast(at.out.dtype)


@rule("random")
def _(at: Site, x: Symbol) -> Symbol:
    del x
    if at.out.dtype is not DType.int64:
        raise UnsupportedError("a whole number of all that fit")
    upper = draw(at, "RandomInt", low=0, high=1 << 31)
    lower = draw(at, "RandomInt", low=0, high=1 << 31)
    return upper * at.full((), 1 << 31, DType.int64) + lower


@rule("exponential")
def _(at: Site, x: Symbol, rate: float = 1.0) -> Symbol:
    del x
    drawn = draw(at, "Uniform", dtype=at.out.dtype)
    return at.emit("Log", 1.0 - drawn) * (-1.0 / rate)


_OVERLOADS = {
    "rand.generator": "rand.default",
    "randn.generator": "randn.default",
    "randperm.generator": "randperm.default",
    "randint.generator": "randint.default",
    "randint.low_generator": "randint.low",
}
"""The generator is no argument of a rule: it gives the key of the draw."""
for _name, _plain in _OVERLOADS.items():
    rule(_name)(FORWARD[f"aten.{_plain}"])

RULES = rule.rules
