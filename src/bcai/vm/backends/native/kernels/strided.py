"""Copies between views of any strides, and the walk over axes that kernels by index share.

Note [Walk over axes]
    A kernel's unit is one line of the outer axes, whose sizes and strides are arguments: axis by
    axis, outermost first, the size and then the stride in each operand. One kernel serves every
    shape of a rank; axes that lie one after the other in every operand are joined first.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bcai.vm.backends.native.elementwise.conversion import converted
from bcai.vm.backends.native.elementwise.lanes import (
    IN_MEMORY,
    Lanes,
    load_element,
    store_element,
)
from bcai.vm.backends.native.launch import Address, Entry, Launch, entry
from bcai.vm.backends.native.llvm import Module, Number, Value
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import View, row_major
from bcai.vm.isa.types import DType, TensorType

CHUNK = 4096
"""Elements of a line that are copied as one unit: a page or more, so that threads can share one."""
GRAIN_BYTES = 1 << 18
"""What is worth a thread of its own."""

MOVED = {1: DType.int8, 2: DType.int16, 4: DType.int32, 8: DType.int64}
"""An element type of each size, for what is only moved."""

Axis = tuple[int, ...]
"""Size, then a stride for each operand, in elements."""


def address(view: View) -> Address:
    """Where a view's first element lies."""
    return Address(view.buffer, view.offset * view.type.dtype.itemsize)


def joined_axes(shape: Sequence[int], *strides: Sequence[int]) -> list[Axis]:
    """Axes without those of size 1, and with neighbours joined where every operand allows it."""
    joined: list[Axis] = []
    for size, *steps in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        if joined and all(
            last == size * step for last, step in zip(joined[-1][1:], steps, strict=True)
        ):
            joined[-1] = (joined[-1][0] * size, *steps)
        else:
            joined.append((size, *steps))
    return joined


def walked(at: Entry, unit: Value, slot: int, rank: int, operands: int) -> list[Value]:
    """Offsets, in elements, of line `unit` in each operand; the axes' arguments start at `slot`."""
    f = at.f
    offsets = [f.number(0)] * operands
    for axis in reversed(range(rank)):
        place = slot + axis * (1 + operands)
        size = at.number(place)
        index, unit = f.rem(unit, size), f.div(unit, size)
        offsets = [
            f.add(offset, f.mul(index, at.number(place + 1 + operand)))
            for operand, offset in enumerate(offsets)
        ]
    return offsets


def in_blocks(
    lanes: Lanes,
    start: Number,
    stop: Number,
    write: Callable[[Lanes, Value, Value | None], None],
) -> None:
    """Call `write(lanes, index, first)` for whole vectors from `start` on, then for the rest.

    The rest is one masked vector where every type has masks, else one element after the other.
    """
    f, count = lanes.f, lanes.count
    whole = f.sub(stop, f.rem(f.sub(stop, start), count)) if count > 1 else f.number(stop)
    with f.loop(start, whole, count) as loop:
        write(lanes, loop.index, None)
    if count == 1:
        return
    if lanes.target.vector_bytes == 64:
        with f.when(f.less(whole, stop)):
            write(lanes, whole, f.sub(stop, whole))
        return
    with f.loop(whole, stop) as loop:
        write(Lanes(f, lanes.target, 1), loop.index, None)


