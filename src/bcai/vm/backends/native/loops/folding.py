"""The four reductions on registers: what is accumulated, and how lanes are folded.

Note [Extremes through whole numbers]
    The largest of floats, with not-a-number above all and +0 above -0, is found from three
    extremes of their bits: the largest as signed numbers (right if a sign is plus), the smallest
    as unsigned ones (right if all signs are minus), the largest as unsigned ones (a negative
    not-a-number). Three instructions of one cycle that know no order; the smallest likewise.
"""

from collections.abc import Sequence

from bcai.vm.backends.native.elementwise import register_type
from bcai.vm.backends.native.llvm import (
    I1,
    I8,
    Function,
    Type,
    Value,
    integer_like,
    lanes_of,
    vector,
)
from bcai.vm.compiler.plan import Fold
from bcai.vm.isa.order import LANES
from bcai.vm.isa.types import DType

Parts = tuple[Value, ...]
"""What is accumulated, side by side."""

_INFINITY = {32: 0x7F800000, 64: 0x7FF0000000000000}
_NAN = {32: 0x7FC00000, 64: 0x7FF8000000000000}


class Folding:
    """One reduction of one element type, written into a function."""

    def __init__(self, f: Function, fold: Fold) -> None:
        self.f, self.dtype = f, fold.dtype
        self.name = fold.op.name
        self._sums = self.name in ("Sum", "Prod")
        self._largest = self.name == "ReduceMax"
        self.ordered = self._sums and self.dtype.is_float
        self.element: Type = I8 if self.dtype is DType.bool else register_type(self.dtype, 1)
        self._trio = self.dtype.is_float and not self._sums
        self._bits = 64 if self.dtype is DType.float64 else 32

    def types(self, lanes: int) -> tuple[Type, ...]:
        """Types of the parts."""
        type_ = vector(self.element, lanes)
        return (integer_like(type_),) * 3 if self._trio else (type_,)

    def identity(self, lanes: int) -> Parts:
        """Parts of nothing."""
        types = self.types(lanes)
        if self._trio:
            least, most = 1 << (self._bits - 1), (1 << self._bits) - 1
            values: Sequence[float] = (least, most, 0)
        elif self._sums:
            values = (float(self.name == "Prod"),)
        else:
            values = (self._extreme(),)
        return tuple(self.f.constant(each, v) for each, v in zip(types, values, strict=True))

    def neutral(self, lanes: int) -> Value:
        """An element that changes nothing but another neutral one."""
        if not self._trio:
            return self.finish(self.identity(lanes))
        value = float("-inf") if self._largest else float("inf")
        return self.f.constant(vector(self.element, lanes), value)

    def _extreme(self) -> int:
        """The least or the most of whole numbers."""
        if self.dtype is DType.bool:
            return 0 if self._largest else 1
        if self.dtype is DType.uint8:
            return 0 if self._largest else 255
        bits = 8 * self.dtype.itemsize
        return -(1 << (bits - 1)) if self._largest else (1 << (bits - 1)) - 1

    def parts_of(self, value: Value) -> Parts:
        """One element, as parts."""
        if self.dtype is DType.bool:
            return (self.f.b.zext(value, vector(I8, lanes_of(value.type))),)
        if not self._trio:
            return (value,)
        bits = self.f.b.bitcast(value, integer_like(value.type))
        return bits, bits, bits

    def merge(self, a: Parts, b: Parts) -> Parts:
        """Fold parts with parts; for sums of floats the order of the calls matters."""
        build = self.f.b
        if self._trio:
            names = ("smax", "umin", "umax")
            return tuple(
                self.f.intrinsic(name, x, y) for name, x, y in zip(names, a, b, strict=True)
            )
        (x,), (y,) = a, b
        if self._sums:
            add = self.name == "Sum"
            if self.dtype.is_float:
                return (build.fadd(x, y) if add else build.fmul(x, y),)
            return (build.add(x, y) if add else build.mul(x, y),)
        if self.dtype is DType.bool:
            return (build.or_(x, y) if self._largest else build.and_(x, y),)
        sign = "u" if self.dtype is DType.uint8 else "s"
        return (self.f.intrinsic(f"{sign}{'max' if self._largest else 'min'}", x, y),)

    def finish(self, parts: Parts) -> Value:
        """The value that parts stand for, not yet rounded to a narrow type."""
        if self.dtype is DType.bool:
            return self.f.b.trunc(parts[0], vector(I1, lanes_of(parts[0].type)))
        if not self._trio:
            return parts[0]
        build, f = self.f.b, self.f
        signed, least, most = parts
        type_ = signed.type
        zero = f.constant(type_, 0)
        if self._largest:
            bits = build.select(build.icmp_signed("<", signed, zero), least, signed)
        else:
            negative = build.icmp_signed("<", most, zero)
            bits = build.select(negative, most, least)
        infinity = f.constant(type_, _INFINITY[self._bits])
        below = f.constant(type_, _INFINITY[self._bits] | 1 << (self._bits - 1))
        wrong = build.or_(
            build.icmp_signed(">", signed, infinity), build.icmp_unsigned(">", most, below)
        )
        chosen = build.select(wrong, f.constant(type_, _NAN[self._bits]), bits)
        return build.bitcast(chosen, vector(self.element, lanes_of(type_)))

    def tree(self, groups: Sequence[Parts | None]) -> Parts:
        """Fold accumulators to one lane: +16, +8, +4, +2, +1; None is the identity.

        `groups[i]` are the lanes from `i * width`; what knows no order may have fewer of them.
        """
        parts = self.halved(groups)
        lanes = lanes_of(parts[0].type)
        while lanes > 1:
            lanes //= 2
            parts = self.merge(
                tuple(self._lanes(each, 0, lanes) for each in parts),
                tuple(self._lanes(each, lanes, lanes) for each in parts),
            )
        return parts

    def halved(self, groups: Sequence[Parts | None]) -> Parts:
        """Fold accumulators to one, the second half on the first, again and again."""
        left = list(groups)
        while len(left) > 1:
            half = len(left) // 2
            left = [self._both(left[place], left[place + half]) for place in range(half)]
        return left[0] if left[0] is not None else self.identity(1)

    def _lanes(self, value: Value, start: int, count: int) -> Value:
        if count == 1:
            return self.f.lane(value, start)
        return self.f.shuffle(value, value, range(start, start + count))

    def _both(self, a: Parts | None, b: Parts | None) -> Parts | None:
        if a is None or b is None:
            return b if a is None else a
        return self.merge(a, b)


def groups_of(lanes: int) -> int:
    """Registers of so many lanes that hold the lanes of a sum."""
    return LANES // lanes
