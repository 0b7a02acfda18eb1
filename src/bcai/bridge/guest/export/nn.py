"""Linear layers, matrix products, activations and normalisations."""

import math
from collections.abc import Sequence

from bcai.bridge.guest.export.site import Family, Rule, Site, axis_of
from bcai.bridge.guest.export.types import Scalar, UnsupportedError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()


@rule("linear")
def _(at: Site, x: Symbol, weight: Symbol, bias: Symbol | None = None) -> Symbol:
    if len(weight.shape) == 1:
        y = x @ weight
        return y if bias is None else y + bias
    if bias is not None and bias.shape != weight.shape[:1]:
        return at.emit("Linear", x, weight) + bias
    return at.emit("Linear", x, weight, bias)


@rule("matmul", "mm", "bmm", "mv", "dot", "vdot", "inner")
def _(at: Site, a: Symbol, b: Symbol) -> Symbol:
    del at
    return a @ b


@rule("addmm", "baddbmm", "addmv")
def _(at: Site, x: Symbol, a: Symbol, b: Symbol, *, beta: Scalar = 1, alpha: Scalar = 1) -> Symbol:
    return blend(at, x, a @ b, beta, alpha)


@rule("addbmm")
def _(at: Site, x: Symbol, a: Symbol, b: Symbol, *, beta: Scalar = 1, alpha: Scalar = 1) -> Symbol:
    return blend(at, x, (a @ b).sum(0), beta, alpha)


def blend(at: Site, x: Symbol, y: Symbol, beta: Scalar, alpha: Scalar) -> Symbol:
    """`beta * x + alpha * y`; with `beta` 0, `x` is not looked at."""
    grown = y if alpha == 1 else y * at.cast(alpha, y.dtype)
    if beta == 0:
        return grown
    return (x if beta == 1 else x * at.cast(beta, x.dtype)) + grown


@rule("_trilinear")
def _(
    at: Site,
    a: Symbol,
    b: Symbol,
    c: Symbol,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sums: Sequence[int],
    unroll: int = 1,
) -> Symbol:
    del unroll
    pairs = ((a, expand1), (b, expand2), (c, expand3))
    wide = [each.emit("Unsqueeze", axes=tuple(axes)) if axes else each for each, axes in pairs]
    product = wide[0] * wide[1] * wide[2]
    return at.emit("Sum", product, axes=tuple(sums), keepdims=False)


def _activation(name: str) -> Rule:
    def write(at: Site, x: Symbol) -> Symbol:
        return at.emit(name, x)

    return write


for _aten, _ours in {
    "selu": "Selu",
    "silu": "Silu",
    "mish": "Mish",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
}.items():
    rule(_aten)(_activation(_ours))


@rule("relu")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("Relu", x) if x.dtype.is_float else at.emit("Max", x, 0)


@rule("relu6")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("Hardtanh", x, min=0.0, max=6.0)


@rule("leaky_relu")
def _(at: Site, x: Symbol, slope: Scalar = 0.01) -> Symbol:
    return at.emit("LeakyRelu", x, slope=float(slope))


@rule("elu")
def _(
    at: Site, x: Symbol, alpha: Scalar = 1.0, scale: Scalar = 1.0, input_scale: Scalar = 1.0
) -> Symbol:
    grown = x if input_scale == 1 else x * float(input_scale)
    y = at.emit("Elu", grown, alpha=float(alpha))
    y = y if input_scale == 1 else at.where(x > 0.0, x, y)
    return y if scale == 1 else y * float(scale)


@rule("celu")
def _(at: Site, x: Symbol, alpha: Scalar = 1.0) -> Symbol:
    return at.emit("Celu", x, alpha=float(alpha))


@rule("gelu")
def _(at: Site, x: Symbol, *, approximate: str = "none") -> Symbol:
    return at.emit("Gelu", x, approximate=approximate)


@rule("softplus")
def _(at: Site, x: Symbol, beta: Scalar = 1.0, threshold: Scalar = 20.0) -> Symbol:
    return at.emit("Softplus", x, beta=float(beta), threshold=float(threshold))


@rule("hardtanh")
def _(at: Site, x: Symbol, low: Scalar = -1.0, high: Scalar = 1.0) -> Symbol:
    if not x.dtype.is_float:
        return at.emit("Clamp", x, min=float(low), max=float(high))
    return at.emit("Hardtanh", x, min=float(low), max=float(high))


