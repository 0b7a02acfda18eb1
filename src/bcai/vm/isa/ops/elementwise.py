"""Arithmetic and rounding, element by element, with NumPy broadcasting.

Note [float16 and bfloat16]
    They are widened to float32, computed there, and rounded to nearest even once at the end.

Note [Integers]
    They wrap. Division truncates towards zero; a zero divisor is an InputError when it is met.
"""

import numpy as np

from bcai.base.errors import InputError, VerifyError
from bcai.vm.isa.arithmetic import fma as fused
from bcai.vm.isa.op import Bound, Call, Gradients, case, instruction, types_of
from bcai.vm.isa.ops.memory import convert
from bcai.vm.isa.order import widen
from bcai.vm.isa.rules import BINARY, TERNARY, UNARY
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, NUMBERS, Array, DType, TensorType


def unbroadcast(d: Symbol, like: Symbol) -> Symbol:
    """Sum a gradient over the axes along which an operand was broadcast."""
    if d.shape == like.shape:
        return d
    extra = len(d.shape) - len(like.shape)
    axes = [
        axis
        for axis in range(len(d.shape))
        if axis < extra or (like.shape[axis - extra] == 1 and d.shape[axis] != 1)
    ]
    return (d.sum(*axes) if axes else d).reshape(*like.shape)


def where_else(mask: Symbol, yes: Symbol | float, no: Symbol | float) -> Symbol:
    """`Where` with a number on one side, in the element type of the other."""
    like = yes if isinstance(yes, Symbol) else no
    assert isinstance(like, Symbol)
    sides = [each if isinstance(each, Symbol) else like.scalar(each) for each in (yes, no)]
    return mask.emit("Where", *sides)


@instruction(opcode=0x0100, dtypes=NUMBERS, types=BINARY)
def add(a: Array, b: Array) -> Array:
    """Sum of `a` and `b`. Integers wrap."""
    return np.add(widen(a), widen(b)).astype(a.dtype)


@add.gradient
def _(call: Call) -> Gradients:
    return unbroadcast(call.d, call[0]), unbroadcast(call.d, call[1])


@instruction(opcode=0x0101, dtypes=NUMBERS, types=BINARY)
def sub(a: Array, b: Array) -> Array:
    """Difference of `a` and `b`. Integers wrap."""
    return np.subtract(widen(a), widen(b)).astype(a.dtype)


@sub.gradient
def _(call: Call) -> Gradients:
    return unbroadcast(call.d, call[0]), unbroadcast(-call.d, call[1])


@instruction(opcode=0x0102, dtypes=NUMBERS, types=BINARY)
def mul(a: Array, b: Array) -> Array:
    """Product of `a` and `b`. Integers wrap."""
    return np.multiply(widen(a), widen(b)).astype(a.dtype)


@mul.gradient
def _(call: Call) -> Gradients:
    return unbroadcast(call.d * call[1], call[0]), unbroadcast(call.d * call[0], call[1])


@instruction(opcode=0x0103, dtypes=NUMBERS, types=BINARY)
def div(a: Array, b: Array) -> Array:
    """Quotient of `a` and `b`, correctly rounded.

    Integers: truncated towards zero, wrapping (the least int8 by -1 is itself); a zero divisor is
    an InputError.
    """
    if DType.of(a.dtype).is_float:
        return np.divide(widen(a), widen(b)).astype(a.dtype)
    refuse_zero("Div", b)
    if a.dtype.kind == "u":
        return np.floor_divide(a, b)
    floor = np.where(b == -1, np.negative(a), np.floor_divide(a, np.where(b == -1, 1, b)))
    inexact = floor * b != a
    return (floor + (inexact & ((a < 0) != (b < 0)))).astype(a.dtype)


@div.gradient
def _(call: Call) -> Gradients:
    quotient = call.d / call[1]
    return unbroadcast(quotient, call[0]), unbroadcast(-(quotient * call.result), call[1])


def refuse_zero(name: str, divisor: Array) -> None:
    """Raise InputError if an integer divisor is 0."""
    if (divisor == 0).any():
        at = tuple(int(axis) for axis in np.argwhere(divisor == 0)[0])
        raise InputError(f"{name}: the integer divisor at {at} is 0")


