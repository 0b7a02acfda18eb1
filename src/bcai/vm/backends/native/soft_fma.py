"""The fused multiply-add on processors without one: the same bits, the long way.

Note [Soft fused multiply-add]
    float32: the product is exact in float64; the sum is rounded there *to odd*, and then rounding
    to float32 is correct, as in Note [Fused multiply-add in NumPy]. Rounding to odd is cutting
    towards zero and setting the last bit where something was cut. The rounded sum and its error
    say both: the sum went away from zero if their product is negative, and is inexact if that is
    not 0. Neither that product nor the sum can leave float64's range, not even for subnormals
    (2**-298 to 2**257); of infinities and not-a-number it is not-a-number, and nothing is adjusted.

    float64: whole numbers. Both terms become 128-bit numbers of one scale, the smaller one shifted
    with what falls off kept as a set last bit; their sum is rounded once. One lane at a time, since
    processors without the instruction are too old to be worth more.
"""

from bcai.vm.backends.native.llvm import (
    F32,
    F64,
    I1,
    I64,
    I128,
    Function,
    Value,
    element_of,
    lanes_of,
    vector,
)

SCALAR = "soft_fma64"
"""Name of the function for one float64 in a module that needs it."""

_FRACTION, _EXPONENT = 52, 0x7FF
_INFINITY = _EXPONENT << _FRACTION


def soft_fma(f: Function, a: Value, b: Value, c: Value) -> Value:
    """Return a * b + c, rounded once, in float32 or float64, any number of lanes."""
    if element_of(a.type) == F32:
        return _fma32(f, a, b, c)
    if not f.module.has(SCALAR):
        _write_fma64(f.module.function(SCALAR, (F64, F64, F64), F64, internal=True, inline=False))
    one, result = f.module.handle(SCALAR), f.undefined(a.type)
    for place in range(lanes_of(a.type)):
        lane = f.call(one, [f.lane(each, place) for each in (a, b, c)])
        result = f.with_lane(result, lane, place)
    return result


def _fma32(f: Function, a: Value, b: Value, c: Value) -> Value:
    lanes = lanes_of(a.type)
    wide, whole = vector(F64, lanes), vector(I64, lanes)
    x = f.b.fmul(f.b.fpext(a, wide), f.b.fpext(b, wide))
    y = f.b.fpext(c, wide)
    total = f.b.fadd(x, y)
    part = f.b.fsub(total, x)
    error = f.b.fadd(f.b.fsub(x, f.b.fsub(total, part)), f.b.fsub(y, part))
    side, zero = f.b.fmul(error, total), f.constant(wide, 0.0)
    beyond = f.b.sext(f.b.fcmp_ordered("<", side, zero), whole)
    within = f.b.sext(f.b.fcmp_ordered("<", zero, side), whole)
    inexact = f.b.lshr(f.b.or_(beyond, within), f.constant(whole, 63))
    odd = f.b.or_(f.b.add(f.b.bitcast(total, whole), beyond), inexact)
    return f.b.fptrunc(f.b.bitcast(odd, wide), a.type)


def _write_fma64(f: Function) -> None:
    a, b, c = f.arguments
    plain = f.b.or_(_is_zero(f, a), _is_zero(f, b))
    for each in (a, b):
        plain = f.b.or_(plain, _is_not_finite(f, each))
    with f.when(plain):
        f.b.ret(f.b.fadd(f.b.fmul(a, b), c))  # the product is a zero, infinite or not a number
    with f.when(_is_not_finite(f, c)):
        f.b.ret(c)  # not "a * b + c": a finite product could overflow to the other infinity
    with f.when(_is_zero(f, c)):
        f.b.ret(f.b.fmul(a, b))  # not "+ c": it could turn a product that rounds to -0 into +0
    sign_a, mantissa_a, exponent_a = _parts(f, a)
    sign_b, mantissa_b, exponent_b = _parts(f, b)
    sign_c, mantissa_c, exponent_c = _parts(f, c)
    # Highest bits: 124 or 125 of the product, 124 of c. Nothing is cut before 20 and 72 places.
    product = f.b.shl(f.b.mul(_wide(f, mantissa_a), _wide(f, mantissa_b)), _i128(f, 20))
    addend = f.b.shl(_wide(f, mantissa_c), _i128(f, 72))
    exponent_product = f.sub(f.add(exponent_a, exponent_b), 20)
    exponent_addend = f.sub(exponent_c, 72)
    exponent = f.maximum(exponent_product, exponent_addend)
    product = _shift_right(f, product, f.sub(exponent, exponent_product))
    addend = _shift_right(f, addend, f.sub(exponent, exponent_addend))
    sign = f.b.xor(sign_a, sign_b)
    smaller = f.b.icmp_unsigned("<", product, addend)
    difference = f.b.select(smaller, f.b.sub(addend, product), f.b.sub(product, addend))
    opposite = f.b.icmp_signed("!=", sign, sign_c)
    total = f.b.select(opposite, difference, f.b.add(product, addend))
    with f.when(f.b.icmp_signed("==", total, _i128(f, 0))):
        f.b.ret(f.constant(F64, 0.0))  # x - x is +0
    f.b.ret(_round(f, f.b.select(smaller, sign_c, sign), total, exponent))