@rule("prelu", "_prelu_kernel")
def _(at: Site, x: Symbol, slope: Symbol) -> Symbol:
    if len(slope.shape) == 1 and len(x.shape) > 1:
        slope = slope.reshape(slope.shape[0], *(1 for _ in x.shape[2:]))
    return at.emit("PRelu", x, slope)


@rule("glu")
def _(at: Site, x: Symbol, dim: int = -1) -> Symbol:
    return at.emit("Glu", x, axis=axis_of(x, dim))


@rule("log_sigmoid", "log_sigmoid_forward")
def _(at: Site, x: Symbol) -> Symbol | list[Symbol | None]:
    y = at.emit("Min", x, 0.0) - at.emit("Log1p", at.emit("Exp", -abs(x)))
    return [y, None] if "forward" in str(at.node.target) else y


@rule("threshold")
def _(at: Site, x: Symbol, threshold: Scalar, value: Scalar) -> Symbol:
    return at.where(x > at.cast(threshold, x.dtype), x, value)


@rule("softmax.int", "_softmax", "special_softmax", "_safe_softmax")
def _(at: Site, x: Symbol, dim: int, *_: object) -> Symbol:
    y = _along(at, "Softmax", x, dim)
    if "_safe_softmax" not in str(at.node.target):
        return y
    blind = at.emit("ReduceMax", x, axes=(axis_of(x, dim),), keepdims=True).equal(-math.inf)
    return at.where(blind, 0.0, y)


@rule("log_softmax.int", "_log_softmax", "special_log_softmax")
def _(at: Site, x: Symbol, dim: int, *_: object) -> Symbol:
    return _along(at, "LogSoftmax", x, dim)


def _along(at: Site, name: str, x: Symbol, dim: int) -> Symbol:
    x = x.cast(at.out.dtype)
    if not x.type.elements:
        return x
    if not x.shape:
        return at.emit(name, x.reshape(1), axis=0).reshape()
    return at.emit(name, x, axis=axis_of(x, dim))


@rule("layer_norm")
def _(
    at: Site,
    x: Symbol,
    shape: Sequence[int],
    weight: Symbol | None = None,
    bias: Symbol | None = None,
    eps: float = 1e-5,
    fast: bool = True,
) -> Symbol:
    del fast
    return at.emit("LayerNorm", x, weight, bias, axis=-len(shape), eps=eps)


@rule("native_layer_norm")
def _(
    at: Site,
    x: Symbol,
    shape: Sequence[int],
    weight: Symbol | None,
    bias: Symbol | None,
    eps: float,
) -> list[Symbol | None]:
    y = at.emit("LayerNorm", x, weight, bias, axis=-len(shape), eps=eps)
    if not at.reads(1) and not at.reads(2):
        return [y, None, None]
    axes = tuple(range(len(x.shape) - len(shape), len(x.shape)))
    return [y, *_mean_and_rstd(at, x, axes, eps)]


def _mean_and_rstd(at: Site, x: Symbol, axes: tuple[int, ...], eps: float) -> list[Symbol]:
    mean = at.emit("Mean", x, axes=axes, keepdims=True)
    spread = at.emit("Variance", x, axes=axes, keepdims=True, correction=0)
    return [mean, 1.0 / at.emit("Sqrt", spread + eps)]


@rule("rms_norm")
def _(
    at: Site,
    x: Symbol,
    shape: Sequence[int],
    weight: Symbol | None = None,
    eps: float | None = None,
) -> Symbol:
    tiny = {DType.float64: 2.0**-52, DType.float16: 2.0**-10, DType.bfloat16: 2.0**-7}
    plain = tiny.get(x.dtype, 2.0**-23) if eps is None else eps
    return at.emit("RmsNorm", x, weight, axis=-len(shape), eps=plain)


@rule("group_norm")
def _(
    at: Site,
    x: Symbol,
    groups: int,
    weight: Symbol | None = None,
    bias: Symbol | None = None,
    eps: float = 1e-5,
    fast: bool = True,
) -> Symbol:
    del fast
    return at.emit("GroupNorm", x, weight, bias, groups=groups, eps=eps)


