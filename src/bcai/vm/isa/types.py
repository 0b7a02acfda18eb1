"""Tensor types: what the verifier knows of a value before anything runs."""

import builtins
import math
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

from bcai.base.errors import FormatError

Array = npt.NDArray[Any]

RANK_MAX = 16
ELEMENTS_MAX = 1 << 40
COUNT_MAX = 1 << 100


class DType(IntEnum):
    """Element types; the number is the byte in the binary format, so it never changes."""

    float32 = 1
    float64 = 2
    float16 = 3
    bfloat16 = 4
    int8 = 5
    int16 = 6
    int32 = 7
    int64 = 8
    uint8 = 9
    bool = 10

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype with the same bits."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _NUMPY[self].itemsize

    @property
    def is_float(self) -> builtins.bool:
        """Whether values are rounded."""
        return self <= DType.bfloat16

    @classmethod
    def of(cls, dtype: npt.DTypeLike) -> "DType":
        """Return the element type of a NumPy dtype or of a name such as `float32`.

        Raises
        ------
        FormatError
            The instruction set has no such type.
        """
        try:
            if cast("object", dtype) is None:  # which NumPy reads as float64
                raise TypeError
            return _OF_NUMPY[np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)]
        except (KeyError, TypeError):
            names = ", ".join(each.name for each in cls)
            raise FormatError(f"no element type {dtype!r}; there are {names}") from None


_NUMPY: dict[DType, np.dtype[Any]] = {
    each: np.dtype(ml_dtypes.bfloat16 if each.name == "bfloat16" else each.name) for each in DType
}
_OF_NUMPY = {dtype: each for each, dtype in _NUMPY.items()}

FLOATS = frozenset({DType.float32, DType.float64, DType.float16, DType.bfloat16})
INTEGERS = frozenset({DType.int8, DType.int16, DType.int32, DType.int64, DType.uint8})
NUMBERS = FLOATS | INTEGERS
BOOLS = frozenset({DType.bool})
ANY = NUMBERS | BOOLS
INDICES = frozenset({DType.int32, DType.int64})


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of one value, written `float32[2,3]`."""

    dtype: DType
    shape: tuple[int, ...] = ()

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar.

        With more than `RANK_MAX` axes, which nothing legal has, it stops counting at `COUNT_MAX`:
        a product of many large sizes would take for ever.
        """
        if len(self.shape) <= RANK_MAX:
            return math.prod(self.shape)
        count = 0 if 0 in self.shape else 1
        for size in self.shape:
            count *= size
            if abs(count) > COUNT_MAX:
                return COUNT_MAX
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.elements * self.dtype.itemsize

    def with_shape(self, *shape: int) -> "TensorType":
        """Return this element type in another shape."""
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> "TensorType":
        """Return this shape with another element type."""
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    @classmethod
    def of(cls, array: Array) -> "TensorType":
        """Type of a NumPy array."""
        return cls(DType.of(array.dtype), array.shape)


@lru_cache(maxsize=4096)
def parse_type(text: str) -> TensorType:
    """Read `float32[2,3]`; `float32[]` is a scalar.

    Raises
    ------
    FormatError
        It is not a type, or not in the form that `str` prints.
    """
    name, bracket, rest = text.partition("[")
    if not bracket or not rest.endswith("]") or name not in DType.__members__:
        raise FormatError(f"not a tensor type: {text!r}; expected such as 'float32[2,3]'")
    parts = rest[:-1].split(",") if rest != "]" else []
    if any(not part.isascii() or not part.isdigit() or len(part) > 15 for part in parts):
        raise FormatError(f"not a shape: {text!r}; expected such as 'float32[2,3]'")
    type_ = TensorType(DType[name], tuple(int(part) for part in parts))
    if str(type_) != text:
        raise FormatError(f"not a shape: {text!r}; write it as {str(type_)!r}")
    return type_
