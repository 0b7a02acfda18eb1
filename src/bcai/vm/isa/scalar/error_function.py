"""erf and erfc.

Note [Error function]
    For |x| < 0.92 it is x + x p(x^2). Up to 2 it is erf(1.46) + p(|x| - 1.46): the constant's
    rounding error stands in the polynomial. Beyond, 1 - e^-p(|x|), where the exponential is so
    small that its error does not show. Polynomials: bench/scalar_coefficients.py.

    erfc, for |x| < 0.75, is 1 - (x + x p(x^2)). Beyond it is e^(-x^2) times the scaled function
    e^(x^2) erfc(x), with the square, the exponential and the scaled function in two floats each:
    g(1.5) + u p(u) with u = |x| - 1.5 up to 2.5, and (1 / sqrt(pi) + z p(z)) / |x| with z = 1 / x^2
    beyond, so that the polynomials' roundings hardly show. Of a negative x it is 2 - erfc(|x|).
"""

from bcai.vm.isa.scalar.exponential import exp_moderate, exp_words
from bcai.vm.isa.scalar.expression import Real, fma, polynomial, table, unary
from bcai.vm.isa.scalar.words import (
    Words,
    choose,
    divide,
    fast_two_sum,
    scale,
    two_product,
    two_sum,
)
from bcai.vm.isa.types import DType

ERF = {
    DType.float32: table("""
        0x1.06eba8p-3 -0x1.812744p-2 0x1.ce2e2ap-4 -0x1.b81144p-6 0x1.54e1d6p-8 -0x1.ab232ap-11
        0x1.5fc3bep-14
    """),
    DType.float64: table("""
        0x1.06eba8214db69p-3 -0x1.812746b0379ep-2 0x1.ce2f21a0425e8p-4 -0x1.b82ce31267d4dp-6
        0x1.565bcd0892014p-8 -0x1.c02db2c5ede5bp-11 0x1.f9a2fd0b6ec6bp-14 -0x1.f4ceab2b84bcdp-17
        0x1.b9af0dba85867p-20 -0x1.5d4468e861176p-23 0x1.e084d9e9d24aap-27
        -0x1.ca92c3c47d1c2p-31
    """),
}
"""erf(x) / x - 1 as a function of x^2, for |x| <= 0.921875."""

MIDDLE = 1.4609375
ERF_OF_MIDDLE = {
    DType.float32: float.fromhex("0x1.ec1fa2p-1"),
    DType.float64: float.fromhex("0x1.ec1fa258c4beap-1"),
}
ERF_MIDDLE = {
    DType.float32: table("""
        0x1.6c7b94p-27 0x1.116f48p-3 -0x1.8f789ap-3 0x1.29ec72p-3 -0x1.51db28p-5 -0x1.40382ep-6
        0x1.4fe84ep-6 -0x1.f9ef96p-9 -0x1.7fefp-9 0x1.8f3e5ap-10
    """),
    DType.float64: table("""
        0x1.c60ddd79901e3p-55 0x1.116f48a6476cep-3 -0x1.8f789422ec58ep-3 0x1.29ec580feba3dp-3
        -0x1.51ddcbca9efdep-5 -0x1.402266c4732e4p-6 0x1.50181c55b1a45p-6 -0x1.00447211b80ep-8
        -0x1.84f755e3630b4p-9 0x1.c3e0835331725p-10 0x1.910aeaaa00a71p-16 -0x1.2e6f182086251p-12
        0x1.175d207318afep-14 0x1.af6cac86838bp-16 -0x1.daaac4bfc45afp-17 -0x1.ed97871aa9ed3p-22
        0x1.ce91c87158b36p-20 -0x1.9ae2f0156ae1fp-23 -0x1.198e4aaa9af0bp-23
    """),
}
"""erf(MIDDLE + u) - ERF_OF_MIDDLE for MIDDLE + u in [0.921875, 2]."""

ERF_TAIL = {
    DType.float32: table("""
        0x1.570d36p+3 0x1.9370b6p+2 0x1.ea2f9p-1 0x1.e5533ap-8 -0x1.62835p-10 0x1.0efe7ap-12
        -0x1.794acp-15
    """),
    DType.float64: table("""
        0x1.1fcdf0a1a2e35p+4 0x1.07906645f5acfp+3 0x1.f26754402b26ep-1 0x1.f12cc36f6df73p-9
        -0x1.3136a8ae9bf89p-11 0x1.7dc9f03f063a2p-14 -0x1.da6b951257feap-17
        0x1.2013a04c542d3p-19 -0x1.5102d5904778fp-22 0x1.75309efd35e5cp-25
        -0x1.7c4db5c27abe9p-28 0x1.50053456df44dp-31 -0x1.a9a335ac47eddp-35
        -0x1.538d6e1b7733fp-41 0x1.91c541a0372f8p-40 -0x1.cc228bb4b882bp-42
        0x1.6fa1889005deep-44 -0x1.23f0279f51005p-46 0x1.fb22ed03c73c7p-49
        -0x1.e637f918a7215p-52
    """),
}
"""-log(1 - erf(c + u)): around c = 3 up to 4 for float32, around 4 up to 6 for float64."""

END = {DType.float32: 4.0, DType.float64: 6.0}


@unary
def erf(x: Real) -> Real:
    """Error function."""
    a = abs(x)
    small = fma(polynomial(ERF[x.dtype], a * a), a, a)
    middle = polynomial(ERF_MIDDLE[x.dtype], a - MIDDLE) + ERF_OF_MIDDLE[x.dtype]
    end = END[x.dtype]
    bounded = (a > end).select(end, a)
    exponent = polynomial(ERF_TAIL[x.dtype], bounded - (end + 2.0) / 2.0)
    large = 1.0 - exp_moderate(-exponent)
    return (a < 0.921875).select(small, (a < 2.0).select(middle, large)).with_sign_of(x)


