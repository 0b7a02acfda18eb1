"""float16 and bfloat16 in float32 registers.

Note [Narrow floats]
    In memory they are 16 bits, in a register the float32 of the same value: what is loaded is
    widened, and a result is rounded to the narrow type, to nearest even, where it arises. float16
    uses the processor's conversions where it has them (every one of ours that fuses), and whole
    numbers elsewhere: never a library's function. Subnormals are kept.
"""

from bcai.vm.backends.native.llvm import (
    F16,
    F32,
    F64,
    I16,
    I32,
    Function,
    Value,
    lanes_of,
    vector,
)
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

NARROW = frozenset({DType.float16, DType.bfloat16})

_SIGN = 1 << 31
_NAN = 0x7FC00000
_INFINITY = 0x7F800000
_HALF_INFINITY = 0x7C00
_HALF_LIMIT = 65536.0
"""float16 values that round to this or more are infinite."""
_HALF_NORMAL = 2.0**-14
_HALF_MAGIC = 0.5
"""Adding it rounds a subnormal float16 to its last place, 2^-24."""
_REBIAS = (127 - 15) << 23


def has_half(target: Target) -> bool:
    """Whether the processor converts between float16 and float32."""
    return target.fused


def widen_bits(f: Function, target: Target, bits: Value, dtype: DType) -> Value:
    """The 16 bits of narrow floats as float32."""
    lanes = lanes_of(bits.type)
    if dtype is DType.bfloat16:
        whole = f.b.zext(bits, vector(I32, lanes))
        return f.b.bitcast(f.b.shl(whole, f.constant(whole.type, 16)), vector(F32, lanes))
    if has_half(target):
        return f.b.fpext(f.b.bitcast(bits, vector(F16, lanes)), vector(F32, lanes))
    return _widen_half(f, f.b.zext(bits, vector(I32, lanes)))


def narrow_bits(f: Function, target: Target, value: Value, dtype: DType) -> Value:
    """The 16 bits of float32 values that `round_narrow` gave."""
    lanes = lanes_of(value.type)
    short = vector(I16, lanes)
    if dtype is DType.float16 and has_half(target):
        return f.b.bitcast(f.b.fptrunc(value, vector(F16, lanes)), short)
    bits = f.b.bitcast(value, vector(I32, lanes))
    if dtype is DType.bfloat16:
        return f.b.trunc(f.b.lshr(bits, f.constant(bits.type, 16)), short)
    return f.b.trunc(_narrow_half(f, bits), short)


def round_narrow(f: Function, target: Target, value: Value, dtype: DType) -> Value:
    """float32 values rounded to a narrow type, to nearest even, as float32."""
    lanes = lanes_of(value.type)
    if dtype is DType.float16 and has_half(target):
        return f.b.fpext(f.b.fptrunc(value, vector(F16, lanes)), value.type)
    bits = f.b.bitcast(value, vector(I32, lanes))
    near = _round_last(f, bits, 16) if dtype is DType.bfloat16 else _round_half(f, bits)
    is_nan = f.b.fcmp_unordered("uno", value, value)
    chosen = f.b.select(is_nan, f.constant(bits.type, _NAN), near)
    return f.b.bitcast(chosen, value.type)


def round_to_odd(f: Function, value: Value) -> Value:
    """float64 as float32; what is not exact takes the neighbour whose last bit is 1.

    Rounding that to float16 or bfloat16 is right. Source: Boldo and Melquiond, 2008.
    """
    lanes = lanes_of(value.type)
    near = f.b.fptrunc(value, vector(F32, lanes))
    bits = f.b.bitcast(near, vector(I32, lanes))
    one, zero = f.constant(bits.type, 1), f.constant(bits.type, 0)
    again = f.b.fpext(near, vector(F64, lanes))
    infinity = f.constant(near.type, float("inf"))
    finite = f.b.fcmp_ordered("<", f.intrinsic("fabs", near), infinity)
    even = f.b.icmp_signed("==", f.b.and_(bits, one), zero)
    inexact = f.b.and_(f.b.fcmp_ordered("!=", again, value), f.b.and_(finite, even))
    beyond = f.b.fcmp_ordered(">", f.intrinsic("fabs", value), f.intrinsic("fabs", again))
    moved = f.b.select(beyond, f.b.add(bits, one), f.b.sub(bits, one))
    return f.b.bitcast(f.b.select(inexact, moved, bits), near.type)


