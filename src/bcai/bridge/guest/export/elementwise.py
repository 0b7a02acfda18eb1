"""Arithmetic, comparisons, logic and scalar functions, element by element."""

import math
from collections.abc import Callable

import numpy as np

from bcai.bridge.guest.export.site import Family, Operand, Rule, Site
from bcai.bridge.guest.export.types import Scalar
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()

_UNARY = {
    "abs": "Abs",
    "neg": "Neg",
    "sign": "Sign",
    "sgn": "Sign",
    "exp": "Exp",
    "expm1": "Expm1",
    "log": "Log",
    "log1p": "Log1p",
    "sqrt": "Sqrt",
    "rsqrt": "Rsqrt",
    "reciprocal": "Reciprocal",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "tanh": "Tanh",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "sigmoid": "Sigmoid",
    "erf": "Erf",
    "erfc": "Erfc",
    "special_erf": "Erf",
    "special_erfc": "Erfc",
    "special_ndtr": "Ndtr",
    "special_expit": "Sigmoid",
}
_ROUNDINGS = {"floor": "Floor", "ceil": "Ceil", "trunc": "Trunc", "round": "Round", "fix": "Trunc"}
_BINARY = {"maximum": "Max", "minimum": "Min", "remainder": "Mod", "fmod": "Fmod"}
_COMPARISONS = {
    "eq": "Equal",
    "ne": "NotEqual",
    "lt": "Less",
    "le": "LessEqual",
    "gt": "Greater",
    "ge": "GreaterEqual",
}
_BITWISE = {
    "bitwise_and": "And",
    "bitwise_or": "Or",
    "bitwise_xor": "Xor",
    "__and__": "And",
    "__or__": "Or",
    "__xor__": "Xor",
    "bitwise_left_shift": "BitShiftLeft",
    "bitwise_right_shift": "BitShiftRight",
    "__lshift__": "BitShiftLeft",
    "__rshift__": "BitShiftRight",
}
_OF_BOOL = {"Max": "Or", "Min": "And"}
_LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}


def _unary(name: str) -> Rule:
    def write(at: Site, x: Symbol) -> Symbol:
        return at.emit(name, x.cast(at.out.dtype))

    return write


def _rounding(name: str) -> Rule:
    def write(at: Site, x: Symbol) -> Symbol:
        return at.emit(name, x) if x.dtype.is_float else x

    return write


def _binary(name: str) -> Rule:
    def write(at: Site, a: Operand, b: Operand) -> Symbol:
        a, b = at.same(a, b)
        if a.dtype is DType.bool:
            return at.emit(_OF_BOOL.get(name, name), a, b)
        return at.emit(name, a, b)

    return write


def _comparison(name: str) -> Rule:
    def write(at: Site, a: Operand, b: Operand) -> Symbol:
        a, b = at.promoted(a, b)
        if a.dtype is DType.bool and name not in ("Equal", "NotEqual"):
            a, b = a.cast(DType.uint8), b.cast(DType.uint8)
        return at.emit(name, a, b)

    return write


def _of_bool(name: str) -> Rule:
    def write(at: Site, a: Symbol, b: Symbol) -> Symbol:
        return at.emit(name, a.cast(DType.bool), b.cast(DType.bool))

    return write


def _enter(names: dict[str, str], make: Callable[[str], Rule], *overloads: str) -> None:
    for aten, ours in names.items():
        rule(*(f"{aten}.{each}" for each in overloads))(make(ours))


_enter(_UNARY, _unary, "default")
_enter(_ROUNDINGS, _rounding, "default")
_enter({k: v for k, v in _BINARY.items() if v in ("Max", "Min")}, _binary, "default")
_enter(
    {k: v for k, v in _BINARY.items() if v in ("Mod", "Fmod")},
    _binary,
    *("Tensor", "Scalar", "Scalar_Tensor"),
)
_enter({"max": "Max", "min": "Min"}, _binary, "other")
_enter(_COMPARISONS, _comparison, "Tensor", "Scalar")
_enter(_BITWISE, _binary, "Tensor", "Scalar", "Scalar_Tensor", "Tensor_Scalar")
_enter(_LOGICAL, _of_bool, "default")


@rule("add.Tensor", "add.Scalar")
def _(at: Site, a: Operand, b: Operand, scale: Scalar = 1, *, alpha: Scalar = 1) -> Symbol:
    return add(at, a, b, scale * alpha)


