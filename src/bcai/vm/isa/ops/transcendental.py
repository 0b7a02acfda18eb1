"""Exponentials, logarithms, powers, angles and their kin, element by element.

The graphs of `isa/scalar` decide the bits. Special values are those of C (ISO/IEC 9899:2018, annex
F); subnormals are kept. float16 and bfloat16 are computed in float32 and rounded once.

Note [Bounds]
    A bound holds for float32 and float64. It is a little above the largest error seen: in float32
    over 10^7 random operands of each function (of every exponent, and of the range where it bends)
    and every float of some binades; in float64 over 6 * 10^4 against 140 bits, and for sin, cos and
    tan over the operands of each exponent that lie closest to a multiple of pi/2.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bcai.base.errors import InputError
from bcai.vm.isa import scalar
from bcai.vm.isa.arithmetic import Exact
from bcai.vm.isa.op import Bound, Call, Gradients, instruction
from bcai.vm.isa.ops.elementwise import unbroadcast, where_else
from bcai.vm.isa.order import widen
from bcai.vm.isa.rules import BINARY, UNARY
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, NUMBERS, Array, DType

TWO_OVER_ROOT_PI = float.fromhex("0x1.20dd750429b6dp+0")


def evaluate(function: Callable[..., Any], *operands: Array) -> Array:
    """Evaluate a scalar function on arrays of one float type."""
    wide = [widen(each) for each in operands]
    result = function(Exact(DType.of(wide[0].dtype)), *wide)
    return np.asarray(result).astype(operands[0].dtype)


@instruction(opcode=0x0140, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=1.1))
def exp(x: Array) -> Array:
    """Natural exponential; of -infinity +0, of 0 exactly 1."""
    return evaluate(scalar.exp, x)


@exp.gradient
def _(call: Call) -> Gradients:
    return (call.d * call.result,)


@instruction(opcode=0x0141, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=1.2))
def expm1(x: Array) -> Array:
    """Exp(`x`) - 1 without cancellation; of -0 -0, of -infinity -1."""
    return evaluate(scalar.expm1, x)


@expm1.gradient
def _(call: Call) -> Gradients:
    return (call.d * (call.result + 1.0),)


@instruction(opcode=0x0142, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=1.0))
def log(x: Array) -> Array:
    """Natural logarithm; of either zero -infinity, of less not-a-number, of 1 exactly 0."""
    return evaluate(scalar.log, x)


@log.gradient
def _(call: Call) -> Gradients:
    return (call.d / call[0],)


@instruction(opcode=0x0143, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.6))
def log1p(x: Array) -> Array:
    """Log(1 + `x`) without cancellation; of -0 -0, of -1 -infinity, of less not-a-number."""
    return evaluate(scalar.log1p, x)


@log1p.gradient
def _(call: Call) -> Gradients:
    return (call.d / (call[0] + 1.0),)


@instruction(opcode=0x0144, dtypes=NUMBERS, types=BINARY, bound=Bound(ulp=0.9))
def pow(a: Array, b: Array) -> Array:
    """`a` to the power `b`.

    Floats: `a`^0 and 1^`b` are 1, also for not-a-number; a negative finite base has a value only
    for an integer exponent. Integers: wrapping; a negative exponent gives the reciprocal truncated
    towards zero (0 unless the base is 1 or -1), and is an InputError for base 0. Gradient: that of
    the base is 0 where `b` is 0, that of the exponent is 0 where `a` is 0 and `b` not negative.

    Source: ONNX Pow-15; special values: C, F.10.4.4.
    """
    if DType.of(a.dtype).is_float:
        return evaluate(scalar.pow, a, b)
    return _integer_power(*np.broadcast_arrays(a, b))


def _integer_power(base: Array, exponent: Array) -> Array:
    if ((base == 0) & (exponent < 0)).any():
        raise InputError("Pow: the integer 0 to a negative power")
    one = base.dtype.type(1)
    factor, left = base.copy(), np.where(exponent < 0, 0, exponent)
    result = np.full_like(base, one)
    for _ in range(8 * base.dtype.itemsize):
        result = np.where(left & 1 == 1, result * factor, result)
        factor, left = factor * factor, left >> 1
    is_unit = (base == one) | (base == -one)
    truncated = np.where(is_unit, np.where(exponent & 1 == 1, base, one), 0)
    return np.where(exponent < 0, truncated, result).astype(base.dtype)


@pow.gradient
def _(call: Call) -> Gradients:
    base, exponent = call[0], call[1]
    slope = exponent * base.emit("Pow", exponent - 1.0)
    d_base = call.d * where_else(exponent.equal(0.0), 0.0, slope)
    is_flat = base.equal(0.0) & (exponent >= 0.0)
    d_exponent = call.d * where_else(is_flat, 0.0, call.result * base.emit("Log"))
    return unbroadcast(d_base, base), unbroadcast(d_exponent, exponent)


@instruction(opcode=0x0145, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.9))
def sin(x: Array) -> Array:
    """Sine of `x` in radians, exact reduction of any angle; of an infinity not-a-number."""
    return evaluate(scalar.sin, x)


@sin.gradient
def _(call: Call) -> Gradients:
    return (call.d * call[0].emit("Cos"),)


@instruction(opcode=0x0146, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.9))
def cos(x: Array) -> Array:
    """Cosine of `x` in radians, exact reduction of any angle; of an infinity not-a-number."""
    return evaluate(scalar.cos, x)


@cos.gradient
def _(call: Call) -> Gradients:
    return (-(call.d * call[0].emit("Sin")),)


@instruction(opcode=0x0147, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=1.0))
def tan(x: Array) -> Array:
    """Tangent of `x` in radians, exact reduction of any angle; of an infinity not-a-number."""
    return evaluate(scalar.tan, x)


@tan.gradient
def _(call: Call) -> Gradients:
    return (call.d * (call.result * call.result + 1.0),)


@instruction(opcode=0x0148, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.8))
def asin(x: Array) -> Array:
    """Inverse sine, in [-pi/2, pi/2]; outside [-1, 1] not-a-number."""
    return evaluate(scalar.asin, x)


@asin.gradient
def _(call: Call) -> Gradients:
    return (call.d / _cathetus(call[0]),)


@instruction(opcode=0x0149, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.8))
def acos(x: Array) -> Array:
    """Inverse cosine, in [0, pi]; outside [-1, 1] not-a-number."""
    return evaluate(scalar.acos, x)


@acos.gradient
def _(call: Call) -> Gradients:
    return (-(call.d / _cathetus(call[0])),)


def _cathetus(x: Symbol) -> Symbol:
    """sqrt(1 - x^2), as sqrt((1 - x) (1 + x))."""
    return ((1.0 - x) * (1.0 + x)).emit("Sqrt")


@instruction(opcode=0x014A, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.8))
def atan(x: Array) -> Array:
    """Inverse tangent, in [-pi/2, pi/2]."""
    return evaluate(scalar.atan, x)


@atan.gradient
def _(call: Call) -> Gradients:
    return (call.d / (call[0] * call[0] + 1.0),)


@instruction(opcode=0x014B, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.8))
def sinh(x: Array) -> Array:
    """Hyperbolic sine; of -0 -0."""
    return evaluate(scalar.sinh, x)


@sinh.gradient
def _(call: Call) -> Gradients:
    return (call.d * call[0].emit("Cosh"),)


@instruction(opcode=0x014C, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.8))
def cosh(x: Array) -> Array:
    """Hyperbolic cosine."""
    return evaluate(scalar.cosh, x)


@cosh.gradient
def _(call: Call) -> Gradients:
    return (call.d * call[0].emit("Sinh"),)


@instruction(opcode=0x014D, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=1.5))
def tanh(x: Array) -> Array:
    """Hyperbolic tangent; of -0 -0, of an infinity -1 or 1."""
    return evaluate(scalar.tanh, x)


@tanh.gradient
def _(call: Call) -> Gradients:
    return (call.d * (1.0 - call.result * call.result),)


@instruction(opcode=0x014E, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.6))
def asinh(x: Array) -> Array:
    """Inverse hyperbolic sine; of -0 -0."""
    return evaluate(scalar.asinh, x)


@asinh.gradient
def _(call: Call) -> Gradients:
    return (call.d / (call[0] * call[0] + 1.0).emit("Sqrt"),)


@instruction(opcode=0x014F, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.6))
def acosh(x: Array) -> Array:
    """Inverse hyperbolic cosine; below 1 not-a-number."""
    return evaluate(scalar.acosh, x)


@acosh.gradient
def _(call: Call) -> Gradients:
    return (call.d / ((call[0] - 1.0) * (call[0] + 1.0)).emit("Sqrt"),)


@instruction(opcode=0x0150, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.6))
def atanh(x: Array) -> Array:
    """Inverse hyperbolic tangent; of -1 and 1 infinite, outside not-a-number."""
    return evaluate(scalar.atanh, x)


@atanh.gradient
def _(call: Call) -> Gradients:
    return (call.d / ((1.0 - call[0]) * (1.0 + call[0])),)


@instruction(opcode=0x0151, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=0.9))
def sigmoid(x: Array) -> Array:
    """1 / (1 + Exp(-`x`)), accurate on both sides."""
    return evaluate(scalar.sigmoid, x)


@sigmoid.gradient
def _(call: Call) -> Gradients:
    return (call.d * (call.result * (1.0 - call.result)),)


@instruction(opcode=0x0152, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=1.1))
def erf(x: Array) -> Array:
    """Error function; of -0 -0, of an infinity -1 or 1."""
    return evaluate(scalar.erf, x)


@erf.gradient
def _(call: Call) -> Gradients:
    x = call[0]
    return (call.d * ((-(x * x)).emit("Exp") * (TWO_OVER_ROOT_PI)),)


@instruction(opcode=0x0153, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=1.3))
def erfc(x: Array) -> Array:
    """1 - Erf(`x`) without cancellation, down to subnormals; of +infinity +0, of -infinity 2."""
    return evaluate(scalar.erfc, x)


@erfc.gradient
def _(call: Call) -> Gradients:
    x = call[0]
    return (-(call.d * ((-(x * x)).emit("Exp") * (TWO_OVER_ROOT_PI))),)


@instruction(opcode=0x0154, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=4))
def ndtr(x: Array) -> Array:
    """Share of the standard normal distribution below `x`: of +infinity 1, of -infinity +0.

    The lower tail keeps its digits, down to subnormals. Source: `torch.special.ndtr`.
    """
    return evaluate(scalar.ndtr, x)


@ndtr.gradient
def _(call: Call) -> Gradients:
    x = call[0]
    return (call.d * ((x * x * -0.5).emit("Exp") * (1 / math.sqrt(2 * math.pi))),)


OPS = (
    *(exp, expm1, log, log1p, pow, sin, cos, tan, asin, acos, atan),
    *(sinh, cosh, tanh, asinh, acosh, atanh, sigmoid, erf, erfc, ndtr),
)
