"""The few shapes a type rule can have; most instructions pick one and write none.

All of these broadcast as NumPy does, and none promotes: element types must agree.
"""

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import TypeRule, case, types_of
from bcai.vm.isa.types import DType, TensorType


def broadcast(*types: TensorType) -> tuple[int, ...]:
    """Shape that NumPy broadcasting gives.

    Raises
    ------
    VerifyError
        Two sizes differ and neither is 1.
    """
    first = types[0].shape
    if all(each.shape == first for each in types):
        return first
    rank = max(each.rank for each in types)
    shape = [1] * rank
    for each in types:
        for axis, size in enumerate(each.shape, start=rank - each.rank):
            if size != 1:
                if shape[axis] not in (1, size):
                    names = " and ".join(str(each) for each in types)
                    raise VerifyError(f"{names} do not broadcast: {shape[axis]} against {size}")
                shape[axis] = size
    return tuple(shape)


def same_dtype(*types: TensorType) -> DType:
    """Element type that all share. Raises VerifyError."""
    dtype = types[0].dtype
    for each in types[1:]:
        if each.dtype is not dtype:
            raise VerifyError(
                f"element types differ: {dtype.name} and {each.dtype.name}; insert a Cast"
            )
    return dtype


def check_axis(type_: TensorType, axis: int, *, extra: int = 0) -> int:
    """Return a negative axis as a plain one. Raises VerifyError outside the rank (+ `extra`)."""
    rank = type_.rank + extra
    if not -rank <= axis < rank:
        raise VerifyError(f"axis {axis} is outside {type_}")
    return axis % rank


def check_axes(type_: TensorType, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return axes ascending and not negative. Raises VerifyError for a repeated one."""
    plain = tuple(sorted(check_axis(type_, axis) for axis in axes))
    if len(set(plain)) != len(plain):
        raise VerifyError(f"axes {axes} name one axis of {type_} twice")
    return plain


def reduced(type_: TensorType, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    """Type after a reduction over `axes`."""
    plain = check_axes(type_, axes)
    if keepdims:
        return type_.with_shape(*(1 if i in plain else n for i, n in enumerate(type_.shape)))
    return type_.with_shape(*(n for i, n in enumerate(type_.shape) if i not in plain))


def _unary(x: TensorType, **attributes: object) -> TensorType:
    del attributes
    return x


def _binary(a: TensorType, b: TensorType) -> TensorType:
    if a == b:
        return a
    return TensorType(same_dtype(a, b), broadcast(a, b))


def _ternary(a: TensorType, b: TensorType, c: TensorType) -> TensorType:
    return TensorType(same_dtype(a, b, c), broadcast(a, b, c))


def _compare(a: TensorType, b: TensorType) -> TensorType:
    same_dtype(a, b)
    return TensorType(DType.bool, broadcast(a, b))


def _predicate(x: TensorType) -> TensorType:
    return x.with_dtype(DType.bool)


def _reduce(x: TensorType, *, axes: tuple[int, ...], keepdims: bool) -> TensorType:
    return reduced(x, axes, keepdims)


def _along_axis(x: TensorType, *, axis: int) -> TensorType:
    check_axis(x, axis)
    return x


_SHAPES = (case("float32[2,3]"), case("float32[]"), case("float32[0,3]"))
_PAIRS = (
    case("float32[2,3]", "float32[2,3]"),
    case("float32[2,3]", "float32[3]"),
    case("float32[2,1]", "float32[1,3]"),
    case("float32[]", "float32[4]"),
    case("float32[0,3]", "float32[3]"),
)
_BAD_PAIRS = (
    case("float32[2,3]", "float32[2]"),
    case("float32[2,3]", "float64[2,3]"),
    case("float32[2,3]"),
)

UNARY: TypeRule = types_of(_unary, accepts=_SHAPES, rejects=(case(),))
"""One operand; the result has its type."""

BINARY: TypeRule = types_of(_binary, accepts=_PAIRS, rejects=_BAD_PAIRS)
"""Two operands of one element type that broadcast."""

TERNARY: TypeRule = types_of(
    _ternary,
    accepts=(
        case("float32[2,3]", "float32[2,3]", "float32[2,3]"),
        case("float32[2,3]", "float32[3]", "float32[]"),
    ),
    rejects=(case("float32[2]", "float32[2]", "float32[3]"), case("float32[2]", "float32[2]")),
)
"""Three operands of one element type that broadcast."""

COMPARE: TypeRule = types_of(_compare, accepts=_PAIRS, rejects=_BAD_PAIRS)
"""Two operands of one element type; the result is bool."""

PREDICATE: TypeRule = types_of(_predicate, accepts=_SHAPES, rejects=(case(),))
"""One operand; the result is bool of its shape."""

REDUCE: TypeRule = types_of(
    _reduce,
    accepts=(
        case("float32[2,3]", axes=(0,), keepdims=False),
        case("float32[2,3,4]", axes=(0, -1), keepdims=True),
        case("float32[2,3]", axes=(), keepdims=False),
        case("float32[]", axes=(), keepdims=False),
        case("float32[70,5]", axes=(0,), keepdims=False),
    ),
    rejects=(
        case("float32[2,3]", axes=(2,), keepdims=False),
        case("float32[2,3]", axes=(0, -2), keepdims=False),
    ),
)
"""Reduction over `axes` (ints) with `keepdims` (bool)."""

ALONG_AXIS: TypeRule = types_of(
    _along_axis,
    accepts=(
        case("float32[2,3]", axis=-1),
        case("float32[2,3]", axis=0),
        case("float32[5]", axis=0),
    ),
    rejects=(case("float32[2,3]", axis=2), case("float32[2,3]", axis=-3)),
)
"""One operand and an `axis`; the result has its type."""
