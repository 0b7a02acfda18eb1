"""Exponentials, logarithms, powers and angles, element by element.

Each function is written once a module and lanes, as a function of its own: LLVM inlines the short
ones, and those that are used once.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bcai.vm.backends.native.elementwise.application import Application, Emit
from bcai.vm.backends.native.elementwise.lanes import Lanes
from bcai.vm.backends.native.llvm import Value
from bcai.vm.isa import scalar
from bcai.vm.isa.types import DType


def _function(evaluate: Callable[..., Any]) -> Emit:
    name = evaluate.__name__

    def emit(a: Application) -> Value:
        if not a.is_float:
            return _small_power(a)
        module = a.f.module
        registers = a.lanes.registers(a.dtype)
        symbol = f"{name}_{registers.dtype.name}_{a.lanes.count}"
        if not module.has(symbol):
            types = [registers.type] * len(a.values)
            f = module.function(symbol, types, registers.type, internal=True)
            inner = Lanes(f, a.lanes.target, a.lanes.count).registers(a.dtype)
            f.give(evaluate(inner, *f.arguments))
        return a.f.call(module.handle(symbol), a.values)

    return emit


def _small_power(a: Application) -> Value:
    """`Pow` of uint8: eight squarings."""
    b, one = a.f.b, a.number(1)
    assert a.dtype is DType.uint8
    factor, left = a.values
    result = one
    for _ in range(8):
        odd = b.icmp_signed("==", b.and_(left, one), one)
        result = b.select(odd, b.mul(result, factor), result)
        factor, left = b.mul(factor, factor), b.lshr(left, one)
    return result


FUNCTIONS: Mapping[str, Emit] = MappingProxyType(
    {
        name: _function(getattr(scalar, name.lower()))
        for name in (
            *("Exp", "Expm1", "Log", "Log1p", "Pow", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan"),
            *("Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh", "Sigmoid", "Erf", "Erfc"),
            "Ndtr",
        )
    }
)
