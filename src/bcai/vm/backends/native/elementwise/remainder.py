"""Remainders of floats, exactly.

Note [Exact remainder]
    The remainder of two floats of one format is a float of that format. With p digits, let q be
    the rounded a / b, rounded down, of positive a and b. Below 2^p it is the true quotient t or
    t + 1, since rounding never crosses a whole number that has p digits. So a - q b lies between
    -b and b, is a multiple of the last place of b, and one fused multiply-add gives all of it; what
    is negative gets another b, exactly. All lanes at once.

    Where a lane's quotient is larger, or one of the two is not a usual number, the lanes are done
    one after the other in whole numbers, float32 as float64. With a = m 2^e and b = n 2^k,
    mantissas of 53 bits and e >= k, the remainder is (m 2^(e-k) mod n) 2^k: ten bits of the power
    are appended at a time, and the remainder by n is taken.
"""

from collections.abc import Mapping
from types import MappingProxyType

from bcai.vm.backends.native.elementwise.application import Application, Emit
from bcai.vm.backends.native.llvm import F64, I1, I64, Function, Module, Value
from bcai.vm.isa.types import DType

_FRACTION = 52
_DIGITS = 10
_SIGN = -1 << 63
_LEAST = -1000
"""A power of two by which any mantissa stays normal."""


def _truncated(a: Application) -> Value:
    """`Fmod`."""
    f, b, registers = a.f, a.f.b, a.lanes.registers(a.dtype)
    dividend, divisor = (f.intrinsic("fabs", each) for each in a.pair)
    quotient = registers.div(dividend, divisor)
    digits = 53 if a.dtype is DType.float64 else 24
    is_short = registers.mask_and(
        registers.less(quotient, registers.constant(2.0**digits)),
        registers.less(divisor, registers.constant(float("inf"))),
    )
    down = b.fneg(f.intrinsic("floor", quotient))
    rest = registers.fma(down, divisor, dividend)
    is_below = registers.less(rest, registers.constant(0.0))
    rest = registers.select(is_below, registers.add(rest, divisor), rest)
    short = f.intrinsic("copysign", rest, a.pair[0])
    (found,) = registers.rare(b.not_(is_short), lambda: (_lane_by_lane(a),), (short,))
    return found


def _lane_by_lane(a: Application) -> Value:
    f, (x, y) = a.f, a.pair
    module = f.module
    if not module.has("remainder"):
        _write_remainder(module)
    result = f.undefined(x.type)
    is_wide = a.dtype is DType.float64
    for lane in range(a.lanes.count):
        both = [f.lane(each, lane) for each in (x, y)]
        wide = both if is_wide else [f.b.fpext(each, F64) for each in both]
        one = f.call(module.handle("remainder"), wide)
        result = f.with_lane(result, one if is_wide else f.b.fptrunc(one, both[0].type), lane)
    return result


def _floored(a: Application) -> Value:
    """`Mod`."""
    f, b, (_, divisor) = a.f, a.f.b, a.pair
    zero = a.number(0.0)
    rest = _truncated(a)
    is_zero = b.fcmp_ordered("==", rest, zero)
    signed = b.select(is_zero, f.intrinsic("copysign", rest, divisor), rest)
    other_sign = b.xor(b.fcmp_ordered("<", rest, zero), b.fcmp_ordered("<", divisor, zero))
    moves = b.and_(other_sign, b.fcmp_unordered("!=", rest, zero))
    return b.select(moves, b.fadd(rest, divisor), signed)


def _write_remainder(module: Module) -> None:
    f = module.function("remainder", [F64, F64], F64, internal=True, inline=False)
    x, y = f.arguments
    b, zero, infinity = f.b, f.constant(F64, 0.0), f.constant(F64, float("inf"))
    size, divisor = f.intrinsic("fabs", x), f.intrinsic("fabs", y)
    undefined = b.or_(b.fcmp_unordered(">=", size, infinity), b.fcmp_unordered("==", y, zero))
    with f.when(undefined, likely=False):
        f.give(f.constant(F64, float("nan")))
    with f.when(b.fcmp_unordered("uno", y, y), likely=False):
        f.give(y)
    with f.when(b.fcmp_ordered("<", size, divisor)):
        f.give(x)
    mantissa, exponent = _parts(f, size)
    by, power = _parts(f, divisor)
    distance = f.sub(exponent, power)
    first = f.b.urem(mantissa, by)
    with f.loop(0, f.div(distance, _DIGITS), carry=[first]) as loop:
        loop.following[0] = f.b.urem(b.shl(loop.carried[0], f.number(_DIGITS)), by)
    rest = f.b.urem(b.shl(loop.following[0], f.rem(distance, _DIGITS)), by)
    near = f.maximum(power, _LEAST)
    value = b.fmul(b.fmul(b.sitofp(rest, F64), _power(f, near)), _power(f, f.sub(power, near)))
    sign = b.and_(b.bitcast(x, I64), f.number(_SIGN))
    f.give(b.bitcast(b.or_(b.bitcast(value, I64), sign), F64))


def _parts(f: Function, size: Value) -> tuple[Value, Value]:
    """Mantissa with its 53rd bit set, and exponent, of a positive number; of 0 anything."""
    bits = f.b.bitcast(size, I64)
    field = f.b.lshr(bits, f.number(_FRACTION))
    fraction = f.b.and_(bits, f.number((1 << _FRACTION) - 1))
    hidden = f.b.or_(fraction, f.number(1 << _FRACTION))
    mantissa = f.b.select(f.less(0, field), hidden, fraction)
    free = f.sub(f.intrinsic("ctlz", mantissa, f.constant(I1, 0), suffix=I64), 63 - _FRACTION)
    exponent = f.sub(f.sub(f.maximum(field, 1), 1023 + _FRACTION), free)
    return f.b.shl(mantissa, free), exponent


def _power(f: Function, exponent: Value) -> Value:
    """2 to a power within the normal exponents."""
    return f.b.bitcast(f.b.shl(f.add(exponent, 1023), f.number(_FRACTION)), F64)


REMAINDERS: Mapping[str, Emit] = MappingProxyType({"Mod": _floored, "Fmod": _truncated})
