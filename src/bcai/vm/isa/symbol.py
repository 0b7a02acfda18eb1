"""Symbols: tensors of a program being written, with Python's operators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from bcai.vm.isa.types import DType, TensorType


class Emitter(Protocol):
    """Writes instructions; the program builder is one."""

    def emit(
        self,
        name: str,
        operands: Sequence["Symbol | float | None"],
        attributes: Mapping[str, Any],
    ) -> tuple["Symbol", ...]:
        """Append an instruction and return its results.

        Python numbers take the element type of the symbols beside them.
        """
        ...

    def type_of(self, symbol: "Symbol") -> TensorType:
        """Type of a symbol."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """One tensor of a program being written."""

    builder: Emitter
    index: int

    @property
    def type(self) -> TensorType:
        """Element type and shape."""
        return self.builder.type_of(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.type.dtype

    def emit(self, name: str, *operands: "Symbol | float | None", **attributes: Any) -> "Symbol":
        """Emit an instruction whose first operand is this; return its first result."""
        return self.builder.emit(name, (self, *operands), attributes)[0]

    def full_like(self, value: float) -> "Symbol":
        """A tensor of this type, filled with one number."""
        return self.builder.emit(
            "Full", (), {"shape": self.shape, "value": value, "dtype": self.dtype}
        )[0]

    def scalar(self, value: float) -> "Symbol":
        """A scalar of this element type."""
        return self.builder.emit("Full", (), {"shape": (), "value": value, "dtype": self.dtype})[0]

    def cast(self, dtype: DType) -> "Symbol":
        """The same values in another element type."""
        return self if dtype is self.dtype else self.emit("Cast", dtype=dtype)

    def reshape(self, *shape: int) -> "Symbol":
        """The same elements in another shape."""
        return self if shape == self.shape else self.emit("Reshape", shape=shape)

    def permute(self, *axes: int) -> "Symbol":
        """The axes in another order."""
        return self.emit("Permute", axes=axes)

    def transpose(self, first: int = -2, second: int = -1) -> "Symbol":
        """Two axes exchanged."""
        axes = list(range(len(self.shape)))
        for axis in (first, second):
            if not -len(axes) <= axis < len(axes):
                raise IndexError(f"axis {axis} is outside {self.type}")
        axes[first], axes[second] = axes[second], axes[first]
        return self.permute(*axes)

    def sum(self, *axes: int, keepdims: bool = False) -> "Symbol":
        """Sum over the given axes, or over all."""
        return self.emit("Sum", axes=axes or tuple(range(len(self.shape))), keepdims=keepdims)

    def expand(self, *shape: int) -> "Symbol":
        """Broadcast to a shape."""
        return self if shape == self.shape else self.emit("Expand", shape=shape)

    def __add__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Add", other)

    def __radd__(self, other: float) -> "Symbol":
        return self.builder.emit("Add", (other, self), {})[0]

    def __sub__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Sub", other)

    def __rsub__(self, other: float) -> "Symbol":
        return self.builder.emit("Sub", (other, self), {})[0]

    def __mul__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Mul", other)

    def __rmul__(self, other: float) -> "Symbol":
        return self.builder.emit("Mul", (other, self), {})[0]

    def __truediv__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Div", other)

    def __rtruediv__(self, other: float) -> "Symbol":
        return self.builder.emit("Div", (other, self), {})[0]

    def __pow__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Pow", other)

    def __mod__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Mod", other)

    def __neg__(self) -> "Symbol":
        return self.emit("Neg")

    def __abs__(self) -> "Symbol":
        return self.emit("Abs")

    def __matmul__(self, other: "Symbol") -> "Symbol":
        return self.emit("MatMul", other)

    def __and__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("And", other)

    def __or__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Or", other)

    def __xor__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Xor", other)

    def __invert__(self) -> "Symbol":
        return self.emit("Not")

    def __lt__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Less", other)

    def __le__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("LessEqual", other)

    def __gt__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("Greater", other)

    def __ge__(self, other: "Symbol | float") -> "Symbol":
        return self.emit("GreaterEqual", other)

    def equal(self, other: "Symbol | float") -> "Symbol":
        """Elementwise comparison (`==` compares symbols, not values)."""
        return self.emit("Equal", other)

    def __getitem__(self, key: int | slice | tuple[int | slice, ...]) -> "Symbol":
        """Select with integers and slices with a positive step, as NumPy does."""
        parts = cast("tuple[object, ...]", key if isinstance(key, tuple) else (key,))
        if len(parts) > len(self.shape):
            raise IndexError(f"{len(parts)} indices into {self.type}")
        result, axis = self, 0
        for part in parts:
            size = result.shape[axis]
            if isinstance(part, bool) or not isinstance(part, int | slice):
                raise IndexError(f"index {part!r}: expected a whole number or a slice")
            if isinstance(part, int):
                if not -size <= part < size:
                    raise IndexError(f"index {part} is outside axis {axis} of {result.type}")
                result = result.emit("Select", axis=axis, index=part % size)
                continue
            start, stop, step = part.indices(size)
            if step < 1:
                raise IndexError(f"step {step}: expected a positive one; use Flip")
            if (start, stop, step) != (0, size, 1):
                result = result.emit(
                    "Slice", axis=axis, start=start, stop=max(start, stop), step=step
                )
            axis += 1
        return result