@instruction(opcode=0x0104, dtypes=NUMBERS, types=BINARY)
def mod(a: Array, b: Array) -> Array:
    """Remainder with the sign of the divisor, as Python's `%`.

    Floats: the exact remainder of the truncated division, to which `b` is added (one rounding) if
    it is not 0 and has the other sign; a zero has the sign of `b`. By 0, or of an infinity: not a
    number. By an infinity: `a`, or that infinity where the signs differ. Integers: a zero divisor
    is an InputError.
    """
    if not DType.of(a.dtype).is_float:
        refuse_zero("Mod", b)
        return np.remainder(a, np.where(b == -1, 1, b).astype(b.dtype))
    wide_a, wide_b = np.broadcast_arrays(widen(a), widen(b))
    rest = np.fmod(wide_a, wide_b)  # exact, hence the same whoever computes it
    other_sign = (rest != 0) & ((rest < 0) != (wide_b < 0))
    signed = np.where(rest == 0, np.copysign(rest, wide_b), rest)
    return np.where(other_sign, rest + wide_b, signed).astype(a.dtype)


@mod.gradient
def _(call: Call) -> Gradients:
    steps = (call[0] / call[1]).emit("Floor")
    return unbroadcast(call.d, call[0]), unbroadcast(-(call.d * steps), call[1])


@instruction(opcode=0x0105, dtypes=NUMBERS, types=BINARY)
def fmod(a: Array, b: Array) -> Array:
    """Remainder with the sign of the dividend, as C's `fmod` and `%`.

    Exact for floats; by 0, or of an infinity: not a number; by an infinity: `a`. Integers: a zero
    divisor is an InputError.
    """
    if not DType.of(a.dtype).is_float:
        refuse_zero("Fmod", b)
        return np.fmod(a, np.where(b == -1, 1, b).astype(b.dtype))
    return np.fmod(widen(a), widen(b)).astype(a.dtype)


@fmod.gradient
def _(call: Call) -> Gradients:
    steps = (call[0] / call[1]).emit("Trunc")
    return unbroadcast(call.d, call[0]), unbroadcast(-(call.d * steps), call[1])


@instruction(opcode=0x0106, dtypes=NUMBERS, types=UNARY)
def neg(x: Array) -> Array:
    """The other sign, of zero and not-a-number too. Integers wrap."""
    return np.negative(x)


@neg.gradient
def _(call: Call) -> Gradients:
    return (-call.d,)


@instruction(opcode=0x0107, dtypes=NUMBERS, types=UNARY, name="Abs")
def abs_(x: Array) -> Array:
    """Magnitude. Integers wrap: that of the least int8 is itself. The gradient at 0 is 0."""
    return np.abs(x)


@abs_.gradient
def _(call: Call) -> Gradients:
    return (call.d * call[0].emit("Sign"),)


@instruction(opcode=0x0108, dtypes=NUMBERS, types=UNARY)
def sign(x: Array) -> Array:
    """-1, 0 or 1; +0 for either zero, not-a-number for itself."""
    wide = widen(x)
    if wide.dtype.kind == "u":
        return (wide > 0).astype(x.dtype)
    whole = (wide > 0).astype(np.int8) - (wide < 0).astype(np.int8)
    return np.where(wide != wide, wide, whole.astype(wide.dtype)).astype(x.dtype)


@sign.gradient
def _(call: Call) -> Gradients:
    return (call[0].full_like(0.0),)


@instruction(opcode=0x0109, dtypes=FLOATS, types=UNARY)
def sqrt(x: Array) -> Array:
    """Square root, correctly rounded; of -0 -0, of less not-a-number."""
    return np.sqrt(widen(x)).astype(x.dtype)


@sqrt.gradient
def _(call: Call) -> Gradients:
    return (call.d / (call.result + call.result),)


@instruction(opcode=0x010A, dtypes=FLOATS, types=UNARY, bound=Bound(ulp=1.5))
def rsqrt(x: Array) -> Array:
    """1 / Sqrt(`x`), each rounded; of +0 +infinity, of -0 -infinity, of less not-a-number."""
    wide = widen(x)
    return np.divide(wide.dtype.type(1), np.sqrt(wide)).astype(x.dtype)


@rsqrt.gradient
def _(call: Call) -> Gradients:
    cube = call.result * call.result * call.result
    return (call.d * (cube * -0.5),)


@instruction(opcode=0x010B, dtypes=FLOATS, types=UNARY)
def reciprocal(x: Array) -> Array:
    """1 / `x`, correctly rounded; of a zero the infinity of its sign."""
    wide = widen(x)
    return np.divide(wide.dtype.type(1), wide).astype(x.dtype)


@reciprocal.gradient
def _(call: Call) -> Gradients:
    return (-(call.d * (call.result * call.result)),)


@instruction(opcode=0x010C, dtypes=FLOATS, types=UNARY)
def floor(x: Array) -> Array:
    """The next integer below or at `x`; -0 and infinities stay. The gradient is 0."""
    return np.floor(widen(x)).astype(x.dtype)


@instruction(opcode=0x010D, dtypes=FLOATS, types=UNARY)
def ceil(x: Array) -> Array:
    """The next integer above or at `x`; between -1 and 0 it is -0. The gradient is 0."""
    return np.ceil(widen(x)).astype(x.dtype)


