"""Operands as convolutions and pools want them: one after the other, in float32 or float64."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.launch import Address, Launch, entry
from bcai.vm.backends.native.llvm import F32, F64, I8, I16, I32, I64, Function, Module, Type, Value
from bcai.vm.backends.native.llvm import vector as vector_of
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.narrow import NARROW, narrow_bits, round_narrow, widen_bits
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import View, row_major
from bcai.vm.isa.types import DType, TensorType

Ints = tuple[int, ...]
UNIT_ELEMENTS = 4096
"""Elements of a unit of work, about."""

_MEMORY: dict[DType, Type] = {
    DType.float32: F32, DType.float64: F64, DType.float16: I16, DType.bfloat16: I16,
    DType.int64: I64, DType.int32: I32, DType.int16: I16, DType.int8: I8, DType.uint8: I8,
}  # fmt: skip


def wide(dtype: DType) -> DType:
    """The type that a float is computed in."""
    return DType.float32 if dtype in NARROW else dtype


def symbol_of(name: str, kernel: object) -> str:
    """A name for a kernel that no other code has: its fields are hashed."""
    return f"{name}_{hashlib.sha256(repr(kernel).encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Relay:
    """Copies a tensor from one layout to another; narrow floats are widened or rounded if asked."""

    shape: Ints
    source: Ints
    result: Ints
    source_dtype: DType
    dtype: DType

    @property
    def symbol(self) -> str:
        """Name by all that decides the code."""
        return symbol_of("relay", self)

    @property
    def library(self) -> None:
        """With the program's own code."""
        return None

    @property
    def rows(self) -> int:
        """Units of work: rows along the last axis."""
        return math.prod(self.shape[:-1])

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: arguments are the source and the result."""
        e = entry(module, self.symbol)
        f = e.f
        source, result = e.pointer(0), e.pointer(1)
        lanes = target.lanes(wide(self.dtype))
        size = self.shape[-1]
        adjacent = self.source[-1] == self.result[-1] == 1 or size == 1
        with f.loop(e.begin, e.end) as loop:
            rest, start, into = loop.index, f.number(0), f.number(0)
            for axis in range(len(self.shape) - 2, -1, -1):
                at, rest = f.rem(rest, self.shape[axis]), f.div(rest, self.shape[axis])
                start = f.add(start, f.mul(at, self.source[axis]))
                into = f.add(into, f.mul(at, self.result[axis]))
            at = f.offset(source, start, _MEMORY[self.source_dtype])
            to = f.offset(result, into, _MEMORY[self.dtype])
            whole = size // lanes * lanes if adjacent else 0
            with f.loop(0, whole, lanes) as inner:
                self._move(f, target, at, to, inner.index, lanes)
            with f.loop(whole, size) as inner:
                self._move(f, target, at, to, inner.index, 1)
        f.give(0)

    def _move(
        self, f: Function, target: Target, source: Value, result: Value, index: Value, lanes: int
    ) -> None:
        at = f.mul(index, self.source[-1]) if lanes == 1 else index
        to = f.mul(index, self.result[-1]) if lanes == 1 else index
        type_ = _MEMORY[self.source_dtype]
        value = f.load(f.offset(source, at, type_), vector_of(type_, lanes))
        if self.source_dtype is not self.dtype and self.source_dtype in NARROW:
            value = widen_bits(f, target, value, self.source_dtype)
        elif self.source_dtype is not self.dtype:
            value = narrow_bits(f, target, round_narrow(f, target, value, self.dtype), self.dtype)
        f.store(value, f.offset(result, to, _MEMORY[self.dtype]))


def relay(source: View, result: View, position: int) -> Launch:
    """Copy a view to another of the same shape."""
    shape, strides, others = _merged(source.type.shape, source.strides, result.strides)
    kernel = Relay(shape, strides, others, source.type.dtype, result.type.dtype)
    return Launch(
        kernel,
        (address(source), address(result)),
        kernel.rows,
        (source.buffer,),
        (result.buffer,),
        position,
        grain=max(1, UNIT_ELEMENTS // shape[-1]),
    )


def address(view: View) -> Address:
    """Where a view's first element lies."""
    return Address(view.buffer, view.offset * view.type.dtype.itemsize)


def plain_operand(view: View, scope: Scope, position: int) -> View:
    """The same values one after the other and wide: the view itself, or a copy of it."""
    dtype = wide(view.type.dtype)
    if view.is_contiguous and dtype is view.type.dtype:
        return view
    type_ = view.type.with_dtype(dtype)

    def make(number: int) -> Sequence[Launch]:
        return [relay(view, plain_view(number, type_), position)]

    return plain_view(scope.once(("plain", view), type_.nbytes, make), type_)


def plain_result(view: View, scope: Scope) -> View:
    """A view to write: the given one, or a temporary that `finish` copies to it."""
    dtype = wide(view.type.dtype)
    if view.is_contiguous and dtype is view.type.dtype:
        return view
    type_ = view.type.with_dtype(dtype)
    return plain_view(scope.temporary(type_.nbytes), type_)


def finish(computed: View, view: View, position: int) -> list[Launch]:
    """Copy what was computed to where it belongs, unless it is there."""
    return [] if computed is view else [relay(computed, view, position)]


def plain_view(buffer: int, type_: TensorType) -> View:
    """A buffer that holds one tensor."""
    return View(buffer, type_, row_major(type_.shape))


def _merged(shape: Ints, first: Ints, second: Ints) -> tuple[Ints, Ints, Ints]:
    """The same elements with as few axes as possible, at least one."""
    found: list[tuple[int, int, int]] = []
    for size, a, b in zip(shape, first, second, strict=True):
        if size == 1:
            continue
        if found and found[-1][1] == size * a and found[-1][2] == size * b:
            found[-1] = (found[-1][0] * size, a, b)
        else:
            found.append((size, a, b))
    sizes = found or [(1, 1, 1)]
    return tuple(e[0] for e in sizes), tuple(e[1] for e in sizes), tuple(e[2] for e in sizes)
