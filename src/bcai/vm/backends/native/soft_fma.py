"""The fused multiply-add on processors without one: the same bits, the long way.

Note [Soft fused multiply-add]
    float32: the product is exact in float64; the sum is rounded there to odd, after which rounding
    to float32 is correct, as in Note [Fused multiply-add in NumPy]. float64 goes lane by lane
    through whole numbers of 128 bits.
"""

from bcai.vm.backends.native.llvm import (
    F32,
    F64,
    I64,
    Function,
    Value,
    element_of,
    lanes_of,
    vector,
)


def soft_fma(f: Function, a: Value, b: Value, c: Value) -> Value:
    """Return a * b + c, rounded once, in float32 or float64, any number of lanes."""
    if element_of(a.type) == F32:
        return _fma32(f, a, b, c)
    raise NotImplementedError("float64")


def _fma32(f: Function, a: Value, b: Value, c: Value) -> Value:
    lanes = lanes_of(a.type)
    wide, whole = vector(F64, lanes), vector(I64, lanes)
    x = f.b.fmul(f.b.fpext(a, wide), f.b.fpext(b, wide))
    y = f.b.fpext(c, wide)
    total = f.b.fadd(x, y)
    part = f.b.fsub(total, x)
    error = f.b.fadd(f.b.fsub(x, f.b.fsub(total, part)), f.b.fsub(y, part))
    zero = f.constant(wide, 0.0)
    bits = f.b.bitcast(total, whole)
    even = f.b.icmp_signed("==", f.b.and_(bits, f.constant(whole, 1)), f.constant(whole, 0))
    finite = f.b.fcmp_ordered("==", f.b.fsub(error, error), zero)
    adjust = f.b.and_(f.b.and_(f.b.fcmp_ordered("!=", error, zero), finite), even)
    away = f.b.xor(
        f.b.fcmp_ordered(">", error, zero), f.b.fcmp_ordered("<=", total, zero)
    )  # the true sum lies beyond the rounded one
    one = f.constant(whole, 1)
    moved = f.b.select(away, f.b.add(bits, one), f.b.sub(bits, one))
    odd = f.b.bitcast(f.b.select(adjust, moved, bits), wide)
    return f.b.fptrunc(odd, a.type)