@rule("native_group_norm")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol | None,
    bias: Symbol | None,
    n: int,
    channels: int,
    size: int,
    groups: int,
    eps: float,
) -> list[Symbol | None]:
    y = at.emit("GroupNorm", x, weight, bias, groups=groups, eps=eps)
    if not at.reads(1) and not at.reads(2):
        return [y, None, None]
    rows = x.reshape(n, groups, channels * size // groups)
    return [y, *(each.reshape(n, groups) for each in _mean_and_rstd(at, rows, (2,), eps))]


@rule("_native_batch_norm_legit_functional", "_batch_norm_with_update_functional")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol | None,
    bias: Symbol | None,
    mean: Symbol,
    variance: Symbol,
    *rest: Scalar,
) -> list[Symbol | None]:
    momentum, eps = (float(each) for each in rest[-2:])
    is_training = rest[0] if len(rest) == 3 else True
    narrow, x = x.dtype, x.cast(mean.dtype)  # of autocast, beside statistics of float32
    scale, shift = _affine(at, x, weight, bias)
    statistics = mean, variance
    if not is_training:
        y = at.emit("BatchNorm", x, scale, shift, mean, variance, eps=eps)
        return [y.cast(narrow), None, None, mean, variance]
    y, mean, variance = at.all(
        "BatchNormTrain", x, scale, shift, mean, variance, eps=eps, momentum=momentum
    )
    moved = [mean, variance]
    saved = [
        None if each is None else each.cast(at.out_at(place).dtype)
        for place, each in enumerate(_saved(at, x, eps), 1)
    ]
    extra = [at.full((0,), 0, DType.uint8)] if len(at.node.meta["val"]) == 6 else []
    assert [each.type for each in moved] == [each.type for each in statistics]
    return [y.cast(narrow), *saved, *extra, *moved]


@rule("_native_batch_norm_legit.no_stats")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol | None,
    bias: Symbol | None,
    training: bool,
    momentum: float,
    eps: float,
) -> list[Symbol | None]:
    del training, momentum
    scale, shift = _affine(at, x, weight, bias)
    axes = (0, *range(2, len(x.shape)))
    mean = at.emit("Mean", x, axes=axes, keepdims=False)
    variance = at.emit("Variance", x, axes=axes, keepdims=False, correction=0)
    y = at.emit("BatchNorm", x, scale, shift, mean, variance, eps=eps)
    return [y, *_saved(at, x, eps)]


@rule("_native_batch_norm_legit_no_training", "_batch_norm_no_update")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol | None,
    bias: Symbol | None,
    mean: Symbol,
    variance: Symbol,
    momentum: float,
    eps: float,
) -> list[Symbol | None]:
    del momentum
    scale, shift = _affine(at, x, weight, bias)
    y = at.emit("BatchNorm", x, scale, shift, mean, variance, eps=eps)
    empty = at.full((0,), 0, x.dtype)
    extra = [at.full((0,), 0, DType.uint8)] if len(at.node.meta["val"]) == 4 else []
    return [y, empty, empty, *extra]


def _affine(
    at: Site, x: Symbol, weight: Symbol | None, bias: Symbol | None
) -> tuple[Symbol, Symbol]:
    channels = x.shape[1:2]
    scale = at.full(channels, 1, x.dtype) if weight is None else weight
    return scale, at.full(channels, 0, x.dtype) if bias is None else bias


def _saved(at: Site, x: Symbol, eps: float) -> list[Symbol | None]:
    """Batch mean and 1 / deviation, which only torch's own backward pass reads."""
    if not at.reads(1) and not at.reads(2):
        return [None, None]
    axes = (0, *range(2, len(x.shape)))
    return [each.reshape(*x.shape[1:2]) for each in _mean_and_rstd(at, x, axes, eps)]


@rule("pixel_shuffle")
def _(at: Site, x: Symbol, factor: int) -> Symbol:
    *batch, channels, height, width = x.shape
    n, kept = len(batch), channels // (factor * factor)
    cut = x.reshape(*batch, kept, factor, factor, height, width)
    order = [*range(n), n, n + 3, n + 1, n + 4, n + 2]
    return cut.permute(*order).reshape(*at.out.shape)


@rule("pixel_unshuffle")
def _(at: Site, x: Symbol, factor: int) -> Symbol:
    *batch, channels, height, width = x.shape
    n = len(batch)
    cut = x.reshape(*batch, channels, height // factor, factor, width // factor, factor)
    order = [*range(n), n, n + 2, n + 4, n + 1, n + 3]
    return cut.permute(*order).reshape(*at.out.shape)


@rule("channel_shuffle", "native_channel_shuffle")
def _(at: Site, x: Symbol, groups: int) -> Symbol:
    if x.shape[1] % groups:
        raise UnsupportedError("channels that cannot be cut into the groups")
    split = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    return split.transpose(1, 2).reshape(*at.out.shape)
