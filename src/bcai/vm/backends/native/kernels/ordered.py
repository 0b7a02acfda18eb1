"""Numbers as integers in the same order: the keys of `Sort`, `ArgMax` and `ArgMin`.

Note [Keys]
    The bits of a float, with the digits of a negative one inverted, compare as signed integers as
    the floats do. -0 is made +0 first, and not-a-number becomes the largest key.
"""

from bcai.vm.backends.native.elementwise.conversion import converted
from bcai.vm.backends.native.elementwise.lanes import Lanes
from bcai.vm.backends.native.llvm import Value, integer_like
from bcai.vm.backends.native.narrow import NARROW
from bcai.vm.isa.types import DType

WIDE = frozenset({DType.float64, DType.int64})


def key_type(dtype: DType) -> DType:
    """`int64` for types of eight bytes, else `int32`."""
    return DType.int64 if dtype in WIDE else DType.int32


def key_limit(dtype: DType) -> int:
    """The largest key."""
    return (1 << (63 if dtype in WIDE else 31)) - 1


def key_of(lanes: Lanes, value: Value, dtype: DType, *, falling: bool, nan_last: bool) -> Value:
    """Keys of values in registers; `falling` turns the order of numbers around.

    `nan_last`: not-a-number is the largest key, else the smallest.
    """
    f = lanes.f
    if not dtype.is_float:
        key = converted(lanes, value, dtype, key_type(dtype))
        return f.b.not_(key) if falling else key
    real = value.type
    plain = f.b.fadd(value, f.constant(real, 0.0))  # -0 + 0 is +0
    bits = f.b.bitcast(plain, integer_like(real))
    limit = key_limit(DType.float32 if dtype in NARROW else dtype)
    sign = f.b.ashr(bits, f.constant(bits.type, limit.bit_length()))
    key = f.b.xor(bits, f.b.and_(sign, f.constant(bits.type, limit)))
    key = f.b.not_(key) if falling else key
    last = f.constant(bits.type, limit if nan_last else ~limit)
    return f.b.select(f.b.fcmp_unordered("uno", value, value), last, key)
