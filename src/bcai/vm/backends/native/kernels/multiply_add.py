"""Multiply and add in registers, which is all that a contraction computes."""

from typing import Protocol

from bcai.vm.backends.native.elementwise.lanes import register_type
from bcai.vm.backends.native.llvm import Function, Type, Value
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType


class MultiplyAdd(Protocol):
    """Operations on vectors of some lanes, written into a function."""

    f: Function
    lanes: int
    type: Type

    def constant(self, value: float) -> Value:
        """The same number in every lane."""
        ...

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """`a * b + c`."""
        ...

    def add(self, a: Value, b: Value) -> Value:
        """`a + b`."""
        ...


class WholeNumbers:
    """`MultiplyAdd` that wraps, which is the same for signed and unsigned numbers."""

    def __init__(self, f: Function, dtype: DType, lanes: int) -> None:
        self.f, self.lanes = f, lanes
        self.type: Type = register_type(dtype, lanes)

    def constant(self, value: float) -> Value:
        """The same number in every lane."""
        return self.f.constant(self.type, value)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """`a * b + c`."""
        return self.f.b.add(self.f.b.mul(a, b), c)

    def add(self, a: Value, b: Value) -> Value:
        """`a + b`."""
        return self.f.b.add(a, b)


def multiply_add(f: Function, target: Target, dtype: DType, lanes: int) -> MultiplyAdd:
    """Operations on float32, float64 or whole numbers; floats are rounded once."""
    if dtype.is_float:
        return Registers(f, dtype, lanes, fused=target.fused)
    return WholeNumbers(f, dtype, lanes)
