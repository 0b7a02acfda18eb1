"""sinh, cosh, tanh and their inverses.

Note [Hyperbolic functions]
    sinh and cosh are (e^x -+ e^-x) / 2 with e^x in two floats, so that the difference keeps its
    digits; sinh for |x| < 1/2, and tanh for |x| < 0.6, are odd polynomials. Otherwise tanh is
    1 - 2 / (e^2x + 1). The inverses are logarithms of two floats (log_words): of
    x + sqrt(x^2 + 1), of x + sqrt(x^2 - 1), and half that of (1 + x) / (1 - x). All odd ones work
    on |x| and take the sign of x at the end, so that -0 stays -0.
"""

from math import inf, nan

from bcai.vm.isa.scalar.exponential import OVERFLOW, clamp, exp_moderate, exp_words
from bcai.vm.isa.scalar.expression import Real, Whole, fma, polynomial, table, unary
from bcai.vm.isa.scalar.logarithm import log_words
from bcai.vm.isa.scalar.words import (
    Words,
    choose,
    divide,
    fast_two_sum,
    power_of_two,
    scale,
    square_root,
    two_product,
    two_sum,
)
from bcai.vm.isa.types import DType

TANH = {
    DType.float32: table("""
        -0x1.555556p-2 0x1.1110f6p-3 -0x1.ba0d7p-5 0x1.64f858p-6 -0x1.138308p-7 0x1.36667ap-9
    """),
    DType.float64: table("""
        -0x1.5555555555555p-2 0x1.11111111110e2p-3 -0x1.ba1ba1ba158b4p-5 0x1.664f48804878p-6
        -0x1.226e34d96ffffp-7 0x1.d6d3afc9566edp-9 -0x1.7da0c52b642dbp-10 0x1.3534eb607ef5cp-11
        -0x1.f2ffb230e58aep-13 0x1.8754f5b807b51p-14 -0x1.0ceb9d01ec2c2p-15
        0x1.d050ee944d158p-18
    """),
}
"""(tanh(x) / x - 1) / x^2 as a function of x^2, for |x| <= 0.6."""

SINH = {
    DType.float32: table("""
        0x1.555556p-3 0x1.11103ep-7 0x1.a24876p-13
    """),
    DType.float64: table("""
        0x1.5555555555555p-3 0x1.1111111111121p-7 0x1.a01a01a00ec35p-13 0x1.71de3a8532c4ap-19
        0x1.ae639f0180ad9p-26 0x1.62691b07443cfp-33
    """),
}
"""(sinh(x) / x - 1) / x^2 as a function of x^2, for |x| <= 1/2."""

TINY = {DType.float32: 2.0**-14, DType.float64: 2.0**-29}
"""Below this every odd function here is x."""

LARGE = {DType.float32: 2.0**14, DType.float64: 2.0**29}
"""From here on sqrt(x^2 +- 1) is x."""


def odd_polynomial(coefficients: tuple[float, ...], x: Real) -> Real:
    """X + x^3 p(x^2)."""
    square = x * x
    return fma(square * polynomial(coefficients, square), x, x)


@unary
def tanh(x: Real) -> Real:
    """Hyperbolic tangent."""
    a = abs(x)
    small = odd_polynomial(TANH[x.dtype], a)
    limit = 10.0 if x.dtype is DType.float32 else 20.0
    bounded = (a > limit).select(limit, a)
    large = 1.0 - 2.0 / (exp_moderate(bounded + bounded) + 1.0)
    return (a < 0.6).select(small, large).with_sign_of(x)


def _exponentials(a: Real) -> tuple[Words, Words, Whole]:
    """e^a 2^-k, e^-a 2^-k, and k, for a not below 0."""
    e = exp_words(Words(clamp(a, 0.0, OVERFLOW[a.dtype]), a.of(0.0)))
    value = e.value
    inverse = divide(Words(a.of(1.0), a.of(0.0)), value)
    is_near = e.k < 40
    factor = power_of_two(is_near.choose(a.whole(0) - (e.k + e.k), a.whole(-80)), a)
    return value, Words(inverse.high * factor, inverse.low * factor), e.k


@unary
def sinh(x: Real) -> Real:
    """Hyperbolic sine."""
    a = abs(x)
    up, down, k = _exponentials(a)
    difference = fast_two_sum(up.high, -down.high)
    result = scale(difference.high + (difference.low + (up.low - down.low)), k - 1)
    small = odd_polynomial(SINH[x.dtype], a)
    return (a < 0.5).select(small, result).with_sign_of(x)


@unary
def cosh(x: Real) -> Real:
    """Hyperbolic cosine."""
    up, down, k = _exponentials(abs(x))
    total = fast_two_sum(up.high, down.high)
    return scale(total.high + (total.low + (up.low + down.low)), k - 1)


@unary
def asinh(x: Real) -> Real:
    """Inverse hyperbolic sine."""
    a = abs(x)
    square = two_product(a, a)
    shifted = two_sum(square.high, a.of(1.0))
    root = square_root(Words(shifted.high, shifted.low + square.low))
    result = _log_of_sum(a, root)
    return (a < TINY[x.dtype]).select(a, (a < inf).select(result, a)).with_sign_of(x)


@unary
def acosh(x: Real) -> Real:
    """Inverse hyperbolic cosine."""
    square = two_product(x, x)
    shifted = two_sum(square.high, x.of(-1.0))
    root = square_root(Words(shifted.high, shifted.low + square.low))
    above = (x < inf).select(_log_of_sum(x, root), x)
    return (x < 1.0).select(nan, above)


def _log_of_sum(x: Real, root: Words) -> Real:
    """log(x + root), where x is so large that its square overflows log(2 x)."""
    is_large = x > LARGE[x.dtype]
    total = two_sum(x, root.high)
    argument = choose(is_large, Words(x, x.of(0.0)), Words(total.high, total.low + root.low))
    logarithm = log_words(argument, is_large.choose(x.whole(1), x.whole(0)))
    return x.is_nan().select(x, logarithm.high + logarithm.low)


@unary
def atanh(x: Real) -> Real:
    """Inverse hyperbolic tangent."""
    a = abs(x)
    one = x.of(1.0)
    logarithm = log_words(divide(two_sum(one, a), two_sum(one, -a)))
    result = (logarithm.high + logarithm.low) * 0.5
    inside = (a < TINY[x.dtype]).select(a, result)
    return (a < 1.0).select(inside, a.equals(1.0).select(inf, nan)).with_sign_of(x)
