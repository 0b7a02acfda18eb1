"""`Arithmetic` on LLVM values: the scalar functions' own text, written as machine code."""

from collections.abc import Callable

from bcai.vm.backends.native.llvm import (
    F32,
    F64,
    I1,
    I32,
    I64,
    Function,
    Type,
    Value,
    integer_like,
    lanes_of,
    vector,
)
from bcai.vm.backends.native.soft_fma import soft_fma
from bcai.vm.isa.types import DType


class Registers:
    """Operations on float32 or float64 values of some lanes, written into a function."""

    def __init__(self, f: Function, dtype: DType, lanes: int, *, fused: bool) -> None:
        if dtype not in (DType.float32, DType.float64):
            raise ValueError(f"exact arithmetic is in float32 or float64, not {dtype.name}")
        self.f, self.dtype, self.lanes, self.fused = f, dtype, lanes, fused
        narrow = dtype is DType.float32
        self.type: Type = vector(F32 if narrow else F64, lanes)
        self.whole: Type = vector(I32 if narrow else I64, lanes)

    def constant(self, value: float) -> Value:
        return self.f.constant(self.type, float(self.dtype.numpy.type(value)))

    def integer(self, value: int) -> Value:
        return self.f.constant(self.whole, value)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        return self.f.intrinsic("fma", a, b, c) if self.fused else soft_fma(self.f, a, b, c)

    def add(self, a: Value, b: Value) -> Value:
        return self.f.b.fadd(a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.f.b.fsub(a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.f.b.fmul(a, b)

    def div(self, a: Value, b: Value) -> Value:
        return self.f.b.fdiv(a, b)

    def sqrt(self, a: Value) -> Value:
        return self.f.intrinsic("sqrt", a)

    def less(self, a: Value, b: Value) -> Value:
        return self.f.b.fcmp_ordered("<", a, b)

    def equal(self, a: Value, b: Value) -> Value:
        return self.f.b.fcmp_ordered("==", a, b)

    def is_nan(self, a: Value) -> Value:
        return self.f.b.fcmp_unordered("uno", a, a)

    def select(self, mask: Value, yes: Value, no: Value) -> Value:
        return self.f.b.select(mask, yes, no)

    def mask_and(self, a: Value, b: Value) -> Value:
        return self.f.b.and_(a, b)

    def mask_or(self, a: Value, b: Value) -> Value:
        return self.f.b.or_(a, b)

    def rare(
        self, mask: Value, compute: Callable[[], tuple[Value, ...]], otherwise: tuple[Value, ...]
    ) -> tuple[Value, ...]:
        """Branch around `compute` if no lane wants it."""
        before = self.f.block
        results: tuple[Value, ...] = ()
        with self.f.when(self.f.any_lane(mask), likely=False):
            pairs = zip(compute(), otherwise, strict=True)
            results = tuple(self.f.b.select(mask, yes, no) for yes, no in pairs)
            inside = self.f.block
        return tuple(
            self.f.merge([(no, before), (yes, inside)])
            for yes, no in zip(results, otherwise, strict=True)
        )

    def bits(self, a: Value) -> Value:
        return self.f.b.bitcast(a, integer_like(a.type))

    def from_bits(self, i: Value) -> Value:
        return self.f.b.bitcast(i, self.type)

    def to_float(self, i: Value) -> Value:
        return self.f.b.sitofp(i, self.type)

    def iadd(self, i: Value, j: Value) -> Value:
        return self.f.b.add(i, j)

    def isub(self, i: Value, j: Value) -> Value:
        return self.f.b.sub(i, j)

    def iand(self, i: Value, j: Value) -> Value:
        return self.f.b.and_(i, j)

    def ior(self, i: Value, j: Value) -> Value:
        return self.f.b.or_(i, j)

    def ixor(self, i: Value, j: Value) -> Value:
        return self.f.b.xor(i, j)

    def shift_left(self, i: Value, count: int) -> Value:
        return self.f.b.shl(i, self.integer(count))

    def shift_right(self, i: Value, count: int) -> Value:
        return self.f.b.ashr(i, self.integer(count))

    def iless(self, i: Value, j: Value) -> Value:
        return self.f.b.icmp_signed("<", i, j)

    def iequal(self, i: Value, j: Value) -> Value:
        return self.f.b.icmp_signed("==", i, j)

    def mask(self, bit: Value) -> Value:
        """The same truth value in every lane."""
        return self.f.splat(bit, self.lanes) if lanes_of(bit.type) != self.lanes else bit

    def no_lane(self) -> Value:
        """A mask with no lane set."""
        return self.f.constant(vector(I1, self.lanes), 0)
