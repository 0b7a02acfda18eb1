"""`Tensor`: arrays computed by the virtual machine, with the same bits on every machine.

    a = Tensor.create([128, 128], seed=0)
    b = (a @ a.T).softmax()
    b.to_numpy()

Nothing is computed before somebody looks (`to_numpy`, `item`, printing, NumPy, DLPack); then all
that is needed runs as one Program.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex, cast
from weakref import ref

import numpy as np
import numpy.typing as npt

from bcai.base.errors import FormatError, VerifyError
from bcai.sdk.lazy import Value, apply, compute, to_program, value_of
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.runtime.form import dtype_of

Key = int | slice | tuple[int | slice, ...]


def _binary(name: str, *, swapped: bool = False) -> Callable[["Tensor", object], "Tensor"]:
    """An operator; the other side may be a number or an array."""

    def apply_to(self: "Tensor", other: object) -> "Tensor":
        try:
            operand = _operand(other)
        except FormatError:
            operand = None
        if operand is None:  # Python asks the other side, then says what does not go together
            return NotImplemented
        pair = (operand, self) if swapped else (self, operand)
        return Tensor.apply(name, *pair)

    return apply_to


class Tensor:
    """An immutable array of the virtual machine, computed when somebody looks."""

    __slots__ = ("__weakref__", "_value")
    __array_ufunc__ = None  # `array + tensor` is the tensor's affair

    def __init__(self, data: npt.ArrayLike, dtype: object = None) -> None:
        """Take over an array, a number or nested lists; Python's floats are float32.

        Raises
        ------
        FormatError
            It is no array of numbers, or the instruction set has no such element type.
        """
        wanted = None if dtype is None else dtype_of(dtype)
        try:
            array: Array = np.asarray(data)
            array = array if wanted is None else array.astype(wanted.numpy)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise FormatError(f"not an array of numbers: {error}") from error
        if wanted is None and not hasattr(data, "dtype") and array.dtype == np.float64:
            array = array.astype(np.float32)
        self._hold(Value(TensorType.of(array), array.copy()))

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        dtype: object = "float32",
        data: npt.ArrayLike | None = None,
        *,
        seed: int | None = None,
    ) -> "Tensor":
        """Make a tensor of zeros, of `data`, or with a `seed` of standard normal numbers.

        Raises
        ------
        VerifyError
            `data` has another shape, `shape` or `seed` is no whole number, or both `data` and
            `seed` are given.
        """
        sizes, type_ = _whole_numbers("shape", shape), dtype_of(dtype)
        if data is not None and seed is not None:
            raise VerifyError("create: give data or seed, not both")
        if seed is not None:
            seeds = (*_whole_numbers("seed", [seed]), 0)
            keys = [Tensor(np.asarray(each, np.int64)) for each in seeds]
            return cls.apply("Normal", *keys, stream=0, shape=sizes, dtype=type_)
        if data is None:
            return cls.apply("Full", shape=sizes, value=0.0, dtype=type_)
        tensor = cls(data, type_)
        if tensor.shape != sizes:
            raise VerifyError(f"create: data has the shape {tensor.shape}, expected {sizes}")
        return tensor

    @classmethod
    def apply(cls, name: str, *operands: object, **attributes: Any) -> "Tensor":
        """First result of any instruction of the set, by its name. Raises VerifyError."""
        return cls.apply_all(name, *operands, **attributes)[0]

    @classmethod
    def apply_all(cls, name: str, *operands: object, **attributes: Any) -> tuple["Tensor", ...]:
        """Every result of any instruction of the set, such as `TopK`. Raises VerifyError."""
        symbols: list[Symbol | float | None] = []
        for each in map(_operand, operands):
            symbols.append(each._value.symbol if isinstance(each, Tensor) else each)
        return tuple(cls._of(value) for value in apply(name, symbols, attributes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._value.type.shape

    @property
    def dtype(self) -> str:
        """Name of the element type, such as `float32`."""
        return self._value.type.dtype.name

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._value.type.rank

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._value.type.elements

    def to_numpy(self) -> Array:
        """The elements, in an array of its own; `bfloat16` is ml_dtypes'."""
        return compute(self._value).copy()

    def to_program(self) -> tuple[VerifiedProgram, dict[str, Array]]:
        """The program that computes it (its output is `y`), and that program's inputs."""
        return to_program(self._value)

    def item(self) -> float | int | bool:
        """The only element, as a Python number."""
        return self.to_numpy().item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self.to_numpy().tolist()

    def matmul(self, other: object) -> "Tensor":
        """Matrix product, as NumPy's."""
        return Tensor.apply("MatMul", self, other)

    def sum(self, *axes: int, keepdims: bool = False) -> "Tensor":
        """Sum over the given axes, or over all."""
        return self._reduce("Sum", axes, keepdims)

    def mean(self, *axes: int, keepdims: bool = False) -> "Tensor":
        """Mean over the given axes, or over all."""
        return self._reduce("Mean", axes, keepdims)

    def max(self, *axes: int, keepdims: bool = False) -> "Tensor":
        """Largest element over the given axes, or over all; not-a-number wins."""
        return self._reduce("ReduceMax", axes, keepdims)

    def min(self, *axes: int, keepdims: bool = False) -> "Tensor":
        """Smallest element over the given axes, or over all; not-a-number wins."""
        return self._reduce("ReduceMin", axes, keepdims)

    def argmax(self, axis: int = -1) -> "Tensor":
        """Place of the first largest element along an axis, as int64."""
        return Tensor.apply("ArgMax", self, axis=axis, keepdims=False)

    def softmax(self, axis: int = -1) -> "Tensor":
        """Softmax along an axis."""
        return Tensor.apply("Softmax", self, axis=axis)

    def exp(self) -> "Tensor":
        """Natural exponential."""
        return Tensor.apply("Exp", self)

    def log(self) -> "Tensor":
        """Natural logarithm."""
        return Tensor.apply("Log", self)

    def sqrt(self) -> "Tensor":
        """Square root."""
        return Tensor.apply("Sqrt", self)

    def tanh(self) -> "Tensor":
        """Hyperbolic tangent."""
        return Tensor.apply("Tanh", self)

    def sigmoid(self) -> "Tensor":
        """Logistic function."""
        return Tensor.apply("Sigmoid", self)

    def relu(self) -> "Tensor":
        """Positive part."""
        return Tensor.apply("Relu", self)

    def gelu(self) -> "Tensor":
        """Gaussian error linear unit."""
        return Tensor.apply("Gelu", self)

    def astype(self, dtype: object) -> "Tensor":
        """The same values in another element type."""
        return Tensor._of(value_of(self._value.symbol.cast(dtype_of(dtype))))

    def reshape(self, *shape: int) -> "Tensor":
        """The same elements in another shape; one size may be -1."""
        sizes = list(shape)
        if sizes.count(-1) == 1:
            rest = int(np.prod([size for size in sizes if size != -1], dtype=np.int64))
            sizes[sizes.index(-1)] = self.size // max(rest, 1)
        return Tensor._of(value_of(self._value.symbol.reshape(*sizes)))

    def permute(self, *axes: int) -> "Tensor":
        """The axes in another order."""
        return Tensor.apply("Permute", self, axes=axes)

    def transpose(self, first: int = -2, second: int = -1) -> "Tensor":
        """Two axes exchanged."""
        return Tensor._of(value_of(self._value.symbol.transpose(first, second)))

    @property
    def T(self) -> "Tensor":  # noqa: N802 - as NumPy calls it
        """The axes in reverse order."""
        return self.permute(*reversed(range(self.ndim)))

    __add__, __radd__ = _binary("Add"), _binary("Add", swapped=True)
    __sub__, __rsub__ = _binary("Sub"), _binary("Sub", swapped=True)
    __mul__, __rmul__ = _binary("Mul"), _binary("Mul", swapped=True)
    __truediv__, __rtruediv__ = _binary("Div"), _binary("Div", swapped=True)
    __mod__, __rmod__ = _binary("Mod"), _binary("Mod", swapped=True)
    __pow__, __rpow__ = _binary("Pow"), _binary("Pow", swapped=True)
    __matmul__, __rmatmul__ = _binary("MatMul"), _binary("MatMul", swapped=True)
    __and__, __or__, __xor__ = _binary("And"), _binary("Or"), _binary("Xor")
    __lt__, __le__ = _binary("Less"), _binary("LessEqual")
    __gt__, __ge__ = _binary("Greater"), _binary("GreaterEqual")
    __eq__, __ne__ = _binary("Equal"), _binary("NotEqual")  # pyright: ignore[reportAssignmentType]
    __hash__ = object.__hash__

    def __neg__(self) -> "Tensor":
        return Tensor.apply("Neg", self)

    def __abs__(self) -> "Tensor":
        return Tensor.apply("Abs", self)

    def __invert__(self) -> "Tensor":
        return Tensor.apply("Not", self)

    def __getitem__(self, key: Key) -> "Tensor":
        """Select with integers and slices with a positive step."""
        return Tensor._of(value_of(self._value.symbol[key]))

    def __reduce__(self) -> tuple[type["Tensor"], tuple[Array]]:
        """Pickled as its elements."""
        return Tensor, (self.to_numpy(),)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a scalar has no length")
        return self.shape[0]

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """The elements for NumPy, always in an array of its own."""
        if copy is False:
            raise ValueError("a Tensor is immutable: NumPy gets a copy")
        array = self.to_numpy()
        return array if dtype is None else array.astype(dtype)

    def __dlpack__(self, **wishes: Any) -> Any:
        """The elements as a DLPack capsule, in memory of its own.

        Raises
        ------
        BufferError
            They are bfloat16, for which NumPy has no DLPack.
        """
        if self.dtype == "bfloat16":
            raise BufferError("NumPy has no DLPack for bfloat16: take astype('float32')")
        return self.to_numpy().__dlpack__(**wishes)

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's device: the CPU."""
        return (1, 0)

    @classmethod
    def from_dlpack(cls, other: Any) -> "Tensor":
        """Copy what another library offers through DLPack, such as a torch tensor on the CPU.

        Raises
        ------
        FormatError
            NumPy cannot read it, or the instruction set has no such element type.
        """
        try:
            return cls(np.from_dlpack(other))
        except (AttributeError, TypeError, ValueError, RuntimeError, BufferError) as error:
            raise FormatError(f"from_dlpack: {type(other).__name__}: {error}") from error

    def __repr__(self) -> str:
        values = np.array2string(compute(self._value), separator=", ", prefix="Tensor(")
        return f"Tensor({values}, {self._value.type})"

    @classmethod
    def _of(cls, value: Value) -> "Tensor":
        tensor = object.__new__(cls)
        tensor._hold(value)
        return tensor

    def _hold(self, value: Value) -> None:
        self._value = value
        value.handle = ref(self)

    def _reduce(self, name: str, axes: tuple[int, ...], keepdims: bool) -> "Tensor":
        over = axes or tuple(range(self.ndim))
        return Tensor.apply(name, self, axes=over, keepdims=keepdims)


def _whole_numbers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(operator.index(each) for each in values)
    except TypeError as error:
        raise VerifyError(f"create: {name}: found {values!r}, expected whole numbers") from error


def _operand(value: object) -> "Tensor | float | None":
    if value is None or isinstance(value, Tensor | float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, SupportsIndex) and not hasattr(value, "shape"):
        return value.__index__()
    return Tensor(cast("npt.ArrayLike", value))