@rule("sub.Tensor", "sub.Scalar")
def _(at: Site, a: Operand, b: Operand, scale: Scalar = 1, *, alpha: Scalar = 1) -> Symbol:
    return subtract(at, a, b, scale * alpha)


@rule("rsub.Tensor", "rsub.Scalar")
def _(at: Site, a: Operand, b: Operand, scale: Scalar = 1, *, alpha: Scalar = 1) -> Symbol:
    return subtract(at, b, a, scale * alpha)


def add(at: Site, a: Operand, b: Operand, alpha: Scalar = 1) -> Symbol:
    """`a + alpha * b`; of bool, whether either is true."""
    first, second = at.same(a, b)
    if first.dtype is DType.bool:
        return first | second
    return first + scaled(at, second, alpha)


def subtract(at: Site, a: Operand, b: Operand, alpha: Scalar = 1) -> Symbol:
    """`a - alpha * b`."""
    first, second = at.same(a, b)
    return first - scaled(at, second, alpha)


def scaled(at: Site, x: Symbol, factor: Scalar) -> Symbol:
    """`factor * x`, in the element type of `x`."""
    return x if factor == 1 else x * at.cast(factor, x.dtype)


@rule("mul.Tensor", "mul.Scalar")
def _(at: Site, a: Operand, b: Operand) -> Symbol:
    first, second = at.same(a, b)
    return first & second if first.dtype is DType.bool else first * second


@rule("div.Tensor", "div.Scalar", "true_divide.Tensor")
def _(at: Site, a: Operand, b: Operand) -> Symbol:
    first, second = at.same(a, b)
    return first / second


@rule("div.Tensor_mode", "div.Scalar_mode")
def _(at: Site, a: Operand, b: Operand, *, rounding_mode: str | None = None) -> Symbol:
    first, second = at.same(a, b)
    if rounding_mode is None:
        return first / second
    return _rounded_quotient(at, first, second, rounding_mode)


@rule("floor_divide", "floor_divide.Scalar")
def _(at: Site, a: Operand, b: Operand) -> Symbol:
    first, second = at.same(a, b)
    return _rounded_quotient(at, first, second, "floor")


def _rounded_quotient(at: Site, a: Symbol, b: Symbol, mode: str) -> Symbol:
    """Quotient rounded to an integer, without gradient."""
    if mode == "trunc":
        return at.emit("Trunc", a / b) if a.dtype.is_float else a / b
    if not a.dtype.is_float:
        return (a - at.emit("Mod", a, b)) / b
    # As torch: from the exact remainder, so that a quotient that rounds up to an integer is caught.
    quotient = at.emit("Round", (a - at.emit("Mod", a, b)) / b)
    by_zero = b.equal(0.0)
    return at.where(by_zero, a / b, at.emit("StopGradient", quotient))


@rule("pow.Tensor_Tensor", "pow.Scalar", "float_power.Tensor_Tensor")
def _(at: Site, a: Operand, b: Operand) -> Symbol:
    first, second = at.same(a, b)
    return first**second


@rule("pow.Tensor_Scalar", "float_power.Tensor_Scalar")
def _(at: Site, x: Symbol, exponent: Scalar) -> Symbol:
    base = x.cast(at.out.dtype)
    if exponent == 1:
        return base
    if exponent == 2:
        return base * base
    if exponent == 0.5:
        return at.emit("Sqrt", base)
    return base ** at.cast(exponent, base.dtype)


@rule("square")
def _(at: Site, x: Symbol) -> Symbol:
    del at
    return x * x


@rule("exp2", "special_exp2")
def _(at: Site, x: Symbol) -> Symbol:
    return at.cast(2.0, at.out.dtype) ** x.cast(at.out.dtype)


@rule("log2")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("Log", x.cast(at.out.dtype)) * (1 / math.log(2))


@rule("log10")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("Log", x.cast(at.out.dtype)) * (1 / math.log(10))


@rule("round.decimals")
def _(at: Site, x: Symbol, *, decimals: int = 0) -> Symbol:
    if not x.dtype.is_float:
        return x
    scale = 10.0 ** abs(decimals)
    if decimals < 0:
        return at.emit("Round", x / scale) * scale
    return at.emit("Round", x * scale) / scale


@rule("isnan")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("IsNan", x) if x.dtype.is_float else at.full(x.shape, False, DType.bool)


@rule("isinf")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("IsInf", x) if x.dtype.is_float else at.full(x.shape, False, DType.bool)


@rule("isfinite")
def _(at: Site, x: Symbol) -> Symbol:
    if not x.dtype.is_float:
        return at.full(x.shape, True, DType.bool)
    return abs(x) < math.inf


