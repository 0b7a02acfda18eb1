"""Numbers as unevaluated sums of two floats, for about twice the digits.

Source: Dekker, "A floating-point technique for extending the available precision", 1971; Muller et
al., Handbook of Floating-Point Arithmetic, 2nd edition, chapters 4 and 14.
"""

from typing import NamedTuple

from bcai.vm.isa.scalar.expression import BIAS, Mask, Real, Whole, fma


class Words(NamedTuple):
    """`high` + `low`, of which `high` is the nearest float."""

    high: Real
    low: Real


def two_sum(x: Real, y: Real) -> Words:
    """X + y, exactly."""
    total = x + y
    part = total - x
    return Words(total, (x - (total - part)) + (y - part))


def fast_two_sum(x: Real, y: Real) -> Words:
    """X + y, exactly, if |x| >= |y| or x is 0."""
    total = x + y
    return Words(total, y - (total - x))


def two_product(x: Real, y: Real) -> Words:
    """X * y, exactly, unless the low part underflows."""
    product = x * y
    return Words(product, fma(x, y, -product))


def divide(x: Words, y: Words) -> Words:
    """X / y."""
    quotient = x.high / y.high
    rest = (fma(-quotient, y.high, x.high) + x.low) - quotient * y.low
    return Words(quotient, rest / y.high)


def square_root(x: Words) -> Words:
    """Square root; of 0 it is 0."""
    root = x.high.sqrt()
    rest = fma(-root, root, x.high) + x.low
    return Words(root, x.high.equals(0.0).select(0.0, rest / (root + root)))


def choose(mask: Mask, yes: Words, no: Words) -> Words:
    """One of two."""
    return Words(mask.select(yes.high, no.high), mask.select(yes.low, no.low))


def power_of_two(k: Whole, like: Real) -> Real:
    """2^k, for k within the normal exponents."""
    return ((k + BIAS[like.dtype]) << (like.digits - 1)).real()


def scale(x: Real, k: Whole) -> Real:
    """X * 2^k in two steps, so that only the last one rounds, and only a subnormal result."""
    half = k >> 1
    return (x * power_of_two(half, x)) * power_of_two(k - half, x)


def round_shift(like: Real) -> float:
    """1.5 * 2^(digits - 1): adding it rounds to an integer, which then stands in the low bits."""
    return 1.5 * 2.0 ** (like.digits - 1)
