"""exp, expm1 and sigmoid.

Note [Exponential]
    x = n ln 2 + r with n the nearest integer, |r| <= ln 2 / 2. ln 2 is cut in floats L1 + L2; the
    fused x - n L1 is exact. e^r = 1 + (r + r^2 q(r)) with a polynomial q, then a multiplication by
    2^n in two steps, of which only the second rounds, and only into the subnormals. `exp` keeps r
    in one float (at most 1.1 ulp); `exp_words` keeps r and the result in two, for the functions
    where one rounding more would show. Polynomials: bench/scalar_coefficients.py.
"""

from typing import NamedTuple

from bcai.vm.isa.scalar.expression import Real, Whole, fma, polynomial, table, unary
from bcai.vm.isa.scalar.words import (
    Words,
    choose,
    divide,
    fast_two_sum,
    power_of_two,
    round_shift,
    scale,
    two_sum,
)
from bcai.vm.isa.types import DType

LOG2_E = {
    DType.float32: float.fromhex("0x1.715476p+0"),
    DType.float64: float.fromhex("0x1.71547652b82fep+0"),
}
LN2 = {
    DType.float32: table("0x1.62e43p-1 -0x1.05c61p-29"),
    DType.float64: table("0x1.62e42fefa39efp-1 0x1.abc9e3b39803fp-56"),
}
EXP = {
    DType.float32: table("""
        0x1p-1 0x1.555556p-3 0x1.5554e8p-5 0x1.1110ep-7 0x1.6d444ap-10 0x1.a125f6p-13
    """),
    DType.float64: table("""
        0x1p-1 0x1.5555555555557p-3 0x1.5555555555556p-5 0x1.111111111009cp-7
        0x1.6c16c16c162bp-10 0x1.a01a01ac0a9eep-13 0x1.a01a01a6ec522p-16 0x1.71de01c3fc936p-19
        0x1.27e4db25ce3adp-22 0x1.af4ecd2129492p-26 0x1.1f7385560be05p-29
    """),
}
"""(e^r - 1 - r) / r^2 for |r| <= ln 2 / 2."""

OVERFLOW = {DType.float32: 90.0, DType.float64: 711.0}
"""e^x and sinh x are infinite from here on."""

UNDERFLOW = {DType.float32: -105.0, DType.float64: -746.0}
"""e^x is 0 up to here."""


def clamp(x: Real, low: float, high: float) -> Real:
    """The nearest number in [low, high]; not-a-number stays."""
    return (x > high).select(high, (x < low).select(low, x))


@unary
def exp(x: Real) -> Real:
    """e^x."""
    value, k = exp_one(clamp(x, UNDERFLOW[x.dtype], OVERFLOW[x.dtype]))
    return scale(value, k)


def exp_one(x: Real) -> tuple[Real, Whole]:
    """e^x as a float about 1 and a power of two."""
    n, k = _nearest_power(x)
    ln2_high, ln2_low = LN2[x.dtype]
    r = fma(-ln2_low, n, fma(-ln2_high, n, x))
    return fma(r * r, polynomial(EXP[x.dtype], r), r) + 1.0, k


def exp_moderate(x: Real) -> Real:
    """e^x where neither it nor 2^n leaves the normal range."""
    value, k = exp_one(x)
    return value * power_of_two(k, x)


def _nearest_power(x: Real) -> tuple[Real, Whole]:
    shift = x.of(round_shift(x))
    shifted = fma(LOG2_E[x.dtype], x, shift)
    return shifted - shift, shifted.bits - shift.bits


class Exponential(NamedTuple):
    """e^x = (1 + less_one) 2^k."""

    less_one: Words
    k: Whole

    @property
    def value(self) -> Words:
        """1 + less_one."""
        total = fast_two_sum(self.less_one.high.of(1.0), self.less_one.high)
        return fast_two_sum(total.high, total.low + self.less_one.low)


def exp_words(x: Words) -> Exponential:
    """e^x with about 7 more digits than one float has."""
    n, k = _nearest_power(x.high)
    ln2_high, ln2_low = LN2[x.high.dtype]
    r = two_sum(fma(-ln2_high, n, x.high), fma(-ln2_low, n, x.low))
    low = fma(r.low, r.high, r.low)
    tail = fma(r.high * r.high, polynomial(EXP[x.high.dtype], r.high), low)
    return Exponential(fast_two_sum(r.high, tail), k)


@unary
def expm1(x: Real) -> Real:
    """e^x - 1, without cancellation: 2^k ((1 - 2^-k) + (e^r - 1))."""
    low = -20.0 if x.dtype is DType.float32 else -40.0
    e = exp_words(Words(clamp(x, low, OVERFLOW[x.dtype]), x.of(0.0)))
    one = (e.k < 64).choose((1.0 - power_of_two(x.whole(0) - e.k, x)).bits, x.of(1.0).bits).real()
    total = two_sum(one, e.less_one.high)
    result = scale(total.high + (total.low + e.less_one.low), e.k)
    return x.equals(0.0).select(x, result)


@unary
def sigmoid(x: Real) -> Real:
    """1 / (1 + e^-x), as e^x / (1 + e^x) for negative x."""
    e = exp_words(Words(clamp(-abs(x), UNDERFLOW[x.dtype], 0.0), x.of(0.0)))
    value = e.value
    denominator = fast_two_sum(x.of(1.0), scale(value.high, e.k))
    low = denominator.low + scale(value.low, e.k)
    negative = x < 0.0
    one = Words(x.of(1.0), x.of(0.0))
    quotient = divide(choose(negative, value, one), Words(denominator.high, low))
    result = quotient.high + quotient.low
    return negative.select(scale(result, e.k), result)
