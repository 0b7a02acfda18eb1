"""Comparisons, choices and predicates, element by element, with NumPy broadcasting.

Note [Comparisons]
    IEEE-754: nothing is equal to, less or greater than not-a-number, and +0 equals -0. False is
    below True.
"""

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Call, Gradients, case, instruction, types_of
from bcai.vm.isa.ops.elementwise import unbroadcast, where_else
from bcai.vm.isa.order import widen
from bcai.vm.isa.rules import COMPARE, PREDICATE, broadcast, same_dtype
from bcai.vm.isa.types import ANY, BOOLS, FLOATS, Array, DType, TensorType


@instruction(opcode=0x0120, dtypes=ANY, types=COMPARE, differentiable=False)
def equal(a: Array, b: Array) -> Array:
    """Whether `a` equals `b`."""
    return np.equal(widen(a), widen(b))


@instruction(opcode=0x0121, dtypes=ANY, types=COMPARE, differentiable=False)
def not_equal(a: Array, b: Array) -> Array:
    """Whether `a` differs from `b`; not-a-number differs from itself."""
    return np.not_equal(widen(a), widen(b))


@instruction(opcode=0x0122, dtypes=ANY, types=COMPARE, differentiable=False)
def less(a: Array, b: Array) -> Array:
    """Whether `a` is less than `b`."""
    return np.less(widen(a), widen(b))


@instruction(opcode=0x0123, dtypes=ANY, types=COMPARE, differentiable=False)
def less_equal(a: Array, b: Array) -> Array:
    """Whether `a` is less than or equal to `b`."""
    return np.less_equal(widen(a), widen(b))


@instruction(opcode=0x0124, dtypes=ANY, types=COMPARE, differentiable=False)
def greater(a: Array, b: Array) -> Array:
    """Whether `a` is greater than `b`."""
    return np.greater(widen(a), widen(b))


@instruction(opcode=0x0125, dtypes=ANY, types=COMPARE, differentiable=False)
def greater_equal(a: Array, b: Array) -> Array:
    """Whether `a` is greater than or equal to `b`."""
    return np.greater_equal(widen(a), widen(b))


@instruction(opcode=0x0126, dtypes=FLOATS, types=PREDICATE, differentiable=False)
def is_nan(x: Array) -> Array:
    """Whether `x` is not a number."""
    return np.isnan(widen(x))


@instruction(opcode=0x0127, dtypes=FLOATS, types=PREDICATE, differentiable=False)
def is_inf(x: Array) -> Array:
    """Whether `x` is an infinity of either sign."""
    return np.isinf(widen(x))


def _where(mask: TensorType, a: TensorType, b: TensorType) -> TensorType:
    if mask.dtype is not DType.bool:
        raise VerifyError(f"mask: found {mask}, expected bool")
    return TensorType(same_dtype(a, b), broadcast(mask, a, b))


@instruction(
    opcode=0x0128,
    dtypes=BOOLS,
    types=types_of(
        _where,
        accepts=(
            case("bool[2,3]", "float32[2,3]", "float32[2,3]"),
            case("bool[3]", "float32[2,1]", "float32[]"),
            case("bool[]", "float32[0,3]", "float32[3]"),
            case("bool[2]", "bool[2]", "bool[2]"),
        ),
        rejects=(
            case("bool[2]", "float32[2]", "float64[2]"),
            case("bool[2]", "float32[3]", "float32[3]"),
            case("bool[2]", "float32[2]"),
        ),
    ),
)
def where(mask: Array, a: Array, b: Array) -> Array:
    """`a` where `mask` is true, else `b`. What is not chosen has no influence and no gradient."""
    return np.where(mask, a, b)


@where.gradient
def _(call: Call) -> Gradients:
    return (
        None,
        unbroadcast(where_else(call[0], call.d, 0.0), call[1]),
        unbroadcast(where_else(call[0], 0.0, call.d), call[2]),
    )


OPS = (
    *(equal, not_equal, less, less_equal, greater, greater_equal),
    *(is_nan, is_inf, where),
)
