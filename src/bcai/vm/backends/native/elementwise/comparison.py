"""Comparisons, predicates, choices and logic, element by element."""

from collections.abc import Mapping
from types import MappingProxyType

from bcai.vm.backends.native.elementwise.application import Application, Emit
from bcai.vm.backends.native.llvm import Value
from bcai.vm.isa.types import DType

_UNSIGNED = frozenset({DType.uint8, DType.bool})


def _comparison(operator: str) -> Emit:
    def emit(a: Application) -> Value:
        if a.is_float and operator == "!=":
            return a.f.b.fcmp_unordered(operator, *a.pair)
        if a.is_float:
            return a.f.b.fcmp_ordered(operator, *a.pair)
        if a.dtypes[0] in _UNSIGNED:
            return a.f.b.icmp_unsigned(operator, *a.pair)
        return a.f.b.icmp_signed(operator, *a.pair)

    return emit


def _is_nan(a: Application) -> Value:
    return a.f.b.fcmp_unordered("uno", a.values[0], a.values[0])


def _is_inf(a: Application) -> Value:
    return a.f.b.fcmp_ordered("==", a.f.intrinsic("fabs", a.values[0]), a.number(float("inf")))


def _where(a: Application) -> Value:
    mask, yes, no = a.values
    return a.f.b.select(mask, yes, no)


def _shift_left(a: Application) -> Value:
    x, by = a.values
    inside = a.f.b.icmp_unsigned("<", by, a.number(8))
    return a.f.b.select(inside, a.f.b.shl(x, _bounded(a, inside)), a.number(0))


def _shift_right(a: Application) -> Value:
    x, by = a.values
    inside = a.f.b.icmp_unsigned("<", by, a.number(8))
    return a.f.b.select(inside, a.f.b.lshr(x, _bounded(a, inside)), a.number(0))


def _bounded(a: Application, inside: Value) -> Value:
    return a.f.b.select(inside, a.values[1], a.number(0))


COMPARISON: Mapping[str, Emit] = MappingProxyType(
    {
        "Equal": _comparison("=="),
        "NotEqual": _comparison("!="),
        "Less": _comparison("<"),
        "LessEqual": _comparison("<="),
        "Greater": _comparison(">"),
        "GreaterEqual": _comparison(">="),
        "IsNan": _is_nan,
        "IsInf": _is_inf,
        "Where": _where,
    }
)

LOGIC: Mapping[str, Emit] = MappingProxyType(
    {
        "And": lambda a: a.f.b.and_(*a.pair),
        "Or": lambda a: a.f.b.or_(*a.pair),
        "Xor": lambda a: a.f.b.xor(*a.pair),
        "Not": lambda a: a.f.b.xor(a.values[0], a.number(-1)),
        "BitShiftLeft": _shift_left,
        "BitShiftRight": _shift_right,
    }
)
"""Shifts are of uint8: a signed count can be negative, which is an error."""
