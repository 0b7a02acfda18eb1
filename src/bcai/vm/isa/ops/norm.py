"""Linear layers, softmax and normalisations: macros with the rounding order of the numeric rule."""

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.rules import ALONG_AXIS, check_axis, same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, TensorType
from bcai.vm.isa.widened import widened, widened_gradient

_SUMMED = Bound(ulp=8, terms_ulp=2)


def _linear(x: TensorType, weight: TensorType, bias: TensorType | None = None) -> Types:
    same_dtype(x, weight)
    if x.rank < 1 or weight.rank != 2 or x.shape[-1] != weight.shape[1]:
        raise VerifyError(f"{x} does not fit a weight of {weight}; expected [out, in]")
    if bias is not None and bias != x.with_shape(weight.shape[0]):
        raise VerifyError(f"bias is {bias}, expected {x.with_shape(weight.shape[0])}")
    return x.with_shape(*x.shape[:-1], weight.shape[0])


@instruction(
    opcode=0x0740,
    dtypes=FLOATS,
    bound=_SUMMED,
    types=types_of(
        _linear,
        accepts=(
            case("float32[2,3]", "float32[4,3]", "float32[4]"),
            case("float32[3]", "float32[4,3]"),
            case("float32[2,0,3]", "float32[1,3]", "float32[1]"),
            case("float32[2,5,3]", "float32[4,3]", "float32[4]"),
        ),
        rejects=(
            case("float32[2,3]", "float32[3,4]"),
            case("float32[2,3]", "float32[4,3]", "float32[3]"),
            case("float32[]", "float32[4,3]"),
        ),
    ),
)
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x @ weight.T + bias`: `T[..., in]`, `T[out, in]`, `T[out]` to `T[..., out]`.

    Leading axes are flattened to rows; the bias is added after the contraction.
    """
    return x @ weight.T + (0 if bias is None else bias)


@linear.lowering
@widened
def _(call: Call) -> Symbol:
    x, weight, bias = call[0], call[1], call.get(2)
    rows = x.type.elements // x.shape[-1] if x.shape[-1] else _rows(x)
    y = x.reshape(rows, x.shape[-1]) @ weight.transpose()
    if bias is not None:
        y = y + bias
    return y.reshape(*x.shape[:-1], weight.shape[0])


def _rows(x: Symbol) -> int:
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    return rows


@instruction(opcode=0x0741, dtypes=FLOATS, types=ALONG_AXIS, bound=_SUMMED)
def softmax(x: Array, *, axis: int = -1) -> Array:
    """Normalised exponentials along an axis: Max, Sub, Exp, Sum, Div. Source: ONNX Softmax-13."""
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@softmax.lowering
@widened
def _(call: Call) -> Symbol:
    axis = call.attributes["axis"]
    e = _shifted(call[0], axis).emit("Exp")
    return e / e.sum(axis, keepdims=True)


@softmax.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    y, d = call.result, call.d
    weighted = d * y
    return (weighted - y * weighted.sum(call.attributes["axis"], keepdims=True),)


@instruction(opcode=0x0742, dtypes=FLOATS, types=ALONG_AXIS, bound=_SUMMED)
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """Logarithm of `Softmax`: shifted by the maximum, minus the logarithm of the sum.

    Source: ONNX LogSoftmax-13.
    """
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


@log_softmax.lowering
@widened
def _(call: Call) -> Symbol:
    axis = call.attributes["axis"]
    shifted = _shifted(call[0], axis)
    return shifted - shifted.emit("Exp").sum(axis, keepdims=True).emit("Log")


@log_softmax.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    total = call.d.sum(call.attributes["axis"], keepdims=True)
    return (call.d - call.result.emit("Exp") * total,)


def _shifted(x: Symbol, axis: int) -> Symbol:
    return x - x.emit("ReduceMax", axes=(axis,), keepdims=True) if x.type.elements else x


def _affine(normal: Symbol, weight: Symbol | None, bias: Symbol | None) -> Symbol:
    if weight is None:
        return normal if bias is None else normal + bias
    if bias is None:
        return normal * weight
    return normal.emit("Fma", weight, bias)


def _normalised(x: Symbol, axes: tuple[int, ...], eps: float) -> Symbol:
    """`(x - mean) * (1 / sqrt(var + eps))`, the variance in two passes."""
    if not x.type.elements:
        return x
    centred = x - x.emit("Mean", axes=axes, keepdims=True)
    variance = (centred * centred).emit("Mean", axes=axes, keepdims=True)
    return centred * (1.0 / (variance + eps).emit("Sqrt"))


def _layer_norm(
    x: TensorType,
    weight: TensorType | None = None,
    bias: TensorType | None = None,
    *,
    axis: int,
    eps: float,
) -> Types:
    wanted = x.with_shape(*x.shape[check_axis(x, axis) :])
    for name, each in (("weight", weight), ("bias", bias)):
        if each is not None and each != wanted:
            raise VerifyError(f"{name} is {each}, expected {wanted}")
    return x


@instruction(
    opcode=0x0743,
    dtypes=FLOATS,
    bound=_SUMMED,
    types=types_of(
        _layer_norm,
        accepts=(
            case("float32[2,5]", "float32[5]", "float32[5]", axis=-1, eps=1e-5),
            case("float32[2,3,4]", "float32[3,4]", axis=1, eps=1e-5),
            case("float32[2,3]", None, "float32[3]", axis=-1, eps=1e-5),
            case("float32[2,3]", axis=0, eps=1e-5),
        ),
        rejects=(
            case("float32[2,5]", "float32[2]", "float32[5]", axis=-1, eps=1e-5),
            case("float32[2,5]", axis=2, eps=1e-5),
        ),
    ),
)
def layer_norm(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    axis: int = -1,
    eps: float = 1e-5,
) -> Array:
    """Zero mean and unit variance over all axes from `axis` on, then scaled and shifted.

    `rstd = 1 / Sqrt(var + eps)`, then `Fma((x - mean) * rstd, weight, bias)`.
    Source: arXiv:1607.06450, ONNX LayerNormalization-17.
    """
    axes = tuple(range(axis % x.ndim, x.ndim))
    normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return normal * (1 if weight is None else weight) + (0 if bias is None else bias)


@layer_norm.lowering
@widened
def _(call: Call) -> Symbol:
    rank = len(call[0].shape)
    axes = tuple(range(call.attributes["axis"] % rank, rank))
    normal = _normalised(call[0], axes, call.attributes["eps"])
    return _affine(normal, call.get(1), call.get(2))


def _rms_norm(x: TensorType, weight: TensorType | None = None, *, axis: int, eps: float) -> Types:
    return _layer_norm(x, weight, axis=axis, eps=eps)


@instruction(
    opcode=0x0744,
    dtypes=FLOATS,
    bound=_SUMMED,
    types=types_of(
        _rms_norm,
        accepts=(
            case("float32[2,5]", "float32[5]", axis=-1, eps=1e-6),
            case("float32[2,3]", axis=0, eps=1e-6),
        ),
        rejects=(case("float32[2,5]", "float32[2]", axis=-1, eps=1e-6),),
    ),
)
def rms_norm(x: Array, weight: Array | None = None, *, axis: int = -1, eps: float = 1e-6) -> Array:
    """`x / sqrt(mean(x^2) + eps)` over all axes from `axis` on, then scaled.

    Source: arXiv:1910.07467, ONNX RMSNormalization-23.
    """
    axes = tuple(range(axis % x.ndim, x.ndim))
    normal = x / np.sqrt((x * x).mean(axes, keepdims=True) + eps)
    return normal * (1 if weight is None else weight)


@rms_norm.lowering
@widened
def _(call: Call) -> Symbol:
    x, rank = call[0], len(call[0].shape)
    axes = tuple(range(call.attributes["axis"] % rank, rank))
    square = (x * x).emit("Mean", axes=axes, keepdims=True) + call.attributes["eps"]
    return _affine(x * (1.0 / square.emit("Sqrt")), call.get(1), None)


def _batch_norm(
    x: TensorType,
    weight: TensorType,
    bias: TensorType,
    mean: TensorType,
    variance: TensorType,
    *,
    eps: float,
) -> Types:
    if x.rank < 2:
        raise VerifyError(f"{x}: expected [batch, channels, ...]")
    for each in (weight, bias, mean, variance):
        if each != x.with_shape(x.shape[1]):
            raise VerifyError(f"found {each}, expected {x.with_shape(x.shape[1])}")
    return x


def _batch_norm_train(
    x: TensorType,
    weight: TensorType,
    bias: TensorType,
    mean: TensorType,
    variance: TensorType,
    *,
    eps: float,
    momentum: float,
) -> Types:
    _batch_norm(x, weight, bias, mean, variance, eps=eps)
    if x.elements <= x.shape[1]:
        raise VerifyError(f"{x}: expected more than one value per channel")
    return x, mean, variance


_CHANNELS = ("float32[3]", "float32[3]", "float32[3]", "float32[3]")


@instruction(
    opcode=0x0745,
    dtypes=FLOATS,
    bound=_SUMMED,
    types=types_of(
        _batch_norm,
        accepts=(
            case("float32[2,3,4,4]", *_CHANNELS, eps=1e-5),
            case("float32[5,3]", *_CHANNELS, eps=1e-5),
        ),
        rejects=(
            case("float32[3]", *_CHANNELS, eps=1e-5),
            case("float32[2,4]", *_CHANNELS, eps=1e-5),
        ),
    ),
)
def batch_norm(
    x: Array, weight: Array, bias: Array, mean: Array, variance: Array, *, eps: float = 1e-5
) -> Array:
    """Normalise channels by given statistics: `T[batch, channels, ...]`.

    `rstd = 1 / Sqrt(variance + eps)`, then `Fma((x - mean) * rstd, weight, bias)`.
    Source: arXiv:1502.03167, ONNX BatchNormalization-15.
    """
    shape = (-1, *(1,) * (x.ndim - 2))
    normal = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + eps)
    return normal * weight.reshape(shape) + bias.reshape(shape)


@batch_norm.lowering
@widened
def _(call: Call) -> Symbol:
    x = call[0]
    shape = (x.shape[1], *(1 for _ in x.shape[2:]))
    weight, bias, mean, variance = (call[index].reshape(*shape) for index in range(1, 5))
    rstd = 1.0 / (variance + call.attributes["eps"]).emit("Sqrt")
    return _affine((x - mean) * rstd, weight, bias)


@instruction(
    opcode=0x0746,
    dtypes=FLOATS,
    bound=_SUMMED,
    types=types_of(
        _batch_norm_train,
        accepts=(
            case("float32[2,3,4,4]", *_CHANNELS, eps=1e-5, momentum=0.1),
            case("float32[5,3]", *_CHANNELS, eps=1e-5, momentum=0.1),
        ),
        rejects=(
            case("float32[1,3]", *_CHANNELS, eps=1e-5, momentum=0.1),
            case("float32[2,4]", *_CHANNELS, eps=1e-5, momentum=0.1),
        ),
    ),
)
def batch_norm_train(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    *,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> tuple[Array, Array, Array]:
    """Normalise channels by the batch's own statistics, and move the running ones towards them.

    Results: `y`, the next mean and the next variance (`(1 - momentum) * old + momentum * batch`;
    the variance that is kept is the unbiased one). Source: arXiv:1502.03167, `torch.batch_norm`.
    """
    axes = (0, *range(2, x.ndim))
    shape = (-1, *(1,) * (x.ndim - 2))
    batch_mean, batch_variance = x.mean(axes), x.var(axes)
    normal = (x - batch_mean.reshape(shape)) / np.sqrt(batch_variance.reshape(shape) + eps)
    n = x.size // x.shape[1]
    return (
        normal * weight.reshape(shape) + bias.reshape(shape),
        (1 - momentum) * mean + momentum * batch_mean,
        (1 - momentum) * variance + momentum * batch_variance * n / (n - 1),
    )


@batch_norm_train.lowering
@widened
def _(call: Call) -> tuple[Symbol, ...]:
    x, momentum = call[0], float(call.attributes["momentum"])
    channels = x.shape[1]
    axes, shape = (0, *range(2, len(x.shape))), (channels, *(1 for _ in x.shape[2:]))
    n = x.type.elements // channels
    mean = x.emit("Mean", axes=axes, keepdims=True)
    centred = x - mean
    squares = (centred * centred).sum(*axes, keepdims=True)
    rstd = 1.0 / (squares / float(n) + call.attributes["eps"]).emit("Sqrt")
    y = _affine(centred * rstd, call[1].reshape(*shape), call[2].reshape(*shape))
    kept = 1.0 - momentum
    unbiased = (squares / float(n - 1)).reshape(channels)
    return (
        y,
        call[3] * kept + mean.reshape(channels) * momentum,
        call[4] * kept + unbiased * momentum,
    )


def _group_norm(
    x: TensorType,
    weight: TensorType | None = None,
    bias: TensorType | None = None,
    *,
    groups: int,
    eps: float,
) -> Types:
    if x.rank < 2 or not 1 <= groups <= max(x.shape[1], 1) or x.shape[1] % groups:
        raise VerifyError(f"{x}: expected [batch, channels, ...] with channels in {groups} groups")
    for name, each in (("weight", weight), ("bias", bias)):
        if each is not None and each != x.with_shape(x.shape[1]):
            raise VerifyError(f"{name} is {each}, expected {x.with_shape(x.shape[1])}")
    return x


@instruction(
    opcode=0x0747,
    dtypes=FLOATS,
    bound=_SUMMED,
    types=types_of(
        _group_norm,
        accepts=(
            case("float32[2,4,3,3]", "float32[4]", "float32[4]", groups=2, eps=1e-5),
            case("float32[2,4,5]", groups=4, eps=1e-5),
        ),
        rejects=(
            case("float32[2,4,3]", groups=3, eps=1e-5),
            case("float32[2,4,3]", "float32[3]", groups=2, eps=1e-5),
        ),
    ),
)
def group_norm(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    groups: int,
    eps: float = 1e-5,
) -> Array:
    """Normalise groups of channels of each sample; as many groups as channels: instance norm.

    Source: arXiv:1803.08494, ONNX GroupNormalization-21.
    """
    rows = x.reshape(x.shape[0], groups, -1)
    normal = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + eps)
    shape = (-1, *(1,) * (x.ndim - 2))
    scaled = normal.reshape(x.shape) * (1 if weight is None else weight.reshape(shape))
    return scaled + (0 if bias is None else bias.reshape(shape))


@group_norm.lowering
@widened
def _(call: Call) -> Symbol:
    x, groups = call[0], int(call.attributes["groups"])
    size = x.type.elements // max(1, x.shape[0] * groups)
    rows = x.reshape(x.shape[0], groups, size)
    normal = _normalised(rows, (-1,), call.attributes["eps"]).reshape(*x.shape)
    shape = (x.shape[1], *(1 for _ in x.shape[2:]))
    weight, bias = call.get(1), call.get(2)
    return _affine(
        normal,
        None if weight is None else weight.reshape(*shape),
        None if bias is None else bias.reshape(*shape),
    )


OPS = (
    linear,
    softmax,
    log_softmax,
    layer_norm,
    rms_norm,
    batch_norm,
    batch_norm_train,
    group_norm,
)
