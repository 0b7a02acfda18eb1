"""The few operations from which every exact instruction is built, and their NumPy definition.

Note [Same bits]
    An exact instruction is a fixed graph of IEEE-754 operations: fused multiply-add, add, subtract,
    multiply, divide, square root, comparisons and integer operations. Each is correctly rounded
    (nearest, ties to even) with subnormals kept, so its bits are the same on every machine. Scalar
    functions (`isa/scalar/`) are written once against `Arithmetic`; `Exact` runs them in NumPy,
    and a compiler backend runs the same text with values that stand for registers.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import numpy as np

from bcai.vm.isa.types import Array, DType

V = TypeVar("V")


class Arithmetic(Protocol[V]):
    """Operations on floats of one binary format and on integers of the same width."""

    @property
    def dtype(self) -> DType:
        """`float32` or `float64`."""
        ...

    def constant(self, value: float) -> V:
        """A float constant; write it in hexadecimal where its bits matter."""
        ...

    def integer(self, value: int) -> V:
        """An integer constant of the format's width, two's complement."""
        ...

    def fma(self, a: V, b: V, c: V) -> V:
        """Return a * b + c, rounded once."""
        ...

    def add(self, a: V, b: V) -> V: ...
    def sub(self, a: V, b: V) -> V: ...
    def mul(self, a: V, b: V) -> V: ...
    def div(self, a: V, b: V) -> V: ...
    def sqrt(self, a: V) -> V: ...
    def less(self, a: V, b: V) -> V:
        """Whether a < b: a mask, false if either is not a number."""
        ...

    def equal(self, a: V, b: V) -> V:
        """Whether a == b: a mask, false if either is not a number."""
        ...

    def is_nan(self, a: V) -> V:
        """Whether a is not a number: a mask."""
        ...

    def select(self, mask: V, yes: V, no: V) -> V: ...
    def mask_and(self, a: V, b: V) -> V: ...
    def mask_or(self, a: V, b: V) -> V: ...
    def rare(
        self, mask: V, compute: Callable[[], tuple[V, ...]], otherwise: tuple[V, ...]
    ) -> tuple[V, ...]:
        """Select `compute()` or `otherwise`; a long computation is skipped if no lane wants it."""
        ...

    def bits(self, a: V) -> V:
        """The float's bits as an integer."""
        ...

    def from_bits(self, i: V) -> V:
        """The float with these bits."""
        ...

    def to_float(self, i: V) -> V:
        """An integer as the nearest float."""
        ...

    def iadd(self, i: V, j: V) -> V: ...
    def isub(self, i: V, j: V) -> V: ...
    def iand(self, i: V, j: V) -> V: ...
    def ior(self, i: V, j: V) -> V: ...
    def ixor(self, i: V, j: V) -> V: ...
    def shift_left(self, i: V, count: int) -> V: ...
    def shift_right(self, i: V, count: int) -> V:
        """Arithmetic shift: the sign is copied."""
        ...

    def iless(self, i: V, j: V) -> V:
        """Whether i < j, signed: a mask."""
        ...

    def iequal(self, i: V, j: V) -> V:
        """Whether i == j: a mask."""
        ...