@rule("signbit")
def _(at: Site, x: Symbol) -> Symbol:
    if x.dtype is DType.bool:
        return at.full(x.shape, False, DType.bool)
    return is_negative(at, x)


def is_negative(at: Site, x: Symbol) -> Symbol:
    """Whether the sign is minus, of zero too."""
    if not x.dtype.is_float:
        return x < 0
    return at.emit("Where", x.equal(0.0), at.emit("Reciprocal", x), x) < 0.0


@rule("logical_not")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("Not", x.cast(DType.bool))


@rule("bitwise_not")
def _(at: Site, x: Symbol) -> Symbol:
    return at.emit("Not", x)


@rule("fmax")
def _(at: Site, a: Symbol, b: Symbol) -> Symbol:
    return _ignoring_nan(at, "Max", a, b)


@rule("fmin")
def _(at: Site, a: Symbol, b: Symbol) -> Symbol:
    return _ignoring_nan(at, "Min", a, b)


def _ignoring_nan(at: Site, name: str, a: Symbol, b: Symbol) -> Symbol:
    first, second = at.same(a, b)
    if not first.dtype.is_float:
        return at.emit(name, first, second)
    # torch gives the whole gradient of equal ones to the first.
    wins = first >= second if name == "Max" else first <= second
    return at.where(wins | at.emit("IsNan", second), first, second)


@rule("clamp", "clip", "clamp.Tensor", "clip.Tensor")
def _(at: Site, x: Symbol, low: Operand | None = None, high: Operand | None = None) -> Symbol:
    return clamp(at, x, low, high)


@rule("clamp_min", "clamp_min.Tensor")
def _(at: Site, x: Symbol, low: Operand) -> Symbol:
    return clamp(at, x, low, None)


@rule("clamp_max", "clamp_max.Tensor")
def _(at: Site, x: Symbol, high: Operand) -> Symbol:
    return clamp(at, x, None, high)


def clamp(at: Site, x: Symbol, low: Operand | None, high: Operand | None) -> Symbol:
    """`x` within limits, numbers or tensors; the gradient passes where `low <= x <= high`."""
    x = x.cast(at.out.dtype)
    limits = (-math.inf if low is None else low, math.inf if high is None else high)
    plain = [float(each) for each in limits if not isinstance(each, Symbol)]
    if len(plain) == 2:
        if any(math.isnan(each) for each in plain):
            return at.full(x.shape, math.nan, x.dtype)
        return at.emit("Clamp", x, min=plain[0], max=plain[1])
    for limit, name in ((low, "Less"), (high, "Greater")):
        if limit is not None:
            bound = at.cast(limit, x.dtype)
            beyond = at.emit(name, x, bound) | at.emit("NotEqual", bound, bound)
            x = at.where(beyond, bound, x)
    return x


