"""Activation functions, element by element: macros over arithmetic and scalar functions."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Gradients, Op, Types, case, instruction, types_of
from bcai.vm.isa.ops.elementwise import unbroadcast
from bcai.vm.isa.rules import BINARY, UNARY, check_axis
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, TensorType
from bcai.vm.isa.widened import widened, widened_gradient

_ROUNDINGS = Bound(ulp=4)
"""A few roundings, none of them amplified."""


def _activation(opcode: int, bound: Bound = _ROUNDINGS) -> Callable[[Callable[..., Array]], Op]:
    return instruction(opcode=opcode, dtypes=FLOATS, types=UNARY, bound=bound)


def where(mask: Symbol, yes: Symbol | float, no: Symbol | float) -> Symbol:
    """Emit `Where`; numbers take the other branch's element type."""
    like = yes if isinstance(yes, Symbol) else no
    if not isinstance(like, Symbol):
        raise TypeError("one branch must be a symbol")
    first = yes if isinstance(yes, Symbol) else like.scalar(yes)
    second = no if isinstance(no, Symbol) else like.scalar(no)
    return mask.emit("Where", first, second)


@_activation(0x0700, Bound())
def relu(x: Array) -> Array:
    """`max(x, 0)`: +0 for what is not above 0, and not-a-number stays. Source: ONNX Relu-14."""
    return np.where(x > 0, x, np.where(np.isnan(x), x, 0)).astype(x.dtype)


@relu.lowering
def _(call: Call) -> Symbol:
    return call[0].emit("Max", 0.0)


@relu.gradient
def _(call: Call) -> Gradients:
    return (where(call[0] > 0.0, call.d, 0.0),)


@_activation(0x0701)
def leaky_relu(x: Array, *, slope: float = 0.01) -> Array:
    """`x` above 0, `slope * x` elsewhere. Source: ONNX LeakyRelu-16."""
    return np.where(x > 0, x, x * slope)


@leaky_relu.lowering
@widened
def _(call: Call) -> Symbol:
    return where(call[0] > 0.0, call[0], call[0] * call.attributes["slope"])


@_activation(0x0702)
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """`x` above 0, `alpha * (exp(x) - 1)` elsewhere. Source: ONNX Elu-22."""
    return np.where(x > 0, x, alpha * np.expm1(x))


@elu.lowering
@widened
def _(call: Call) -> Symbol:
    x = call[0]
    negative = x.emit("Min", 0.0).emit("Expm1") * call.attributes["alpha"]
    return where(x > 0.0, x, negative)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@_activation(0x0703)
def selu(x: Array) -> Array:
    """Self-normalising `Elu`. Source: arXiv:1706.02515, ONNX Selu-22."""
    return _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(x))


@selu.lowering
@widened
def _(call: Call) -> Symbol:
    return call[0].emit("Elu", alpha=_SELU_ALPHA) * _SELU_SCALE


@_activation(0x0704)
def celu(x: Array, *, alpha: float = 1.0) -> Array:
    """`x` above 0, `alpha * (exp(x / alpha) - 1)` elsewhere. Source: ONNX Celu-12."""
    return np.where(x > 0, x, alpha * np.expm1(x / alpha))


@celu.lowering
@widened
def _(call: Call) -> Symbol:
    x, alpha = call[0], call.attributes["alpha"]
    return where(x > 0.0, x, (x.emit("Min", 0.0) / alpha).emit("Expm1") * alpha)


@_activation(0x0705, Bound(ulp=9, terms_ulp=1))
def gelu(x: Array, *, approximate: Literal["none", "tanh"] = "none") -> Array:
    """`x` times the normal distribution function: `x/2 * (1 + erf(x / sqrt 2))`, or by tanh.

    The exact form is computed as `x * Ndtr(x)`, so that the far negative tail keeps its digits: 5
    units in the last place; 9 below -13, where the share is subnormal. Source: arXiv:1606.08415,
    ONNX Gelu-20.
    """
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return 0.5 * x * np.asarray(erfc(-x / math.sqrt(2)), np.float64)


@gelu.lowering
@widened
def _(call: Call) -> Symbol:
    x = call[0]
    if call.attributes["approximate"] == "tanh":
        cube = x * x * x
        inner = (x + cube * 0.044715) * math.sqrt(2 / math.pi)
        return x * 0.5 * (inner.emit("Tanh") + 1.0)
    return x * x.emit("Ndtr")


@gelu.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    x, d = call[0], call.d
    if call.attributes["approximate"] == "tanh":
        scale = math.sqrt(2 / math.pi)
        square = x * x
        tanh = ((x + square * x * 0.044715) * scale).emit("Tanh")
        slope = (square * (3 * 0.044715) + 1.0) * scale
        inside = (1.0 - tanh * tanh) * slope
        return (d * ((tanh + 1.0) * 0.5 + x * 0.5 * inside),)
    density = (x * x * -0.5).emit("Exp") * (1 / math.sqrt(2 * math.pi))
    return (d * (x.emit("Ndtr") + x * density),)


@_activation(0x0706)
def silu(x: Array) -> Array:
    """`x * sigmoid(x)`. Source: arXiv:1702.03118, ONNX Swish-24.

    Below -87 (float64: -708) the second factor is subnormal, and its error is multiplied by `x`.
    """
    return x / (1 + np.exp(-x))


@silu.lowering
@widened
def _(call: Call) -> Symbol:
    return call[0] * call[0].emit("Sigmoid")


