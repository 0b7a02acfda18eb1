"""Logic on bools, and the same bit by bit on integers, with NumPy broadcasting."""

import numpy as np

from bcai.base.errors import InputError
from bcai.vm.isa.op import case, instruction, types_of
from bcai.vm.isa.rules import BINARY, UNARY
from bcai.vm.isa.types import BOOLS, INTEGERS, Array

_PAIRS = types_of(
    BINARY.infer,
    accepts=(
        case("bool[2,3]", "bool[3]"),
        case("int32[2,1]", "int32[1,3]"),
        case("bool[]", "bool[4]"),
        case("bool[0,3]", "bool[3]"),
    ),
    rejects=(
        case("bool[2]", "bool[3]"),
        case("int32[2]", "int64[2]"),
        case("bool[2]"),
        case("float32[2]", "float32[2]"),
    ),
)
_ONE = types_of(
    UNARY.infer,
    accepts=(case("bool[2,3]"), case("int32[]"), case("bool[0]")),
    rejects=(case(), case("float32[2]")),
)
_SHIFTS = types_of(
    BINARY.infer,
    accepts=(
        case("int32[2,3]", "int32[3]"),
        case("int32[]", "int32[]"),
        case("int64[0]", "int64[0]"),
    ),
    rejects=(case("int32[2]", "int64[2]"), case("bool[2]", "bool[2]")),
)


@instruction(opcode=0x0130, dtypes=BOOLS | INTEGERS, types=_PAIRS, name="And", differentiable=False)
def and_(a: Array, b: Array) -> Array:
    """Conjunction of bools, or of the bits of integers."""
    return np.bitwise_and(a, b)


@instruction(opcode=0x0131, dtypes=BOOLS | INTEGERS, types=_PAIRS, name="Or", differentiable=False)
def or_(a: Array, b: Array) -> Array:
    """Disjunction of bools, or of the bits of integers."""
    return np.bitwise_or(a, b)


@instruction(opcode=0x0132, dtypes=BOOLS | INTEGERS, types=_PAIRS, differentiable=False)
def xor(a: Array, b: Array) -> Array:
    """Exclusive disjunction of bools, or of the bits of integers."""
    return np.bitwise_xor(a, b)


@instruction(opcode=0x0133, dtypes=BOOLS | INTEGERS, types=_ONE, name="Not", differentiable=False)
def not_(x: Array) -> Array:
    """Negation of a bool, or of each bit of an integer."""
    return np.invert(x)


@instruction(opcode=0x0134, dtypes=INTEGERS, types=_SHIFTS, differentiable=False)
def bit_shift_left(x: Array, by: Array) -> Array:
    """`x` times 2 to the power `by`, wrapping: 0 from the width on.

    A negative `by` is an InputError.
    """
    inside = _check_shift("BitShiftLeft", by)
    return np.where(inside, np.left_shift(x, np.where(inside, by, 0)), 0).astype(x.dtype)


@instruction(opcode=0x0135, dtypes=INTEGERS, types=_SHIFTS, differentiable=False)
def bit_shift_right(x: Array, by: Array) -> Array:
    """`x` divided by 2 to the power `by`, rounded down: 0 or -1 from the width on.

    A negative `by` is an InputError.
    """
    inside = _check_shift("BitShiftRight", by)
    beyond = np.where(x < 0, -1, 0) if x.dtype.kind == "i" else np.zeros_like(x)
    return np.where(inside, np.right_shift(x, np.where(inside, by, 0)), beyond).astype(x.dtype)


def _check_shift(name: str, by: Array) -> Array:
    if (by < 0).any():
        at = tuple(int(axis) for axis in np.argwhere(by < 0)[0])
        raise InputError(f"{name}: the count at {at} is {int(by[at])}, expected 0 or more")
    return np.less(by, 8 * by.dtype.itemsize)


OPS = (and_, or_, xor, not_, bit_shift_left, bit_shift_right)
