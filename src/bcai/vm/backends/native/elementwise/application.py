"""One use of an element-by-element instruction, as the functions that write it see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bcai.vm.backends.native.elementwise.lanes import Lanes
from bcai.vm.backends.native.llvm import Function, Value
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class Application:
    """Operands in registers (Note [Elements in registers]) and the type of the result."""

    lanes: Lanes
    attributes: Mapping[str, Attribute]
    values: tuple[Value, ...]
    dtypes: tuple[DType, ...]
    dtype: DType

    @property
    def f(self) -> Function:
        """The function that is being written."""
        return self.lanes.f

    @property
    def is_float(self) -> bool:
        """Whether the first operand is a float."""
        return self.dtypes[0].is_float

    @property
    def pair(self) -> tuple[Value, Value]:
        """The two operands."""
        first, second = self.values
        return first, second

    def number(self, value: float) -> Value:
        """A constant like the first operand."""
        return self.f.constant(self.values[0].type, value)


Emit = Callable[[Application], Value]
"""Writes an instruction; the result is exact or in the precision of the registers, not rounded."""