@_activation(0x0707)
def mish(x: Array) -> Array:
    """`x * tanh(softplus(x))`. Source: arXiv:1908.08681, ONNX Mish-22.

    Below -87 (float64: -708) the second factor is subnormal, and its error is multiplied by `x`.
    """
    return x * np.tanh(np.logaddexp(x, 0))


@mish.lowering
@widened
def _(call: Call) -> Symbol:
    return call[0] * call[0].emit("Softplus").emit("Tanh")


@_activation(0x0708)
def softplus(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """`log(1 + exp(beta * x)) / beta`, and `x` itself where `beta * x` is above `threshold`.

    Computed as `max(z, 0) + log1p(exp(-|z|))`. Source: `torch.nn.Softplus`, ONNX Softplus-22.
    """
    z = beta * x
    return np.where(z > threshold, x, np.logaddexp(z, 0) / beta)


@softplus.lowering
@widened
def _(call: Call) -> Symbol:
    x, beta = call[0], call.attributes["beta"]
    z = x if beta == 1.0 else x * beta
    plus = z.emit("Max", 0.0) + (-abs(z)).emit("Exp").emit("Log1p")
    return where(z > call.attributes["threshold"], x, plus if beta == 1.0 else plus / beta)


@softplus.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    x, beta = call[0], call.attributes["beta"]
    z = x if beta == 1.0 else x * beta
    inside = call.d * z.emit("Sigmoid")
    return (where(z > call.attributes["threshold"], call.d, inside),)


@_activation(0x0709)
def softsign(x: Array) -> Array:
    """`x / (1 + |x|)`. Source: ONNX Softsign-22."""
    return x / (1 + np.abs(x))


@softsign.lowering
@widened
def _(call: Call) -> Symbol:
    return call[0] / (abs(call[0]) + 1.0)


@_activation(0x070A)
def hardsigmoid(x: Array, *, alpha: float = 1 / 6, beta: float = 0.5) -> Array:
    """`alpha * x + beta`, cut to 0..1. Source: ONNX HardSigmoid-22."""
    return np.clip(alpha * x + beta, 0, 1)


@hardsigmoid.lowering
@widened
def _(call: Call) -> Symbol:
    line = call[0] * call.attributes["alpha"] + call.attributes["beta"]
    return line.emit("Clamp", min=0.0, max=1.0)


@_activation(0x070B)
def hardswish(x: Array) -> Array:
    """`x * hardsigmoid(x)`. Source: arXiv:1905.02244, ONNX HardSwish-22."""
    return x * np.clip(x / 6 + 0.5, 0, 1)


@hardswish.lowering
@widened
def _(call: Call) -> Symbol:
    return call[0] * call[0].emit("Hardsigmoid")


@_activation(0x070C)
def hardtanh(x: Array, *, min: float = -1.0, max: float = 1.0) -> Array:
    """`x`, cut to `min`..`max`. Source: `torch.nn.Hardtanh`."""
    return np.clip(x, min, max)


@hardtanh.lowering
def _(call: Call) -> Symbol:
    return call[0].emit("Clamp", min=call.attributes["min"], max=call.attributes["max"])


@_activation(0x070D)
def thresholded_relu(x: Array, *, threshold: float = 1.0, value: float = 0.0) -> Array:
    """`x` above the threshold, `value` elsewhere. Source: `torch.nn.Threshold`."""
    return np.where(x > threshold, x, value)


@thresholded_relu.lowering
@widened
def _(call: Call) -> Symbol:
    return where(call[0] > call.attributes["threshold"], call[0], call.attributes["value"])


@instruction(opcode=0x070E, dtypes=FLOATS, types=BINARY, name="PRelu", bound=_ROUNDINGS)
def prelu(x: Array, slope: Array) -> Array:
    """`x` above 0, `slope * x` elsewhere, with a learned slope. Source: ONNX PRelu-16."""
    return np.where(x > 0, x, x * slope)


@prelu.lowering
@widened
def _(call: Call) -> Symbol:
    return where(call[0] > 0.0, call[0], call[0] * call[1])


@prelu.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    x, slope, d = call[0], call[1], call.d
    return (
        unbroadcast(where(x > 0.0, d, d * slope), x),
        unbroadcast(where(x > 0.0, 0.0, d * x), slope),
    )


def _glu(x: TensorType, *, axis: int) -> Types:
    plain = check_axis(x, axis)
    if x.shape[plain] % 2:
        raise VerifyError(f"axis {axis} of {x} cannot be halved")
    return x.with_shape(*x.shape[:plain], x.shape[plain] // 2, *x.shape[plain + 1 :])


@instruction(
    opcode=0x070F,
    dtypes=FLOATS,
    bound=_ROUNDINGS,
    types=types_of(
        _glu,
        accepts=(case("float32[2,6]", axis=-1), case("float32[4]", axis=0)),
        rejects=(case("float32[3]", axis=0), case("float32[4]", axis=1)),
    ),
)
def glu(x: Array, *, axis: int = -1) -> Array:
    """First half of an axis times the sigmoid of the second. Source: arXiv:1612.08083."""
    first, second = np.split(x, 2, axis)
    return first / (1 + np.exp(-second))


@glu.lowering
@widened
def _(call: Call) -> Symbol:
    axis = int(call.attributes["axis"])
    half = call[0].shape[axis] // 2
    sizes = {"axis": axis, "sizes": (half, half)}
    first, second = call.builder.emit("Split", (call[0],), sizes)
    return first * second.emit("Sigmoid")


OPS = (
    relu,
    leaky_relu,
    elu,
    selu,
    celu,
    gelu,
    silu,
    mish,
    softplus,
    softsign,
    hardsigmoid,
    hardswish,
    hardtanh,
    thresholded_relu,
    prelu,
    glu,
)
