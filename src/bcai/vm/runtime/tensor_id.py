"""The names that instructions use for tensors, element types and security levels."""

from enum import Enum, StrEnum
from typing import SupportsIndex, cast

from bcai.base.errors import InputError
from bcai.vm.isa.types import DType


class TensorId(int):
    """Number of a tensor in an `EnhancedVM`; equal to the plain number.

    Raises
    ------
    InputError
        It is no whole number, or below 0.
    """

    def __new__(cls, number: int) -> "TensorId":
        """Make an id of a whole number from 0."""
        is_whole = isinstance(cast("object", number), SupportsIndex) and not isinstance(
            number, bool
        )
        if not is_whole or number.__index__() < 0:
            raise InputError(f"TensorId({number!r}): expected a whole number from 0")
        return super().__new__(cls, number)

    def __repr__(self) -> str:
        return f"TensorId({int(self)})"

    @property
    def port(self) -> str:
        """Name of this tensor in the program that the instructions become."""
        return f"t{int(self)}"


class DataType(Enum):
    """Element types, under the names of the architecture document."""

    Float32 = DType.float32
    Float64 = DType.float64
    Float16 = DType.float16
    BFloat16 = DType.bfloat16
    Int8 = DType.int8
    Int16 = DType.int16
    Int32 = DType.int32
    Int64 = DType.int64
    UInt8 = DType.uint8
    Bool = DType.bool


class SecurityLevel(StrEnum):
    """How closely the jail holds Python code."""

    High = "high"
    Standard = "standard"
    Trusted = "trusted"
