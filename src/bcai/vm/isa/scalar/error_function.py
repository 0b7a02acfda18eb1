"""erf.

Note [Error function]
    For |x| < 0.92 it is x + x p(x^2). Up to 2 it is erf(1.46) + p(|x| - 1.46): the constant's
    rounding error stands in the polynomial. Beyond, 1 - e^-p(|x|), where the exponential is so
    small that its error does not show. Polynomials: bench/scalar_coefficients.py.
"""

from bcai.vm.isa.scalar.exponential import exp_moderate
from bcai.vm.isa.scalar.expression import Real, fma, polynomial, table, unary
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
