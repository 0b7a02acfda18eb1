"""log and log1p.

Note [Logarithm]
    x = 2^e m with m in [sqrt(1/2), sqrt(2)). log m = f - f^2/2 + f^3 p(f), f = m - 1, in float32.
    In float64, and in two floats (`log_words`), log m = 2 s + s^3 p(s^2) with s = f / (2 + f), the
    series of the inverse hyperbolic tangent. e ln 2 is added with ln 2 in two floats, the first
    short enough that e times it is exact. Polynomials: bench/scalar_coefficients.py.

    Source of the float64 form: Tang, "Table-driven implementation of the logarithm function", 1990,
    and fdlibm's e_log.c.
"""

from math import inf, nan

from bcai.vm.isa.scalar.exponential import LN2
from bcai.vm.isa.scalar.expression import Real, Whole, fma, polynomial, table, unary
from bcai.vm.isa.scalar.words import (
    Words,
    divide,
    fast_two_sum,
    power_of_two,
    two_product,
    two_sum,
)
from bcai.vm.isa.types import DType

SHORT_LN2 = {
    DType.float32: table("0x1.63p-1 -0x1.bd0106p-13"),
    DType.float64: table("0x1.62e42feep-1 0x1.a39ef35793c76p-33"),
}
LOG = table("""
    0x1.555554p-2 -0x1.fffffcp-3 0x1.999d5ap-3 -0x1.555b4ap-3 0x1.23d21ap-3 -0x1.fcf4c6p-4
    0x1.dea282p-4 -0x1.d635bcp-4 0x1.1d8ea6p-4
""")
"""(log(1 + f) - f + f^2/2) / f^3 for 1 + f in [sqrt(1/2), sqrt(2))."""

TWO_THIRDS = {
    DType.float32: table("0x1.555556p-1 -0x1.555556p-26"),
    DType.float64: table("0x1.5555555555555p-1 0x1.5555555555555p-55"),
}
LOG_TAIL = {
    DType.float32: table("""
        0x1.99999ap-2 0x1.24929p-2 0x1.c6bfe2p-3 0x1.87b1eep-3
    """),
    DType.float64: table("""
        0x1.999999999999ap-2 0x1.2492492492527p-2 0x1.c71c71c6e8f44p-3 0x1.745d177c10ad9p-3
        0x1.3b1395347c9ep-3 0x1.1118e94969b8bp-3 0x1.df75d14baa685p-4 0x1.e077188742e3cp-4
    """),
}
"""((2 atanh(s) - 2 s) / s^3 - 2/3) / s^2 as a function of s^2."""

SQRT_HALF = {
    DType.float32: float.fromhex("0x1.6a09e6p-1"),
    DType.float64: float.fromhex("0x1.6a09e667f3bcdp-1"),
}
NORMAL_MIN = {DType.float32: 2.0**-126, DType.float64: 2.0**-1022}


@unary
def log(x: Real) -> Real:
    """Natural logarithm."""
    m, e = split(x)
    f, k = m - 1.0, e.to_float()
    square = f * f
    ln2_high, ln2_low = SHORT_LN2[x.dtype]
    if x.dtype is DType.float32:
        cubic = fma(ln2_low, k, (square * f) * polynomial(LOG, f))
        result = fma(ln2_high, k, f + fma(-0.5, square, cubic))
    else:
        s = f / (f + 2.0)
        z, half = s * s, square * 0.5
        tail = z * polynomial((TWO_THIRDS[x.dtype][0], *LOG_TAIL[x.dtype]), z)
        result = fma(ln2_high, k, f - (half - fma(s, half + tail, k * ln2_low)))
    return finish(x, result)


def split(x: Real) -> tuple[Real, Whole]:
    """M in [sqrt(1/2), sqrt(2)) and e with x = 2^e m, for a positive number."""
    digits = x.digits
    is_small = x < NORMAL_MIN[x.dtype]
    bits = is_small.select(x * 2.0**digits, x).bits
    e = (bits - x.of(SQRT_HALF[x.dtype]).bits) >> (digits - 1)
    m = (bits - (e << (digits - 1))).real()
    return m, e + is_small.choose(x.whole(-digits), x.whole(0))


def finish(x: Real, result: Real) -> Real:
    """The special values of log: of 0, of less than 0, of infinity and of not-a-number."""
    above = (x < inf).select(result, x)
    return (x > 0.0).select(above, x.equals(0.0).select(-inf, nan))


def log_words(x: Words, times: Whole | None = None) -> Words:
    """Log x with about 11 more digits than one float has, relative to log x.

    The arithmetic of s keeps them for x about 1 too. `times` adds as many times log 2.
    """
    like = x.high
    m, e = split(like)
    f = fast_two_sum(m - 1.0, _scaled_low(x.low, e))
    below = fast_two_sum(like.of(2.0), f.high)
    s = divide(f, Words(below.high, below.low + f.low))
    z = two_product(s.high, s.high)
    z = Words(z.high, fma(s.high + s.high, s.low, z.low))
    third, third_low = TWO_THIRDS[like.dtype]
    p = fast_two_sum(like.of(third), z.high * polynomial(LOG_TAIL[like.dtype], z.high))
    p = Words(p.high, p.low + third_low)
    tail = multiply(multiply(s, z), p)
    logarithm = fast_two_sum(s.high + s.high, tail.high)
    low = logarithm.low + ((s.low + s.low) + tail.low)
    k = (e if times is None else e + times).to_float()
    ln2_high, ln2_low = LN2[like.dtype]
    powers = two_product(k, like.of(ln2_high))
    total = two_sum(powers.high, logarithm.high)
    return fast_two_sum(total.high, total.low + (low + fma(ln2_low, k, powers.low)))


def _scaled_low(low: Real, e: Whole) -> Real:
    """`low` * 2^-e; beyond 2^64 the logarithm is so large that the low float does not show."""
    is_near = (e < 64) & (low.whole(-64) < e)
    k = is_near.choose(low.whole(0) - e, low.whole(0))
    return is_near.select(low * power_of_two(k, low), 0.0)


def multiply(x: Words, y: Words) -> Words:
    """X * y."""
    product = two_product(x.high, y.high)
    return Words(product.high, product.low + fma(x.high, y.low, x.low * y.high))


@unary
def log1p(x: Real) -> Real:
    """log(1 + x)."""
    logarithm = log_words(two_sum(x.of(1.0), x))
    is_tiny = abs(x) < 2.0 ** -(x.digits + 2)
    result = is_tiny.select(x, logarithm.high + logarithm.low)
    above = (x < inf).select(result, x)
    return (x > -1.0).select(above, x.equals(-1.0).select(-inf, nan))