@instruction(opcode=0x010E, dtypes=FLOATS, types=UNARY, name="Round")
def round_(x: Array) -> Array:
    """The nearest integer, halves to even; the sign of zero stays. The gradient is 0."""
    return np.rint(widen(x)).astype(x.dtype)


@instruction(opcode=0x010F, dtypes=FLOATS, types=UNARY)
def trunc(x: Array) -> Array:
    """The next integer towards zero; the sign of zero stays. The gradient is 0."""
    return np.trunc(widen(x)).astype(x.dtype)


@floor.gradient
@ceil.gradient
@round_.gradient
@trunc.gradient
def _(call: Call) -> Gradients:
    return (call[0].full_like(0.0),)


def maximum(a: Array, b: Array) -> Array:
    """`Max`, in NumPy."""
    if a.dtype.kind in "iub":
        return np.maximum(a, b)
    both = np.logical_and(np.signbit(a), np.signbit(b))
    zeros = np.where(both, -0.0, 0.0).astype(a.dtype)
    larger = np.where((a == 0) & (b == 0), zeros, np.where(a > b, a, b))
    return np.where((a != a) | (b != b), np.asarray(np.nan, a.dtype), larger)


def minimum(a: Array, b: Array) -> Array:
    """`Min`, in NumPy."""
    return np.minimum(a, b) if a.dtype.kind in "iub" else np.negative(maximum(-a, -b))


@instruction(opcode=0x0110, dtypes=NUMBERS, types=BINARY, name="Min")
def min_(a: Array, b: Array) -> Array:
    """The smaller; not-a-number wins, and -0 is below +0. Equal ones share the gradient."""
    return minimum(widen(a), widen(b)).astype(a.dtype)


@min_.gradient
def _(call: Call) -> Gradients:
    return _share(call, call[0] < call[1])


@instruction(opcode=0x0111, dtypes=NUMBERS, types=BINARY, name="Max")
def max_(a: Array, b: Array) -> Array:
    """The larger; not-a-number wins, and +0 is above -0. Equal ones share the gradient."""
    return maximum(widen(a), widen(b)).astype(a.dtype)


@max_.gradient
def _(call: Call) -> Gradients:
    return _share(call, call[0] > call[1])


def _share(call: Call, first: Symbol) -> Gradients:
    half = where_else(call[0].equal(call[1]), call.d * 0.5, 0.0)
    d_first = where_else(first, call.d, half)
    return unbroadcast(d_first, call[0]), unbroadcast(call.d - d_first, call[1])


def _clamp(x: TensorType, *, min: float, max: float) -> TensorType:
    if min != min or max != max:
        raise VerifyError(f"a limit is not a number: min {min}, max {max}")
    return x


@instruction(
    opcode=0x0112,
    dtypes=NUMBERS,
    types=types_of(
        _clamp,
        accepts=(
            case("float32[2,3]", min=-0.5, max=0.5),
            case("float32[]", min=0.0, max=float("inf")),
            case("float32[0]", min=1.0, max=-1.0),
        ),
        rejects=(case("float32[2]", min=float("nan"), max=1.0), case(min=0.0, max=1.0)),
    ),
)
def clamp(x: Array, *, min: float, max: float) -> Array:
    """`x` within [`min`, `max`]: Min(Max(x, min), max), so that `max` wins if it is the smaller.

    An infinite limit does not limit. Limits are rounded to the element type first (saturating for
    integers). Not-a-number stays. The gradient passes where min <= x <= max.
    """
    dtype = DType.of(x.dtype)
    low, high = (widen(convert(np.asarray(each, np.float64), dtype)) for each in (min, max))
    return minimum(maximum(widen(x), low), high).astype(x.dtype)


@clamp.gradient
def _(call: Call) -> Gradients:
    low, high = call.attributes["min"], call.attributes["max"]
    inside = (call[0] >= low) & (call[0] <= high)
    return (where_else(inside, call.d, 0.0),)


@instruction(opcode=0x0113, dtypes=FLOATS, types=TERNARY)
def fma(a: Array, b: Array, c: Array) -> Array:
    """`a` * `b` + `c`, rounded once (float16 and bfloat16: once to float32, then once more)."""
    return fused(widen(a), widen(b), widen(c)).astype(a.dtype)


@fma.gradient
def _(call: Call) -> Gradients:
    d = call.d
    return (
        unbroadcast(d * call[1], call[0]),
        unbroadcast(d * call[0], call[1]),
        unbroadcast(d, call[2]),
    )


OPS = (
    *(add, sub, mul, div, mod, fmod, neg, abs_, sign, sqrt, rsqrt, reciprocal),
    *(floor, ceil, round_, trunc, min_, max_, clamp, fma),
)
