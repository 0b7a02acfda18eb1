"""The normal distribution function.

Note [Normal distribution]
    With a = |x| it is q for negative x, else 1 - q, where q = d(a) / (a + r(a) / p(a)): d is the
    density, and r / p the quotient of two polynomials that goes from d(0) / q(0) to 0. It is
    computed as d p / (a p + r). All coefficients are positive, so nothing cancels, and the further
    out a is, the less the polynomials' roundings show. In the density the square is taken in two
    floats; with L = 2 ln 2 rounded it is -n L + s, and e^(-a^2 / 2) is 2^n e^(-s / 2) but for the
    rounding of L, which r makes up for. One path for all x, with one division: it is what the time
    of `Gelu` consists of. Coefficients: bench/normal_coefficients.py.
"""

from bcai.vm.isa.scalar.expression import Real, Whole, fma, polynomial, table, unary
from bcai.vm.isa.scalar.words import round_shift, two_product
from bcai.vm.isa.types import DType

HALF_LOG2_E = {
    DType.float32: float.fromhex("0x1.715476p-1"),
    DType.float64: float.fromhex("0x1.71547652b82fep-1"),
}
TWICE_LN2 = {
    DType.float32: float.fromhex("0x1.62e43p+0"),
    DType.float64: float.fromhex("0x1.62e42fefa39efp+0"),
}
DENSITY = {
    DType.float32: table("""
        0x1.988404p-2 -0x1.988404p-3 0x1.988404p-5 -0x1.105756p-7 0x1.1057acp-10 -0x1.b5a068p-14
        0x1.23701ep-17
    """),
    DType.float64: table("""
        0x1.9884533d43651p-2 -0x1.9884533d43651p-3 0x1.9884533d43651p-5 -0x1.1058377e2cee5p-7
        0x1.1058377e2cee2p-10 -0x1.b3c058c9de61p-14 0x1.22803b31401a9p-17 -0x1.4c0043b3c7b58p-21
        0x1.4c0043addfebap-25 -0x1.271c76bb8ba7bp-29 0x1.d82da401d8105p-34 -0x1.5832e10a6967cp-38
        0x1.cac7ad23af39ep-43
    """),
}
"""e^(-s / 2) / sqrt(2 pi), for |s| <= ln 2."""

P = {
    DType.float32: table("""
        0x1.a04b8ep+6 0x1.7c519cp+6 0x1.47fbd8p+5 0x1.2d8432p+3 0x1p+0
    """),
    DType.float64: table("""
        0x1.8124099ebf26bp+22 0x1.31d9993bc220ep+23 0x1.e165284ec174fp+22 0x1.e374c0c4b9fcep+21
        0x1.52ffdd6854d3dp+20 0x1.583e82ee9cbddp+18 0x1.fde1ec4510f15p+15 0x1.0e7a10bca1864p+13
        0x1.86482a1de8239p+9 0x1.53b71c29ecd74p+5 0x1p+0
    """),
}
R = {
    DType.float32: table("""
        0x1.4c278cp+6 0x1.3059e4p+5 0x1.302c3ap+3 0x1.fe03a6p-1
    """),
    DType.float64: table("""
        0x1.334c4192684ccp+22 0x1.5c1d0a1d739f5p+22 0x1.979a21d98d4f2p+21 0x1.3503ffd39fb49p+20
        0x1.47c146b6fc0a2p+18 0x1.f1c394f137999p+15 0x1.0bd2a587f8007p+13 0x1.854828f6fd7d6p+9
        0x1.53b71c7065869p+5 0x1.ffffffdfc51b5p-1
    """),
}
"""q(a) / d(a) is P(a) / (a P(a) + R(a)), for a from 0 to END."""

END = {DType.float32: 14.25, DType.float64: 38.75}
"""What lies beyond it is 0."""

LIFT = {DType.float32: 32, DType.float64: 512}
"""What is divided is lifted by 2^LIFT: only the division may round into the subnormals."""


@unary
def ndtr(x: Real) -> Real:
    """Share of the standard normal distribution that lies below x."""
    a = abs(x)
    a = (a > END[x.dtype]).select(END[x.dtype], a)
    square = two_product(a, a)
    shift = x.of(round_shift(x))
    shifted = fma(-HALF_LOG2_E[x.dtype], square.high, shift)
    s = fma(TWICE_LN2[x.dtype], shifted - shift, square.high) + square.low
    n, lift = shifted.bits - shift.bits, x.whole(LIFT[x.dtype])
    p = polynomial(P[x.dtype], a)
    above = _times_power(polynomial(DENSITY[x.dtype], s), n + lift) * p
    below = _times_power(fma(a, p, polynomial(R[x.dtype], a)), lift)
    return abs((x < 0.0).select(x.of(0.0), 1.0) - above / below)


def _times_power(x: Real, k: Whole) -> Real:
    """X * 2^k, where both are normal."""
    return (x.bits + (k << (x.digits - 1))).real()