def _round_last(f: Function, bits: Value, count: int) -> Value:
    """Bits of a float32 with the last `count` rounded away, to nearest even."""
    type_ = bits.type
    odd = f.b.and_(f.b.lshr(bits, f.constant(type_, count)), f.constant(type_, 1))
    half = f.constant(type_, (1 << (count - 1)) - 1)
    return f.b.and_(f.b.add(f.b.add(bits, half), odd), f.constant(type_, -1 << count))


def _round_half(f: Function, bits: Value) -> Value:
    type_ = bits.type
    real = vector(F32, lanes_of(type_))
    sign = f.b.and_(bits, f.constant(type_, _SIGN))
    size = f.b.and_(bits, f.constant(type_, ~_SIGN))
    magnitude = f.b.bitcast(size, real)
    magic = f.constant(real, _HALF_MAGIC)
    small = f.b.bitcast(f.b.fsub(f.b.fadd(magnitude, magic), magic), type_)
    near = _round_last(f, size, 13)
    large = f.b.fcmp_ordered(">=", f.b.bitcast(near, real), f.constant(real, _HALF_LIMIT))
    near = f.b.select(large, f.constant(type_, _INFINITY), near)
    subnormal = f.b.fcmp_ordered("<", magnitude, f.constant(real, _HALF_NORMAL))
    return f.b.or_(f.b.select(subnormal, small, near), sign)


def _narrow_half(f: Function, bits: Value) -> Value:
    """Float16 bits, in 32-bit registers, of float32 bits whose value is one of float16."""
    type_ = bits.type
    real = vector(F32, lanes_of(type_))
    sign = f.b.lshr(f.b.and_(bits, f.constant(type_, _SIGN)), f.constant(type_, 16))
    size = f.b.and_(bits, f.constant(type_, ~_SIGN))
    magnitude = f.b.bitcast(size, real)
    magic = f.constant(real, _HALF_MAGIC)
    small = f.b.sub(f.b.bitcast(f.b.fadd(magnitude, magic), type_), f.b.bitcast(magic, type_))
    normal = f.b.lshr(f.b.sub(size, f.constant(type_, _REBIAS)), f.constant(type_, 13))
    is_special = f.b.icmp_signed(">=", size, f.constant(type_, _INFINITY))
    is_nan = f.b.icmp_signed(">", size, f.constant(type_, _INFINITY))
    special = f.b.select(is_nan, f.constant(type_, 0x7E00), f.constant(type_, _HALF_INFINITY))
    subnormal = f.b.fcmp_ordered("<", magnitude, f.constant(real, _HALF_NORMAL))
    chosen = f.b.select(is_special, special, f.b.select(subnormal, small, normal))
    return f.b.or_(chosen, sign)


def _widen_half(f: Function, bits: Value) -> Value:
    """Float32 of float16 bits that stand in 32-bit registers."""
    type_ = bits.type
    real = vector(F32, lanes_of(type_))
    sign = f.b.shl(f.b.and_(bits, f.constant(type_, 0x8000)), f.constant(type_, 16))
    size = f.b.and_(bits, f.constant(type_, 0x7FFF))
    shifted = f.b.shl(size, f.constant(type_, 13))
    normal = f.b.add(shifted, f.constant(type_, _REBIAS))
    special = f.b.or_(shifted, f.constant(type_, _INFINITY))
    least = f.constant(real, _HALF_NORMAL)
    above = f.b.bitcast(f.b.or_(shifted, f.b.bitcast(least, type_)), real)
    small = f.b.bitcast(f.b.fsub(above, least), type_)
    is_special = f.b.icmp_signed(">=", size, f.constant(type_, _HALF_INFINITY))
    is_small = f.b.icmp_signed("<", size, f.constant(type_, 0x0400))
    chosen = f.b.select(is_special, special, f.b.select(is_small, small, normal))
    return f.b.bitcast(f.b.or_(chosen, sign), real)