ERFC_CENTRE = 1.5
ERFC_OF_CENTRE = {
    DType.float32: table("0x1.494dbp-2 -0x1.754a5ep-32"),
    DType.float64: table("0x1.494daffa2ad68p-2 0x1.39bdf0f0d8e21p-56"),
}
"""e^(1.5^2) erfc(1.5), in two floats."""
ERFC_MIDDLE = {
    DType.float32: table("""
        -0x1.4f1988p-3 0x1.37ea28p-4 -0x1.0dc50ep-5 0x1.b6592ap-7 -0x1.514548p-8 0x1.ee8p-10
        -0x1.5a2516p-11 0x1.d1855ap-13 -0x1.3d4abcp-14 0x1.b096c2p-16 -0x1.74578ep-18
    """),
    DType.float64: table("""
        -0x1.4f1988444caf7p-3 0x1.37ea271bc54bep-4 -0x1.0dc51d2941e44p-5 0x1.b65944f34f6p-7
        -0x1.513ed7601099ep-8 0x1.ee705e737eda1p-10 -0x1.5b0abfe48ed8p-11
        0x1.d4509d0101c36p-13 -0x1.30c0ece883484p-14 0x1.7f997c3dff94ep-16
        -0x1.d41551870bd53p-18 0x1.156c1d6115e64p-19 -0x1.400757321ff3dp-21
        0x1.67e4564904b1fp-23 -0x1.8ab1053bcc6f7p-25 0x1.a54e7900b978bp-27
        -0x1.bc508babfce72p-29 0x1.e6a6b6ea87841p-31 -0x1.f8e484047a288p-33
        0x1.351393995447ep-35
    """),
}
"""(e^(x^2) erfc(x) - ERFC_OF_CENTRE) / u with x = 1.5 + u, for x in [0.75, 2.5]."""

ONE_OVER_ROOT_PI = {
    DType.float32: table("0x1.20dd76p-1 -0x1.f7ac92p-26"),
    DType.float64: table("0x1.20dd750429b6dp-1 0x1.1ae3a914fed8p-57"),
}
"""In two floats."""
ERFC_PLACE = 0.078125
ERFC_TAIL = {
    DType.float32: table("""
        -0x1.0444d6p-2 0x1.37f706p-2 -0x1.1903eap-1 0x1.42d3d8p+0 -0x1.bdaaa6p+1
        0x1.81bd0cp+3 -0x1.20794ep+5
    """),
    DType.float64: table("""
        -0x1.0444d5108df2dp-2 0x1.37f6692c137b8p-2 -0x1.190be4affd8adp-1
        0x1.43bb77186d80ep+0 -0x1.ba1e9d209c127p+1 0x1.56e5b04180227p+3
        -0x1.25eb3f45f939bp+5 0x1.114864262aa08p+7 -0x1.0fede941ee725p+9
        0x1.1ea1ee3a0e445p+11 -0x1.3dc2fa7eb5d25p+13 0x1.710dd266fea2ap+15
        -0x1.b91d17f0ea9c9p+17 0x1.0685edfa66142p+20 -0x1.67a4ff8bca969p+22
        0x1.3decc089bc9e5p+25 -0x1.4bfbd85146ad2p+27 -0x1.708991af02817p+28
        -0x1.c9c4127f23aa4p+30 0x1.95af1c9f56fd3p+36 -0x1.d63f2ebfc9b12p+38
    """),
}
"""(x e^(x^2) erfc(x) - 1 / sqrt(pi)) / z with z = 1 / x^2 = ERFC_PLACE + u, for x from 2.5."""

ERFC_END = {DType.float32: 10.5, DType.float64: 27.5}
"""erfc(x) is 0 from here on."""


@unary
def erfc(x: Real) -> Real:
    """1 - erf(x), without cancellation."""
    a = abs(x)
    bounded = (a > ERFC_END[x.dtype]).select(ERFC_END[x.dtype], a)
    small = fast_two_sum(x, polynomial(ERF[x.dtype], a * a) * x)
    near = two_sum(x.of(1.0), -small.high)
    square = two_product(bounded, bounded)
    e = exp_words(Words(-square.high, -square.low))
    factor, scaled = e.value, _scaled_erfc(bounded)
    product = two_product(factor.high, scaled.high)
    rest = fma(factor.high, scaled.low, fma(factor.low, scaled.high, product.low))
    far = scale(product.high + rest, e.k)
    large = (x < 0.0).select(2.0 - far, far)
    return (a < 0.75).select(near.high + (near.low - small.low), large)


def _scaled_erfc(a: Real) -> Words:
    """e^(a^2) erfc(a), for a from 0.75 to the end."""
    u = a - ERFC_CENTRE
    high, low = ERFC_OF_CENTRE[a.dtype]
    slope, *rest = ERFC_MIDDLE[a.dtype]
    p = fast_two_sum(a.of(slope), polynomial(tuple(rest), u) * u)
    change = two_product(p.high, u)
    middle = fast_two_sum(a.of(high), change.high)
    low = fma(p.low, u, change.low) + low
    z = 1.0 / (a * a)
    root_high, root_low = ONE_OVER_ROOT_PI[a.dtype]
    tail = fast_two_sum(a.of(root_high), polynomial(ERFC_TAIL[a.dtype], z - ERFC_PLACE) * z)
    quotient = divide(Words(tail.high, tail.low + root_low), Words(a, a.of(0.0)))
    return choose(a < 2.5, Words(middle.high, middle.low + low), quotient)
