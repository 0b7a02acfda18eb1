"""pow.

Note [Power]
    |x|^y = e^(y log |x|) with log |x| in two floats, the product exact in two, and its exponential
    from both. The special values are those of C (ISO/IEC 9899:2018, F.10.4.4): x^0 and 1^y are 1
    even for not-a-number; a negative base has a value only for an integer exponent, and a sign for
    an odd one; zeros and infinities follow their limits.
"""

from math import inf, nan
from typing import Any

from bcai.vm.isa.arithmetic import Arithmetic
from bcai.vm.isa.scalar.exponential import OVERFLOW, UNDERFLOW, exp_words
from bcai.vm.isa.scalar.expression import Mask, Real, fma
from bcai.vm.isa.scalar.logarithm import log_words
from bcai.vm.isa.scalar.words import Words, scale


def pow(a: Arithmetic[Any], x: Any, y: Any) -> Any:
    """x^y."""
    return _pow(Real(a, x), Real(a, y)).value


def _pow(x: Real, y: Real) -> Real:
    base = abs(x)
    magnitude = _magnitude(base, y)
    is_whole, is_odd = _parity(y)
    is_negative = x.bits < 0  # -0 too
    signed = (is_negative & is_odd).select(-magnitude, magnitude)
    is_undefined = (x < 0.0) & (base < inf)
    defined = is_undefined.select(is_whole.select(signed, nan), signed)
    is_number = x.equals(x) & y.equals(y)
    is_one = x.equals(1.0) | y.equals(0.0) | (base.equals(1.0) & abs(y).equals(inf))
    return is_one.select(1.0, is_number.select(defined, nan))


def _magnitude(base: Real, y: Real) -> Real:
    logarithm = log_words(Words(base, base.of(0.0)))
    high = base.equals(0.0).select(-inf, (base < inf).select(logarithm.high, base))
    exponent = y * high
    least, most = UNDERFLOW[y.dtype], OVERFLOW[y.dtype]
    is_inside = (exponent > least) & (exponent < most)
    low = fma(y, high, -exponent) + y * logarithm.low
    bounded = (exponent < 0.0).select(least, most)
    e = exp_words(Words(is_inside.select(exponent, bounded), is_inside.select(low, 0.0)))
    value = e.value
    return scale(value.high + value.low, e.k)


def _parity(y: Real) -> tuple[Mask, Mask]:
    """Whether y is an integer (an infinity is), and whether it is an odd one."""
    size = abs(y)
    shift = 2.0 ** (y.digits - 1)
    shifted = size + shift
    is_small = size < shift
    is_whole = (shifted - shift).equals(size) | (size > shift) | size.equals(shift)
    last_bit = is_small.choose(shifted.bits, y.bits) & 1
    return is_whole, is_whole & last_bit.equals(1) & (size < 2.0**y.digits)
