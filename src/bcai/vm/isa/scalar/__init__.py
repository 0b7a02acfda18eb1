"""Scalar functions as fixed graphs of exact operations, written once for every backend.

Each takes an `Arithmetic` and values of it: `exp(Exact(DType.float32), x)`. The same text runs in
NumPy and, with registers for values, in a compiler. At most 1.5 ulp in float32 and 2 in float64,
4 for `ndtr`; subnormals are kept, and special values are those of C (ISO/IEC 9899:2018, annex F).
"""

from bcai.vm.isa.scalar.error_function import erf, erfc
from bcai.vm.isa.scalar.exponential import exp, expm1, sigmoid
from bcai.vm.isa.scalar.hyperbolic import acosh, asinh, atanh, cosh, sinh, tanh
from bcai.vm.isa.scalar.inverse_trigonometric import acos, asin, atan
from bcai.vm.isa.scalar.logarithm import log, log1p
from bcai.vm.isa.scalar.normal_distribution import ndtr
from bcai.vm.isa.scalar.power import pow
from bcai.vm.isa.scalar.trigonometric import cos, sin, tan

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "log",
    "log1p",
    "ndtr",
    "pow",
    "sigmoid",
    "sin",
    "sinh",
    "tan",
    "tanh",
]
