"""Narrow floats as float32 and back, so that a contraction computes in float32 and rounds once."""

import math
from dataclasses import dataclass

from bcai.vm.backends.native.kernels.contraction_batch import batch_offsets
from bcai.vm.backends.native.launch import Address, Launch, entry
from bcai.vm.backends.native.llvm import F32, I16, I64, Function, Module, Value, vector
from bcai.vm.backends.native.narrow import narrow_bits, round_narrow, widen_bits
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import View
from bcai.vm.isa.types import DType

UNIT_ELEMENTS = 4096
"""Elements of a unit, at most."""

SLOTS = ("source", "result", "size", "chunks", "source_step", "result_step", "axes")
"""Arguments, then those of the outer axes. Steps are in bytes, along the innermost axis."""


@dataclass(frozen=True, slots=True)
class CastNarrow:
    """Widens float16 or bfloat16 to float32, or rounds float32 to it, to nearest even."""

    narrow: DType
    widens: bool

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"contraction.{self.narrow.name}.{'widen' if self.widens else 'round'}"

    @property
    def library(self) -> str | None:
        """An object of its own, the same for every program."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point: a unit is a chunk of one row of the innermost axis."""
        e = entry(module, self.symbol)
        f = e.f
        source, result = e.pointer(0), e.pointer(1)
        size, chunks, source_step, result_step, axes = (e.number(at) for at in range(2, 7))
        slots = f.offset(e.arguments, len(SLOTS), I64)
        lanes = target.lanes(DType.float32)
        sizes = (2, 4) if self.widens else (4, 2)
        adjacent = f.b.and_(f.equal(source_step, sizes[0]), f.equal(result_step, sizes[1]))
        with f.loop(e.begin, e.end) as unit:
            moved = batch_offsets(f, slots, axes, f.div(unit.index, chunks))
            start = f.mul(f.rem(unit.index, chunks), UNIT_ELEMENTS)
            end = f.minimum(f.add(start, UNIT_ELEMENTS), size)
            length = f.sub(end, start)
            whole = f.sub(length, f.rem(length, lanes))
            split = f.add(start, f.b.select(adjacent, whole, f.number(0)))
            for low, high, count in ((start, split, lanes), (split, end, 1)):
                with f.loop(low, high, count) as at:
                    here = f.offset(source, f.add(moved[0], f.mul(at.index, source_step)))
                    there = f.offset(result, f.add(moved[1], f.mul(at.index, result_step)))
                    self._cast(f, target, here, there, count)
        f.give(0)

    def _cast(self, f: Function, target: Target, here: Value, there: Value, lanes: int) -> None:
        if self.widens:
            bits = f.load(here, vector(I16, lanes))
            f.store(widen_bits(f, target, bits, self.narrow), there)
            return
        value = round_narrow(f, target, f.load(here, vector(F32, lanes)), self.narrow)
        f.store(narrow_bits(f, target, value, self.narrow), there)


def dense_like(view: View, buffer: int) -> View:
    """A float32 view of a new buffer with the order of axes of `view`, and nothing in between."""
    strides = [0] * view.type.rank
    step = 1
    for axis in sorted(range(view.type.rank), key=lambda at: abs(view.strides[at])):
        size = view.type.shape[axis]
        if view.strides[axis] and size != 1:
            strides[axis] = step
            step *= size
    return View(buffer, view.type.with_dtype(DType.float32), tuple(strides))


def dense_elements(view: View) -> int:
    """Elements of the view that lie in different places."""
    sizes = zip(view.type.shape, view.strides, strict=True)
    return math.prod(size for size, stride in sizes if stride)


def cast_launch(source: View, result: View, position: int) -> Launch:
    """A launch that copies one view to another of the same shape, widening or rounding it."""
    widens = result.type.dtype is DType.float32
    from_size, to_size = source.type.dtype.itemsize, result.type.dtype.itemsize
    axes = sorted(
        (abs(to or of), size, of * from_size, to * to_size)
        for size, of, to in zip(source.type.shape, source.strides, result.strides, strict=True)
        if size != 1 and (of or to)
    )
    inner = axes[0] if axes else (0, 1, from_size, to_size)
    outer = axes[1:]
    chunks = -(-inner[1] // UNIT_ELEMENTS)
    units = chunks * math.prod(each[1] for each in outer)
    return Launch(
        CastNarrow(source.type.dtype if widens else result.type.dtype, widens),
        (
            Address(source.buffer, source.offset * from_size),
            Address(result.buffer, result.offset * to_size),
            inner[1],
            chunks,
            inner[2],
            inner[3],
            len(outer),
            *(number for _, size, of, to in outer for number in (size, of, to, 0)),
        ),
        units,
        (source.buffer,),
        (result.buffer,),
        position,
        grain=max(1, 32 * UNIT_ELEMENTS // max(1, min(inner[1], UNIT_ELEMENTS))),
    )
