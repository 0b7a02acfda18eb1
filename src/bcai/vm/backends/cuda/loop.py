"""Loops on a grid: a thread for every element, or a warp for every row that is folded.

Note [A warp sums a row]
    The 32 lanes of Note [Order of a sum] are the 32 threads of a warp: thread l adds elements l,
    l + 32, ... of a chunk, and shuffles fold them +16, +8, +4, +2, +1. The chunks' sums go to the
    lanes in turn and are folded alike. What knows no order is folded the same way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bcai.vm.backends.cuda.grid import WARP, from_below, from_first, start, thread_number
from bcai.vm.backends.native.elementwise import Lanes, apply, literal_element, load_element
from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY, store_element
from bcai.vm.backends.native.llvm import Function, Module, Value
from bcai.vm.backends.native.loops.folding import Folding, Parts
from bcai.vm.backends.native.loops.form import Access, Form, Read
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Apply, Fold, Literal, Place
from bcai.vm.isa.order import CHUNK

ROW_MAX = CHUNK * CHUNK
"""Longest row: chunk sums are summed once, not again."""


@dataclass(frozen=True, slots=True)
class LoopKernel:
    """A form of loop (Note [Form of a loop]); its arguments are the accesses' addresses."""

    form: Form
    library: str | None = None

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return self.form.symbol

    @property
    def threads(self) -> int:
        """Threads that have something to do."""
        rows = math.prod(self.form.outer)
        return rows * (WARP if self.form.folds else math.prod(self.form.row))

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        f = start(self, module, target, len(self.form.accesses))
        thread = thread_number(f, target)
        elements = Elements(f, target, self.form)
        with f.when(f.less(thread, self.threads)):
            if self.form.folds:
                _write_row(elements, thread)
            else:
                sizes = (*self.form.outer, *self.form.row)
                elements.store(indices(f, thread, sizes), once_a_row=False)
        f.give()


@dataclass(slots=True)
class Elements:
    """Writes nodes for one element; folds of its row are known by then."""

    f: Function
    target: Target
    form: Form
    folded: dict[int, Value] = field(default_factory=dict[int, Value])

    @property
    def lanes(self) -> Lanes:
        """One element at a time."""
        return Lanes(self.f, self.target, 1)

    def value(self, number: int, place: Sequence[Value], known: dict[int, Value]) -> Value:
        """A node at a place; `known` are those written there before."""
        if number in self.folded:
            return self.folded[number]
        if number not in known:
            known[number] = self._write(number, place, known)
        return known[number]

    def _write(self, number: int, place: Sequence[Value], known: dict[int, Value]) -> Value:
        node = self.form.nodes[number]
        match node:
            case Read(access):
                return load_element(self.lanes, self._address(access, place), access.dtype)
            case Literal(value, dtype):
                return literal_element(self.lanes, value, dtype)
            case Place(strides, offset):
                return self._walk(strides, place, offset)
            case Apply(op, operands, attributes, dtype):
                values = [self.value(each, place, known) for each in operands]
                types = [self.form.dtype(each) for each in operands]
                return apply(self.lanes, op, attributes, values, types, dtype)
            case Fold():
                raise AssertionError("folds are written in order, before what uses them")

    def store(self, place: Sequence[Value], *, once_a_row: bool) -> None:
        """Write the results that belong to an element, or to its row."""
        known: dict[int, Value] = {}
        for each in self.form.stores:
            if each.once_a_row == once_a_row:
                value = self.value(each.node, place, known)
                address = self._address(each.access, place)
                store_element(self.lanes, value, address, each.access.dtype)

    def _address(self, access: Access, place: Sequence[Value]) -> Value:
        at = self._walk(access.strides, place, 0)
        return self.f.offset(self.f.arguments[access.slot], at, IN_MEMORY[access.dtype])

    def _walk(self, strides: Sequence[int], place: Sequence[Value], offset: int) -> Value:
        total = self.f.number(offset)
        for stride, index in zip(strides, place, strict=True):
            if stride:
                total = self.f.add(total, self.f.mul(index, stride))
        return total


def indices(f: Function, number: Value, sizes: Sequence[int]) -> list[Value]:
    """Indices along axes from an element's number in row-major order."""
    found: list[Value] = []
    for size in reversed(sizes):
        found.append(f.rem(number, size))
        number = f.div(number, size)
    return found[::-1]


def _write_row(elements: Elements, thread: Value) -> None:
    f, form = elements.f, elements.form
    lane = f.rem(thread, WARP)
    outer = indices(f, f.div(thread, WARP), form.outer)
    for number, node in enumerate(form.nodes):
        if isinstance(node, Fold):
            elements.folded[number] = _write_fold(elements, node, outer, lane)
    with f.loop(lane, math.prod(form.row), WARP) as loop:
        elements.store([*outer, *indices(f, loop.index, form.row)], once_a_row=False)
    with f.when(f.equal(lane, 0)):
        elements.store([*outer, *[f.number(0)] * len(form.row)], once_a_row=True)


def _write_fold(elements: Elements, fold: Fold, outer: Sequence[Value], lane: Value) -> Value:
    f, length = elements.f, math.prod(elements.form.row)
    folding = Folding(f, fold)
    nothing = folding.identity(1)
    with f.loop(0, -(-length // CHUNK), carry=nothing) as chunks:
        begin = f.mul(chunks.index, CHUNK)
        end = f.minimum(f.add(begin, CHUNK), length)
        with f.loop(f.add(begin, lane), end, WARP, nothing) as loop:
            place = [*outer, *indices(f, loop.index, elements.form.row)]
            value = elements.value(fold.operand, place, {})
            loop.following[:] = folding.merge(loop.carried, folding.parts_of(value))
        chunk = folding.parts_of(folding.finish(_tree(elements, folding, loop.following)))
        mine = f.equal(f.rem(chunks.index, WARP), lane)
        taken = folding.merge(chunks.carried, chunk)
        chunks.following[:] = [
            f.b.select(mine, new, old) for new, old in zip(taken, chunks.carried, strict=True)
        ]
    result = folding.finish(_tree(elements, folding, chunks.following))
    return elements.lanes.rounded(result, fold.dtype)


def _tree(elements: Elements, folding: Folding, parts: Sequence[Value]) -> Parts:
    f, target, width = elements.f, elements.target, WARP
    total = tuple(parts)
    while width > 1:
        width //= 2
        total = folding.merge(total, tuple(from_below(f, target, each, width) for each in total))
    return tuple(from_first(f, target, each) for each in total)