@dataclass(frozen=True, slots=True)
class CopyKernel:
    """Copies, and converts where the types differ.

    Slots: source, result, elements of a line, its stride in each, chunks of a line, outer axes. A
    unit is one chunk.
    """

    source: DType
    result: DType
    rank: int
    library: str | None = "copy"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"copy_{self.source.name}_{self.result.name}_{self.rank}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f = at.f
        source, result = at.pointer(0), at.pointer(1)
        size, step, result_step, chunks = (at.number(slot) for slot in range(2, 6))
        with f.loop(at.begin, at.end) as loop:
            offset, result_offset = walked(at, f.div(loop.index, chunks), 6, self.rank, 2)
            start = f.mul(f.rem(loop.index, chunks), CHUNK)
            stop = f.minimum(f.add(start, CHUNK), size)
            line = _Line(
                self.source,
                self.result,
                f.offset(source, offset, IN_MEMORY[self.source]),
                f.offset(result, result_offset, IN_MEMORY[self.result]),
            )
            lanes = Lanes(f, target, target.vector_bytes // self._itemsize)
            with f.either(f.equal(result_step, 1)) as (dense, apart):
                with dense:
                    self._dense(lanes, line, start, stop, step)
                with apart:
                    line.one_by_one(lanes, start, stop, step, result_step)
        f.give(0)

    @property
    def _itemsize(self) -> int:
        return max(self.source.itemsize, self.result.itemsize)

    @staticmethod
    def _dense(lanes: Lanes, line: "_Line", start: Value, stop: Value, step: Value) -> None:
        f = lanes.f
        with f.either(f.equal(step, 1)) as (copied, other):
            with copied:
                in_blocks(lanes, start, stop, partial(line.vector, step=1))
            with other, f.either(f.equal(step, 0)) as (filled, gathered):
                with filled:
                    in_blocks(lanes, start, stop, partial(line.vector, step=0))
                with gathered:
                    line.one_by_one(lanes, start, stop, step, 1)


@dataclass(frozen=True, slots=True)
class _Line:
    """What is copied from where to where."""

    source: DType
    result: DType
    source_line: Value
    result_line: Value

    def vector(self, lanes: Lanes, index: Value, first: Value | None, *, step: int) -> None:
        """Copy side by side from `index` on; step 0 repeats one element."""
        self._move(lanes, index if step else lanes.f.number(0), index, step, first)

    def one_by_one(
        self, lanes: Lanes, start: Value, stop: Value, step: Number, result_step: Number
    ) -> None:
        """Copy elements that lie apart."""
        f = lanes.f
        with f.loop(start, stop) as loop:
            index, result_index = f.mul(loop.index, step), f.mul(loop.index, result_step)
            self._move(Lanes(f, lanes.target, 1), index, result_index, 1, None)

    def _move(
        self, lanes: Lanes, index: Value, result_index: Value, step: int, first: Value | None
    ) -> None:
        f = lanes.f
        place = f.offset(self.source_line, index, IN_MEMORY[self.source])
        value = load_element(lanes, place, self.source, stride=step, first=first)
        value = converted(lanes, value, self.source, self.result)
        place = f.offset(self.result_line, result_index, IN_MEMORY[self.result])
        store_element(lanes, value, place, self.result, first=first)


def copied(source: View, result: View, position: int) -> Launch:
    """A launch that copies one view to another of the same shape, converting as `Cast` does."""
    from_, to = source.type.dtype, result.type.dtype
    if from_ is to:
        from_ = to = MOVED[to.itemsize]
    axes = joined_axes(result.type.shape, source.strides, result.strides)
    line = axes.pop() if axes else (min(1, result.type.elements), 1, 1)
    chunks = max(1, -(-line[0] // CHUNK))
    return Launch(
        CopyKernel(from_, to, len(axes)),
        (
            address(source),
            address(result),
            *line,
            chunks,
            *(each for axis in axes for each in axis),
        ),
        units=chunks * math.prod(axis[0] for axis in axes),
        reads=(source.buffer,),
        writes=(result.buffer,),
        position=position,
        grain=max(1, GRAIN_BYTES // (min(line[0], CHUNK) * to.itemsize or 1)),
    )


def temporary(type_: TensorType, scope: Scope) -> View:
    """A new contiguous view of memory of its own."""
    return View(scope.temporary(type_.nbytes), type_, row_major(type_.shape))


def contiguous(view: View, scope: Scope, position: int) -> tuple[View, list[Launch]]:
    """The view itself if it is contiguous, else a copy and the launch that makes it."""
    if view.is_contiguous:
        return view, []
    copy = temporary(view.type, scope)
    return copy, [copied(view, copy, position)]


def landed(view: View, scope: Scope, position: int) -> tuple[View, list[Launch]]:
    """Where to write a result that must be contiguous, and the launch that takes it home."""
    if view.is_contiguous:
        return view, []
    landing = temporary(view.type, scope)
    return landing, [copied(landing, view, position)]
