"""Angles modulo pi/2, for sin, cos and tan.

Note [Angles]
    x = n pi/2 + r with n the nearest integer. Up to `SMALL`, n times pi/2 is subtracted with pi/2
    in three floats (Cody and Waite): the first step is exact, being fused, and the rest is kept in
    two floats, so that r has all its digits even beside a multiple of pi/2.

    Beyond, x * 2/pi is computed modulo 4 (Payne and Hanek) with 2/pi as a sum of as many floats as
    the largest x needs, scaled so that none is subnormal. Each partial product is exact in two
    floats, of which multiples of 8 are dropped, exactly; they are added up in three floats. So the
    reduction is right for every float, without tables that an index would have to enter. It is long
    but rare: `rare` lets a backend skip it where no angle is large.

    Source: Payne and Hanek, "Radian reduction for trigonometric functions", 1983.
"""

from math import inf

from bcai.vm.isa.scalar.expression import Mask, Real, Whole, fma, rare, table
from bcai.vm.isa.scalar.words import (
    Words,
    fast_two_sum,
    round_shift,
    two_product,
    two_sum,
)
from bcai.vm.isa.types import DType

PI_HALVES = {
    DType.float32: table("0x1.921fb6p+0 -0x1.777a5cp-25 -0x1.ee59dap-50"),
    DType.float64: table("0x1.921fb54442d18p+0 0x1.1a62633145c07p-54 -0x1.f1976b7ed8fbcp-110"),
}
TWO_OVER_PI = {
    DType.float32: float.fromhex("0x1.45f306p-1"),
    DType.float64: float.fromhex("0x1.45f306dc9c883p-1"),
}
SMALL = {DType.float32: 2.0**16, DType.float64: 2.0**28}
SHIFT = {DType.float32: 64, DType.float64: 600}
SHIFTED_TWO_OVER_PI = {
    DType.float32: table("""
        0x1.45f306p+63 0x1.b9391p+38 0x1.529fc2p+12 0x1.d5f47cp-14 0x1.4d377p-38 0x1.b6c52ap-65
        0x1.327886p-89 0x1.2083fcp-113
    """),
    DType.float64: table("""
        0x1.45f306dc9c882p+599 0x1.4a7f09d5f47d4p+546 0x1.a6ee06db14accp+493
        0x1.3c439041fe516p+440 0x1.d5ef5de2b0db9p+385 0x1.1b8e909374b8p+330
        0x1.924bba8274648p+274 0x1.cfe1deb1cb129p+220 0x1.4e7dd1046bea5p+167
        0x1.aed1213a671cp+114 0x1.35a2fbf209cc8p+61 0x1.d639835339f49p+8 0x1.908bf177bf25p-45
        0x1.d8ffc4bffef02p-99 0x1.980fef2f118b5p-152 0x1.414da3eda6cfdp-205
        0x1.3c9f2c26dd3d1p-258 0x1.1fb34f2ff516bp-311 0x1.527bac7ebe5f1p-364
        0x1.ecf41ce7de294p-418 0x1.497535fdafd88p-471 0x1.f8d5d0856033p-524
    """),
}
"""2/pi times 2^SHIFT, in floats that do not overlap."""


def reduce_angle(x: Real) -> tuple[Words, Whole]:
    """R in about [-pi/4, pi/4], in two floats, and n modulo 4 in the last two bits."""
    high, low, n = rare(
        abs(x) > SMALL[x.dtype],
        lambda: _reduce_large(x),
        _reduce_small(x),
    )
    return Words(high, low), n


def _reduce_small(x: Real) -> tuple[Real, Real, Whole]:
    shift = x.of(round_shift(x))
    shifted = fma(TWO_OVER_PI[x.dtype], x, shift)
    n = shifted - shift
    first, second, third = PI_HALVES[x.dtype]
    product = two_product(n, x.of(second))
    r = two_sum(fma(-first, n, x), -product.high)
    r = fast_two_sum(r.high, fma(-third, n, r.low - product.low))
    return r.high, r.low, shifted.bits


def _reduce_large(x: Real) -> tuple[Real, Real, Whole]:
    scaled = abs(x) * 2.0 ** -SHIFT[x.dtype]
    a = b = c = x.of(0.0)
    for piece in SHIFTED_TWO_OVER_PI[x.dtype]:
        product = two_product(scaled, x.of(piece))
        for part in (_modulo_8(product.high), _modulo_8(product.low)):
            a, carry = two_sum(a, part)
            b, carry = two_sum(b, carry)
            c = c + carry
    shift = x.of(round_shift(x))
    shifted = a + shift
    a = a - (shifted - shift)
    a, b = two_sum(a, b)
    a, b = two_sum(a, b + c)
    first, second, _ = PI_HALVES[x.dtype]
    r = two_product(a, x.of(first))
    r = fast_two_sum(r.high, r.low + fma(second, a, b * first))
    is_negative = x < 0.0
    n = is_negative.choose(x.whole(0) - shifted.bits, shifted.bits)
    return is_negative.select(-r.high, r.high), is_negative.select(-r.low, r.low), n


def _modulo_8(x: Real) -> Real:
    """X less a multiple of 8, in [-4, 4]; what is so large that it is a multiple of 4 is 0."""
    shift = 3.0 * 2.0 ** (x.digits - 1)  # of the next binade: rounds to multiples of 2
    multiple = (x * 0.25 + shift) - shift
    return (abs(x) < 2.0 ** (x.digits + 1)).select(fma(-4.0, multiple, x), 0.0)


def is_finite(x: Real) -> Mask:
    """Whether x is neither an infinity nor not-a-number."""
    return abs(x) < inf