def _round(f: Function, sign: Value, total: Value, exponent: Value) -> Value:
    """The float64 nearest to total * 2**exponent, of which the sign bit is `sign`."""
    free = f.intrinsic("ctlz", total, f.constant(I1, 0), suffix=I128)
    highest = f.sub(f.add(exponent, 127), f.b.trunc(free, I64))  # power of two of the first bit
    top = _shift_right(f, f.b.shl(total, free), f.number(65))  # 63 bits: rounding has room
    below = f.minimum(f.maximum(f.sub(-1022, highest), 0), 63)
    top = f.b.trunc(_shift_right(f, top, below), I64)
    last = f.b.and_(f.b.lshr(top, f.number(10)), f.number(1))
    rounded = f.b.lshr(f.add(f.add(top, 0x1FF), last), f.number(10))
    # The leading 1 of a normal number, or the carry of rounding, adds one to the exponent's field.
    field = f.minimum(f.maximum(f.add(highest, 1022), 0), 2046)
    bits = f.add(f.b.shl(field, f.number(_FRACTION)), rounded)
    overflows = f.b.icmp_unsigned("<", f.number(_INFINITY), bits)
    bits = f.b.select(overflows, f.number(_INFINITY), bits)
    return f.b.bitcast(f.b.or_(bits, sign), F64)


def _parts(f: Function, x: Value) -> tuple[Value, Value, Value]:
    """Sign bit, 53-bit mantissa with its first bit set, exponent: of a finite number, not 0."""
    bits = f.b.bitcast(x, I64)
    field = f.b.and_(f.b.lshr(bits, f.number(_FRACTION)), f.number(_EXPONENT))
    fraction = f.b.and_(bits, f.number((1 << _FRACTION) - 1))
    normal = f.less(0, field)
    mantissa = f.b.select(normal, f.b.or_(fraction, f.number(1 << _FRACTION)), fraction)
    free = f.sub(f.intrinsic("ctlz", mantissa, f.constant(I1, 0), suffix=I64), 11)
    exponent = f.sub(f.sub(f.maximum(field, 1), 1075), free)
    return f.b.and_(bits, f.number(-1 << 63)), f.b.shl(mantissa, free), exponent


def _shift_right(f: Function, value: Value, places: Value) -> Value:
    """Shift 128 bits; the last bit is set if anything but zeros falls off."""
    capped = _wide(f, f.minimum(places, 127))
    kept = f.b.lshr(value, capped)
    cut = f.b.icmp_signed("!=", f.b.shl(kept, capped), value)
    return f.b.or_(kept, f.b.zext(cut, I128))


def _is_zero(f: Function, x: Value) -> Value:
    return f.b.fcmp_ordered("==", x, f.constant(F64, 0.0))


def _is_not_finite(f: Function, x: Value) -> Value:
    return f.b.fcmp_unordered("uno", f.b.fsub(x, x), f.constant(F64, 0.0))


def _wide(f: Function, value: Value) -> Value:
    return f.b.zext(value, I128)


def _i128(f: Function, value: int) -> Value:
    return f.constant(I128, value)
