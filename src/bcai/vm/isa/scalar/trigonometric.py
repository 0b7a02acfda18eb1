"""sin, cos and tan.

Note [Sine and cosine]
    The angle is reduced to r within pi/4 and a quadrant (Note [Angles]), sin r and cos r are
    polynomials to which the second float of r is carried along, and the quadrant says which of the
    two it is, with which sign. tan is their quotient in two floats.
"""

from math import nan

from bcai.vm.isa.scalar.expression import Mask, Real, Whole, fma, polynomial, table, unary
from bcai.vm.isa.scalar.hyperbolic import TINY
from bcai.vm.isa.scalar.reduction import is_finite, reduce_angle
from bcai.vm.isa.scalar.words import Words, choose, divide, fast_two_sum, two_product
from bcai.vm.isa.types import DType

SIN = {
    DType.float32: table("""
        -0x1.555556p-3 0x1.11110ep-7 -0x1.a01388p-13 0x1.6db388p-19
    """),
    DType.float64: table("""
        -0x1.5555555555555p-3 0x1.111111111111p-7 -0x1.a01a01a0198dep-13 0x1.71de3a5455b9ap-19
        -0x1.ae64540000f84p-26 0x1.6121703ee57b1p-33 -0x1.ab0f25d21fd92p-41
    """),
}
"""(sin(r) / r - 1) / r^2 as a function of r^2."""

COS = {
    DType.float32: table("""
        0x1.555554p-5 -0x1.6c12bep-10 0x1.9bcdc6p-16
    """),
    DType.float64: table("""
        0x1.5555555555555p-5 -0x1.6c16c16c16944p-10 0x1.a01a019f4671dp-16 -0x1.27e4fa0d3726cp-22
        0x1.1eeb5de1e2b95p-29 -0x1.9075bb669682cp-37
    """),
}
"""(cos(r) - 1 + r^2 / 2) / r^4 as a function of r^2."""


def _sin(r: Words) -> Words:
    z = r.high * r.high
    low = fma(z * -0.5, r.low, r.low)
    return fast_two_sum(r.high, fma(z * r.high, polynomial(SIN[z.dtype], z), low))


def _cos(r: Words) -> Words:
    z = two_product(r.high, r.high)
    total = fast_two_sum(z.high.of(1.0), z.high * -0.5)
    low = fma(-0.5, z.low, total.low) - r.high * r.low
    tail = fma(z.high * z.high, polynomial(COS[z.high.dtype], z.high), low)
    return fast_two_sum(total.high, tail)


def _has_bit(n: Whole, bit: int) -> Mask:
    return (n & bit).equals(bit)


def _wave(x: Real, quarters: int) -> Real:
    """sin(x + quarters pi/2)."""
    r, n = reduce_angle(x)
    n = n + quarters
    value = choose(_has_bit(n, 1), _cos(r), _sin(r)).high
    return is_finite(x).select(_has_bit(n, 2).select(-value, value), nan)


@unary
def sin(x: Real) -> Real:
    """Sine."""
    return (abs(x) < TINY[x.dtype]).select(x, _wave(x, 0))


@unary
def cos(x: Real) -> Real:
    """Cosine."""
    return _wave(x, 1)


@unary
def tan(x: Real) -> Real:
    """Tangent."""
    r, n = reduce_angle(x)
    is_odd = _has_bit(n, 1)
    sine, cosine = _sin(r), _cos(r)
    negated = Words(-cosine.high, -cosine.low)
    quotient = divide(choose(is_odd, negated, sine), choose(is_odd, sine, cosine))
    value = is_finite(x).select(quotient.high + quotient.low, nan)
    return (abs(x) < TINY[x.dtype]).select(x, value)
