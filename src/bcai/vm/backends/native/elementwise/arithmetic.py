"""Arithmetic and rounding, element by element."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from bcai.vm.backends.native.elementwise.application import Application, Emit
from bcai.vm.backends.native.elementwise.lanes import literal_element
from bcai.vm.backends.native.llvm import Value
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.ops.memory import convert
from bcai.vm.isa.types import DType


def _add(a: Application) -> Value:
    return a.f.b.fadd(*a.pair) if a.is_float else a.f.b.add(*a.pair)


def _sub(a: Application) -> Value:
    return a.f.b.fsub(*a.pair) if a.is_float else a.f.b.sub(*a.pair)


def _mul(a: Application) -> Value:
    return a.f.b.fmul(*a.pair) if a.is_float else a.f.b.mul(*a.pair)


def _div(a: Application) -> Value:
    return a.f.b.fdiv(*a.pair)


def _neg(a: Application) -> Value:
    (x,) = a.values
    return a.f.b.fneg(x) if a.is_float else a.f.b.sub(a.number(0), x)


def _abs(a: Application) -> Value:
    (x,) = a.values
    if a.is_float:
        return a.f.intrinsic("fabs", x)
    if a.dtype is DType.uint8:
        return x
    below = a.f.b.icmp_signed("<", x, a.number(0))
    return a.f.b.select(below, a.f.b.sub(a.number(0), x), x)


def _sign(a: Application) -> Value:
    (x,) = a.values
    b, zero, one = a.f.b, a.number(0), a.number(1)
    if a.dtype is DType.uint8:
        return b.select(b.icmp_unsigned(">", x, zero), one, zero)
    if not a.is_float:
        above = b.select(b.icmp_signed(">", x, zero), one, zero)
        return b.select(b.icmp_signed("<", x, zero), a.number(-1), above)
    above = b.select(b.fcmp_ordered(">", x, zero), one, zero)
    signed = b.select(b.fcmp_ordered("<", x, zero), a.number(-1), above)
    return b.select(b.fcmp_unordered("uno", x, x), x, signed)


def _sqrt(a: Application) -> Value:
    return a.f.intrinsic("sqrt", a.values[0])


def _rsqrt(a: Application) -> Value:
    return a.f.b.fdiv(a.number(1.0), _sqrt(a))


def _reciprocal(a: Application) -> Value:
    return a.f.b.fdiv(a.number(1.0), a.values[0])


def _rounding(name: str) -> Emit:
    def emit(a: Application) -> Value:
        return a.f.intrinsic(name, a.values[0])

    return emit


def smaller(a: Application, x: Value, y: Value) -> Value:
    """`Min` of two values of the first operand's type."""
    if a.is_float:
        return a.f.intrinsic("minimum", x, y)
    return a.f.intrinsic("umin" if a.dtypes[0] is DType.uint8 else "smin", x, y)


def larger(a: Application, x: Value, y: Value) -> Value:
    """`Max` of two values of the first operand's type."""
    if a.is_float:
        return a.f.intrinsic("maximum", x, y)
    return a.f.intrinsic("umax" if a.dtypes[0] is DType.uint8 else "smax", x, y)


def _clamp(a: Application) -> Value:
    low, high = (_limit(a, a.attributes[each]) for each in ("min", "max"))
    return smaller(a, larger(a, a.values[0], low), high)


def _limit(a: Application, limit: Attribute) -> Value:
    with np.errstate(all="ignore"):  # it may be infinite in the element type
        rounded = convert(np.asarray(limit, np.float64), a.dtype)
    return literal_element(a.lanes, rounded.item(), a.dtype)


def _fma(a: Application) -> Value:
    x, y, z = a.values
    return a.lanes.registers(a.dtype).fma(x, y, z)


ARITHMETIC: Mapping[str, Emit] = MappingProxyType(
    {
        "Add": _add,
        "Sub": _sub,
        "Mul": _mul,
        "Div": _div,
        "Neg": _neg,
        "Abs": _abs,
        "Sign": _sign,
        "Sqrt": _sqrt,
        "Rsqrt": _rsqrt,
        "Reciprocal": _reciprocal,
        "Floor": _rounding("floor"),
        "Ceil": _rounding("ceil"),
        "Round": _rounding("roundeven"),
        "Trunc": _rounding("trunc"),
        "Min": lambda a: smaller(a, *a.pair),
        "Max": lambda a: larger(a, *a.pair),
        "Clamp": _clamp,
        "Fma": _fma,
    }
)
"""Those that can fail, integer division, are not here."""
