"""Not-a-number has one pattern of bits where it leaves a program."""

from dataclasses import dataclass

from bcai.vm.backends.native.launch import Address, Launch, entry
from bcai.vm.backends.native.llvm import I8, I16, I32, I64, Function, Module, Type, Value, vector
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

CANONICAL_NAN = {
    DType.float32: 0x7FC00000,
    DType.float64: 0x7FF8000000000000,
    DType.float16: 0x7E00,
    DType.bfloat16: 0x7FC0,
}
_INFINITY = {
    DType.float32: 0x7F800000,
    DType.float64: 0x7FF0000000000000,
    DType.float16: 0x7C00,
    DType.bfloat16: 0x7F80,
}
_WHOLE: dict[int, Type] = {1: I8, 2: I16, 4: I32, 8: I64}
UNIT = 16 * 1024
"""Elements of a unit of work."""


@dataclass(frozen=True, slots=True)
class Canonical:
    """Arguments: address, count. Rewrites the elements that are no number, and only those."""

    dtype: DType

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"bcai_canonical_{self.dtype.name}"

    @property
    def library(self) -> str:
        """One object for all programs."""
        return "canonical"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        e = entry(module, self.symbol)
        f = e.f
        lanes = target.lanes(self.dtype)
        whole = _WHOLE[self.dtype.itemsize]
        base, count = e.pointer(0), e.number(1)
        begin = f.mul(e.begin, UNIT)
        end = f.minimum(f.mul(e.end, UNIT), count)
        even = f.sub(end, f.rem(f.sub(end, begin), lanes))
        for start, stop, width in ((begin, even, lanes), (even, end, 1)):
            with f.loop(start, stop, width) as loop:
                place = f.offset(base, loop.index, whole)
                bits = f.load(place, vector(whole, width))
                nan = self._is_nan(f, bits)
                with f.when(f.any_lane(nan), likely=False):
                    f.store(f.b.select(nan, self._constant(f, bits, CANONICAL_NAN), bits), place)
        f.give(0)

    def _is_nan(self, f: Function, bits: Value) -> Value:
        sign = 1 << (8 * self.dtype.itemsize - 1)
        magnitude = f.b.and_(bits, f.constant(bits.type, sign - 1))
        return f.b.icmp_signed(">", magnitude, self._constant(f, bits, _INFINITY))

    def _constant(self, f: Function, like: Value, table: dict[DType, int]) -> Value:
        return f.constant(like.type, table[self.dtype])


def canonical_launch(buffer: int, dtype: DType, count: int, position: int) -> Launch:
    """Launch for `count` elements from the start of a buffer."""
    units = -(-count // UNIT)
    arguments = (Address(buffer), count)
    return Launch(Canonical(dtype), arguments, units, (buffer,), (buffer,), position, grain=4)