@rule("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _(at: Site, mask: Symbol, yes: Operand, no: Operand) -> Symbol:
    return mask.cast(DType.bool).emit("Where", *at.same(yes, no))


@rule("masked_fill.Scalar", "masked_fill.Tensor")
def _(at: Site, x: Symbol, mask: Symbol, value: Operand) -> Symbol:
    return mask.emit("Where", at.cast(value, x.dtype), x).expand(*at.out.shape)


@rule("atan2", "arctan2")
def _(at: Site, y: Symbol, x: Symbol) -> Symbol:
    y, x = at.same(y, x)
    y, x = y.expand(*at.out.shape), x.expand(*at.out.shape)
    is_steep = abs(y) > abs(x)
    bottom = at.where(is_steep, y, x)
    bottom = at.where(bottom.equal(0.0), 1.0, bottom)
    slope = at.emit("Atan", at.where(is_steep, x, y) / bottom)
    left = is_negative(at, y)
    half = at.where(left, y.full_like(-math.pi / 2), math.pi / 2)
    turn = at.where(left, y.full_like(-math.pi), math.pi)
    flat = at.where(is_negative(at, x), at.where(y.equal(0.0), turn, slope + turn), slope)
    return at.where(is_steep, half - slope, flat)


@rule("hypot")
def _(at: Site, a: Symbol, b: Symbol) -> Symbol:
    a, b = at.same(a, b)
    return at.emit("Sqrt", a * a + b * b)


@rule("copysign.Tensor", "copysign.Scalar")
def _(at: Site, x: Operand, sign: Operand) -> Symbol:
    x, sign = at.same(x, sign)
    turned = at.emit("NotEqual", is_negative(at, x), is_negative(at, sign))
    return at.where(turned, -x, x)


@rule("lerp.Scalar", "lerp.Tensor")
def _(at: Site, start: Symbol, end: Symbol, weight: Operand) -> Symbol:
    start, end, share = at.same(start, end, weight)
    distance = end - start
    near = start + share * distance
    far = end - distance * (1.0 - share)
    return at.where(abs(share) < 0.5, near, far)


@rule("addcmul")
def _(at: Site, x: Symbol, a: Symbol, b: Symbol, *, value: Scalar = 1) -> Symbol:
    x, a, b = at.same(x, a, b)
    return x + scaled(at, a, value) * b


@rule("addcdiv")
def _(at: Site, x: Symbol, a: Symbol, b: Symbol, *, value: Scalar = 1) -> Symbol:
    x, a, b = at.same(x, a, b)
    return x + scaled(at, a, value) / b


@rule("ldexp.Tensor")
def _(at: Site, x: Symbol, power: Symbol) -> Symbol:
    x, power = at.same(x, power)
    return x * (at.cast(2.0, x.dtype) ** power)


@rule("xlogy.Tensor", "xlogy.Scalar_Self", "xlogy.Scalar_Other", "special_xlogy")
def _(at: Site, a: Operand, b: Operand) -> Symbol:
    return _times_log(at, a, b, "Log")


@rule("special_xlog1py", "special_xlog1py.self_scalar", "special_xlog1py.other_scalar")
def _(at: Site, a: Operand, b: Operand) -> Symbol:
    return _times_log(at, a, b, "Log1p")


def _times_log(at: Site, a: Operand, b: Operand, name: str) -> Symbol:
    """`a * log(b)`, 0 where `a` is 0 unless `b` is not a number."""
    first, second = at.same(a, b)
    vanishes = first.equal(0.0) & second.equal(second)
    return at.where(vanishes, 0.0, first * at.emit(name, second))


@rule("special_entr")
def _(at: Site, x: Symbol) -> Symbol:
    x = x.cast(at.out.dtype)
    positive = at.where(x > 0.0, x, 1.0)
    inside = at.where(x.equal(0.0), 0.0, -x * at.emit("Log", positive))
    return at.where(x < 0.0, -math.inf, inside)


@rule("logit")
def _(at: Site, x: Symbol, eps: float | None = None) -> Symbol:
    x = x.cast(at.out.dtype)
    if eps is not None:
        x = at.emit("Clamp", x, min=eps, max=1 - eps)
    return at.emit("Log", x / (1.0 - x))


@rule("frac")
def _(at: Site, x: Symbol) -> Symbol:
    return x - at.emit("Trunc", x)


@rule("heaviside")
def _(at: Site, x: Symbol, values: Symbol) -> Symbol:
    x, values = at.same(x, values)
    step = at.where(x < 0, x.full_like(0.0), 1)
    step = at.where(at.emit("NotEqual", x, x), 0, step) if x.dtype.is_float else step
    return at.where(x.equal(0), values, step)


@rule("nan_to_num")
def _(
    at: Site,
    x: Symbol,
    nan: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Symbol:
    if not x.dtype.is_float:
        return x
    top = _largest(x.dtype)
    x = at.where(at.emit("IsNan", x), nan or 0.0, x)
    x = at.where(x.equal(math.inf), top if above is None else above, x)
    return at.where(x.equal(-math.inf), -top if below is None else below, x)


def _largest(dtype: DType) -> float:
    if dtype is DType.bfloat16:
        return (2 - 2**-7) * 2.0**127
    return float(np.finfo(dtype.numpy).max)


@rule("isposinf")
def _(at: Site, x: Symbol) -> Symbol:
    return x.equal(math.inf) if x.dtype.is_float else at.full(x.shape, False, DType.bool)


@rule("isneginf")
def _(at: Site, x: Symbol) -> Symbol:
    return x.equal(-math.inf) if x.dtype.is_float else at.full(x.shape, False, DType.bool)


@rule("logaddexp", "logaddexp2")
def _(at: Site, a: Symbol, b: Symbol) -> Symbol:
    a, b = at.same(a, b)
    base2 = "logaddexp2" in str(at.node.target)
    unit = math.log(2) if base2 else 1.0
    larger, smaller = at.where(a >= b, a, b), at.where(a >= b, b, a)
    gap = at.where(larger.equal(smaller), 0.0, smaller - larger)  # also of equal infinities
    grown = at.emit("Log1p", at.emit("Exp", gap * unit)) * (1 / unit)
    return larger + grown