class Exact:
    """`Arithmetic` on NumPy arrays: the definition."""

    def __init__(self, dtype: DType) -> None:
        if dtype not in (DType.float32, DType.float64):
            raise ValueError(f"exact arithmetic is in float32 or float64, not {dtype.name}")
        self.dtype = dtype
        self._float = dtype.numpy.type
        self._int: Any = np.int32 if dtype is DType.float32 else np.int64

    def constant(self, value: float) -> Array:
        return np.asarray(self._float(value))

    def integer(self, value: int) -> Array:
        bits = 8 * self.dtype.itemsize
        return np.asarray(self._int((value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))))

    def fma(self, a: Array, b: Array, c: Array) -> Array:
        return fma(a, b, c)

    @staticmethod
    def add(a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.add(a, b)

    @staticmethod
    def sub(a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.subtract(a, b)

    @staticmethod
    def mul(a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.multiply(a, b)

    @staticmethod
    def div(a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.divide(a, b)

    @staticmethod
    def sqrt(a: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.sqrt(a)

    @staticmethod
    def less(a: Array, b: Array) -> Array:
        return np.less(a, b)

    @staticmethod
    def equal(a: Array, b: Array) -> Array:
        return np.equal(a, b)

    @staticmethod
    def is_nan(a: Array) -> Array:
        return np.isnan(a)

    @staticmethod
    def select(mask: Array, yes: Array, no: Array) -> Array:
        return np.where(mask, yes, no)

    @staticmethod
    def mask_and(a: Array, b: Array) -> Array:
        return np.logical_and(a, b)

    @staticmethod
    def mask_or(a: Array, b: Array) -> Array:
        return np.logical_or(a, b)

    @staticmethod
    def rare(
        mask: Array, compute: Callable[[], tuple[Array, ...]], otherwise: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        if not np.any(mask):
            return otherwise
        pairs = zip(compute(), otherwise, strict=True)
        return tuple(np.where(mask, yes, no) for yes, no in pairs)

    def bits(self, a: Array) -> Array:
        return np.asarray(a, self._float).view(self._int)

    def from_bits(self, i: Array) -> Array:
        return np.asarray(i, self._int).view(self._float)

    def to_float(self, i: Array) -> Array:
        return i.astype(self._float)

    @staticmethod
    def iadd(i: Array, j: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.add(i, j)

    @staticmethod
    def isub(i: Array, j: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.subtract(i, j)

    @staticmethod
    def iand(i: Array, j: Array) -> Array:
        return np.bitwise_and(i, j)

    @staticmethod
    def ior(i: Array, j: Array) -> Array:
        return np.bitwise_or(i, j)

    @staticmethod
    def ixor(i: Array, j: Array) -> Array:
        return np.bitwise_xor(i, j)

    @staticmethod
    def shift_left(i: Array, count: int) -> Array:
        return np.left_shift(i, count)

    @staticmethod
    def shift_right(i: Array, count: int) -> Array:
        return np.right_shift(i, count)

    @staticmethod
    def iless(i: Array, j: Array) -> Array:
        return np.less(i, j)

    @staticmethod
    def iequal(i: Array, j: Array) -> Array:
        return np.equal(i, j)


def fma(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c rounded once, for float32 or float64 arrays of one dtype.

    Note [Fused multiply-add in NumPy]
        For float32 the product is exact in float64. The sum is rounded there *to odd* (an inexact
        result takes the neighbour whose last bit is 1), after which rounding to float32 gives the
        correctly rounded result. For float64 the same is done on unevaluated sums of two doubles;
        operands near the ends of the exponent range go through rational arithmetic.

        Source: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
        algorithms using rounding to odd", IEEE Transactions on Computers 57(4), 2008.
    """
    with np.errstate(all="ignore"):
        if a.dtype == np.float32:
            product = np.multiply(a, b, dtype=np.float64)
            return _add_to_odd(product, c.astype(np.float64)).astype(np.float32)
        return _fma64(*np.broadcast_arrays(a, b, c))


def _add_to_odd(x: Array, y: Array) -> Array:
    total, error = _two_sum(x, y)
    bits = total.view(np.int64) if total.ndim else np.asarray(total).view(np.int64)
    adjust = (error != 0) & np.isfinite(error) & (bits & 1 == 0)
    away = (error > 0) == (total > 0)  # the true sum lies beyond `total`, away from zero
    moved = np.where(away, bits + 1, bits - 1)
    return np.where(adjust, moved, bits).view(np.float64)


def _two_sum(x: Array, y: Array) -> tuple[Array, Array]:
    """Sum and rounding error, exactly. Source: Knuth, TAOCP 2, 4.2.2, theorem B."""
    total = np.asarray(x + y)
    part = total - x
    return total, np.asarray((x - (total - part)) + (y - part))


def _two_product(x: Array, y: Array) -> tuple[Array, Array]:
    """Product and rounding error, exactly. Source: Dekker, Numerische Mathematik 18, 1971."""
    product = x * y
    x_high, x_low = _split(x)
    y_high, y_low = _split(y)
    return product, x_low * y_low - (
        ((product - x_high * y_high) - x_low * y_high) - x_high * y_low
    )


def _split(x: Array) -> tuple[Array, Array]:
    scaled = x * 134217729.0  # 2**27 + 1
    high = scaled - (scaled - x)
    return high, x - high


def _fma64(a: Array, b: Array, c: Array) -> Array:
    high, low = _two_product(a, b)
    c_high, c_low = _two_sum(c, low)
    total, error = _two_sum(high, c_high)
    result = np.asarray(total + _add_to_odd(c_low, error))
    magnitude = np.abs(np.stack([a, b, high, c, result]))
    safe = ((magnitude < 2.0**900) & ((magnitude > 2.0**-900) | (magnitude == 0))).all(axis=0)
    safe &= (high != 0) | (a == 0) | (b == 0)
    plain = ~np.isfinite(a) | ~np.isfinite(b) | ~np.isfinite(c)
    zero = (a == 0) | (b == 0) | (safe & (total == 0) & (error == 0) & (c_low == 0))
    product = np.where(np.isfinite(a) & np.isfinite(b) & ~np.isfinite(c), 0.0, a * b)  # no overflow
    result = np.where(plain | zero, product + c, result)
    for index in map(tuple, np.argwhere(~(safe | plain | zero))):
        result[index] = _fma_rational(float(a[index]), float(b[index]), float(c[index]))
    return result


def _fma_rational(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c  # the sign of zero follows the floating-point rule
    try:
        return exact.numerator / exact.denominator  # int / int is correctly rounded in Python
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")
