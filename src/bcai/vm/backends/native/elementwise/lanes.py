"""Elements in registers: their types, and how they come from memory and go back.

Note [Elements in registers]
    float32, float64 and integers stand as they are. float16 and bfloat16 stand as float32 that
    hold rounded values (Note [Narrow floats]). bool is one bit, in memory a byte that is 0 or 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bcai.vm.backends.native.llvm import (
    F32,
    F64,
    I1,
    I8,
    I16,
    I32,
    I64,
    Function,
    Number,
    Type,
    Value,
    vector,
)
from bcai.vm.backends.native.narrow import NARROW, narrow_bits, round_narrow, widen_bits
from bcai.vm.backends.native.registers import Registers
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

IN_REGISTER: Mapping[DType, Type] = MappingProxyType(
    {
        DType.float32: F32,
        DType.float64: F64,
        DType.float16: F32,
        DType.bfloat16: F32,
        DType.int8: I8,
        DType.int16: I16,
        DType.int32: I32,
        DType.int64: I64,
        DType.uint8: I8,
        DType.bool: I1,
    }
)
IN_MEMORY: Mapping[DType, Type] = MappingProxyType(
    {**IN_REGISTER, DType.float16: I16, DType.bfloat16: I16, DType.bool: I8}
)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Where elements are computed: `count` side by side, in a function for a target."""

    f: Function
    target: Target
    count: int

    def registers(self, dtype: DType) -> Registers:
        """Exact arithmetic on floats; on float32 for the narrow ones."""
        wide = DType.float32 if dtype in NARROW else dtype
        return Registers(self.f, wide, self.count, fused=self.target.fused)

    def rounded(self, value: Value, dtype: DType) -> Value:
        """A float result as its type holds it: rounded if the type is narrow."""
        return round_narrow(self.f, self.target, value, dtype) if dtype in NARROW else value


def register_type(dtype: DType, count: int) -> Type:
    """What holds `count` elements in registers."""
    return vector(IN_REGISTER[dtype], count)


def literal_element(lanes: Lanes, value: float, dtype: DType) -> Value:
    """One number, already rounded to its type, in every lane."""
    return lanes.f.constant(register_type(dtype, lanes.count), value)


def load_element(
    lanes: Lanes,
    pointer: Value,
    dtype: DType,
    *,
    stride: Number = 1,
    first: Number | None = None,
) -> Value:
    """Read elements that lie `stride` elements apart, from `pointer` on.

    Stride 0 reads one element for all lanes. With `first` only that many lanes (at least 1) are
    read; the others hold something.
    """
    f, count = lanes.f, lanes.count
    type_ = IN_MEMORY[dtype]
    if count == 1:
        stored = f.load(pointer, type_)
    elif isinstance(stride, int) and stride == 0:
        stored = f.splat(f.load(pointer, type_), count)
    elif not isinstance(stride, int) or stride != 1:
        stored = _load_apart(lanes, pointer, type_, stride, first)
    elif first is None:
        stored = f.load(pointer, vector(type_, count))
    else:
        fill = f.constant(vector(type_, count), 0)
        stored = f.load_first(pointer, vector(type_, count), first, fill)
    return _from_memory(lanes, stored, dtype)


def store_element(
    lanes: Lanes,
    value: Value,
    pointer: Value,
    dtype: DType,
    *,
    stride: Number = 1,
    first: Number | None = None,
) -> None:
    """Write elements `stride` elements apart, from `pointer` on; with `first` only so many."""
    f = lanes.f
    stored = _to_memory(lanes, value, dtype)
    if lanes.count == 1:
        f.store(stored, pointer)
    elif not isinstance(stride, int) or stride != 1:
        _store_apart(lanes, stored, pointer, IN_MEMORY[dtype], stride, first)
    elif first is None:
        f.store(stored, pointer)
    else:
        f.store_first(stored, pointer, first)


def _load_apart(
    lanes: Lanes, pointer: Value, type_: Type, stride: Number, first: Number | None
) -> Value:
    f = lanes.f
    loaded = f.undefined(vector(type_, lanes.count))
    for lane in range(lanes.count):
        place = lane if first is None else f.minimum(lane, f.sub(first, 1))
        one = f.load(f.offset(pointer, f.mul(place, stride), type_), type_)
        loaded = f.with_lane(loaded, one, lane)
    return loaded


def _store_apart(
    lanes: Lanes, stored: Value, pointer: Value, type_: Type, stride: Number, first: Number | None
) -> None:
    f = lanes.f
    for lane in range(lanes.count):
        place = f.offset(pointer, f.mul(lane, stride), type_)
        if first is None:
            f.store(f.lane(stored, lane), place)
            continue
        with f.when(f.less(lane, first)):
            f.store(f.lane(stored, lane), place)


def _from_memory(lanes: Lanes, stored: Value, dtype: DType) -> Value:
    f = lanes.f
    if dtype in NARROW:
        return widen_bits(f, lanes.target, stored, dtype)
    if dtype is DType.bool:
        return f.b.icmp_signed("!=", stored, f.constant(stored.type, 0))
    return stored


def _to_memory(lanes: Lanes, value: Value, dtype: DType) -> Value:
    f = lanes.f
    if dtype in NARROW:
        return narrow_bits(f, lanes.target, value, dtype)
    return f.b.zext(value, vector(I8, lanes.count)) if dtype is DType.bool else value
