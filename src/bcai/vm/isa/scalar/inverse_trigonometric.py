"""asin, acos and atan.

Note [Inverse sine and tangent]
    asin is an odd polynomial for |x| <= 1/2; beyond, pi/2 - 2 asin(sqrt((1 - x) / 2)) with the root
    in two floats. acos has the same two forms. atan brings |x| to |t| <= tan(pi/8): x itself,
    pi/4 + atan((x - 1) / (x + 1)), or pi/2 - atan(1 / x), with the quotient in two floats.
"""

from bcai.vm.isa.scalar.expression import Real, fma, polynomial, table, unary
from bcai.vm.isa.scalar.hyperbolic import odd_polynomial
from bcai.vm.isa.scalar.reduction import PI_HALVES
from bcai.vm.isa.scalar.words import (
    Words,
    choose,
    divide,
    fast_two_sum,
    square_root,
    two_sum,
)
from bcai.vm.isa.types import DType

ASIN = {
    DType.float32: table("""
        0x1.555554p-3 0x1.333432p-4 0x1.6d5b8ep-5 0x1.fd921ap-6 0x1.18e1f6p-6 0x1.14138cp-5
    """),
    DType.float64: table("""
        0x1.5555555555555p-3 0x1.3333333333389p-4 0x1.6db6db6dac0eap-5 0x1.f1c71c7a5e151p-6
        0x1.6e8ba121b9d5fp-6 0x1.1c4efd20ebb99p-6 0x1.c990a42b32b03p-7 0x1.7b02ef007d23ep-7
        0x1.3b462d121c5d3p-7 0x1.31777489dfd29p-7 0x1.8dcdf11997e12p-9 0x1.40c91fa8deb7ep-6
        -0x1.3bd7e353ddbc1p-6 0x1.e58a4f278e006p-6
    """),
}
"""(asin(x) / x - 1) / x^2 as a function of x^2, for |x| <= 1/2."""

ATAN = {
    DType.float32: table("""
        -0x1.555556p-2 0x1.99997ap-3 -0x1.248a0ep-3 0x1.c57a3ap-4 -0x1.613976p-4 0x1.9d5354p-5
    """),
    DType.float64: table("""
        -0x1.5555555555555p-2 0x1.9999999999952p-3 -0x1.249249248d6ffp-3 0x1.c71c71c2f9595p-4
        -0x1.745d165bbedbap-4 0x1.3b13929a1f007p-4 -0x1.110e8391a1d32p-4 0x1.e199acf4935d9p-5
        -0x1.ac779f208572fp-5 0x1.74d05be3ef6c4p-5 -0x1.1b111b10989f4p-5 0x1.0a86bcd0a5c08p-6
    """),
}
"""(atan(t) / t - 1) / t^2 as a function of t^2, for |t| <= tan(pi/8)."""

TAN_PI_8 = {
    DType.float32: float.fromhex("0x1.a8279ap-2"),
    DType.float64: float.fromhex("0x1.a827999fcef32p-2"),
}
TAN_3_PI_8 = {
    DType.float32: float.fromhex("0x1.3504f4p+1"),
    DType.float64: float.fromhex("0x1.3504f333f9de6p+1"),
}


def _half_angle(a: Real) -> Words:
    """2 asin(sqrt((1 - a) / 2)), which is acos a, for a in [1/2, 1]."""
    z = (1.0 - a) * 0.5
    root = square_root(Words(z, a.of(0.0)))
    tail = fma(root.high, z * polynomial(ASIN[a.dtype], z), root.low)
    return Words(root.high + root.high, tail + tail)


@unary
def asin(x: Real) -> Real:
    """Inverse sine, in [-pi/2, pi/2]."""
    a = abs(x)
    quarter, quarter_low, _ = PI_HALVES[x.dtype]
    angle = _half_angle(a)
    total = fast_two_sum(x.of(quarter), -angle.high)
    large = total.high + (total.low + (quarter_low - angle.low))
    return (a > 0.5).select(large, odd_polynomial(ASIN[x.dtype], a)).with_sign_of(x)


@unary
def acos(x: Real) -> Real:
    """Inverse cosine, in [0, pi]."""
    a = abs(x)
    quarter, quarter_low, _ = PI_HALVES[x.dtype]
    angle = _half_angle(a)
    opposite = fast_two_sum(x.of(2.0 * quarter), -angle.high)
    below = opposite.high + (opposite.low + (2.0 * quarter_low - angle.low))
    square = x * x
    middle = two_sum(x.of(quarter), -x)
    low = fma(-x, square * polynomial(ASIN[x.dtype], square), middle.low + quarter_low)
    outside = (x < 0.0).select(below, angle.high + angle.low)
    return (a > 0.5).select(outside, middle.high + low)


@unary
def atan(x: Real) -> Real:
    """Inverse tangent, in [-pi/2, pi/2]."""
    a = (abs(x) > 2.0**64).select(2.0**64, abs(x))
    one, zero = x.of(1.0), x.of(0.0)
    is_low, is_middle = a < TAN_PI_8[x.dtype], a < TAN_3_PI_8[x.dtype]
    above = choose(is_middle, two_sum(a, -one), Words(-one, zero))
    below = choose(is_middle, two_sum(a, one), Words(a, zero))
    t = divide(choose(is_low, Words(a, zero), above), choose(is_low, Words(one, zero), below))
    quarter, quarter_low, _ = PI_HALVES[x.dtype]
    base = is_low.select(0.0, is_middle.select(0.5 * quarter, quarter))
    base_low = is_low.select(0.0, is_middle.select(0.5 * quarter_low, quarter_low))
    z = t.high * t.high
    low = fma(-z, t.low, t.low) + base_low
    total = fast_two_sum(base, t.high)
    result = total.high + (total.low + fma(z * t.high, polynomial(ATAN[x.dtype], z), low))
    return result.with_sign_of(x)
