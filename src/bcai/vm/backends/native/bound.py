"""A layout with memory under it: what one run at a time uses.

Note [Binding]
    Temporaries and constants have their addresses from the start. Before each run only the
    arguments that name inputs and outputs are filled in, all at once.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bcai.vm.backends.native.layout import Layout
from bcai.vm.backends.native.memory import BlockPool, address_of
from bcai.vm.backends.native.pool import Pool
from bcai.vm.backends.native.tape import ALL_DONE, ARGUMENTS, ENTRY
from bcai.vm.compiler.plan import OpTask, View
from bcai.vm.isa.types import Array

Define = Callable[[OpTask, list[Array | None]], Sequence[Array]]
"""Runs an instruction by its definition."""


class Fault(Exception):  # noqa: N818
    """A kernel found its operands at fault; the definition can say what is wrong."""


class Bound:
    """A layout with an arena: runs once at a time.

    `addresses` are the kernels' entry points, by symbol.
    """

    def __init__(self, layout: Layout, addresses: Mapping[str, int], blocks: BlockPool) -> None:
        self._layout = layout
        self._memory: dict[int, tuple[Array, int]] = {}
        """Bytes that hold each buffer, and where in them it starts."""
        self._bases = np.zeros(len(layout.buffers), np.int64)
        self._arguments = layout.arguments.copy()
        self._hold(blocks.aligned(layout.arena.nbytes), layout.arena.offsets)
        self._hold(layout.constants, layout.constant_offsets)
        layout.fixed.fill(self._arguments, self._bases)
        self._tape = layout.tape.copy()
        entries = np.array([addresses[each] for each in layout.symbols], np.int64)
        self._tape[:, ENTRY] = entries[layout.tape[:, ENTRY]]
        self._tape[:, ARGUMENTS] += address_of(self._arguments)

    def _hold(self, memory: Array, offsets: Mapping[int, int]) -> None:
        for number, offset in offsets.items():
            self._memory[number] = (memory, offset)
            self._bases[number] = address_of(memory) + offset

    def run(self, given: Mapping[int, Array], pool: Pool, define: Define) -> None:
        """Run on the inputs' and outputs' buffers, contiguous arrays by number.

        Raises
        ------
        Fault
            A kernel refuses its operands.
        """
        layout = self._layout
        numbers = np.fromiter(given, np.int64, len(given))
        self._bases[numbers] = pool.addresses_of(given.values())
        layout.moving.fill(self._arguments, self._bases)
        for segment in layout.segments:
            if isinstance(segment, OpTask):
                self._define(segment, given, define)
            elif pool.run(self._tape, *segment, layout.scratch_bytes) != ALL_DONE:
                raise Fault

    def _define(self, task: OpTask, given: Mapping[int, Array], define: Define) -> None:
        operands = [None if each is None else self.array(each, given) for each in task.operands]
        for view, result in zip(task.results, define(task, operands), strict=True):
            self.array(view, given)[...] = result

    def array(self, view: View, given: Mapping[int, Array]) -> Array:
        """A view as an array over the memory that it lies in."""
        dtype, shape = view.type.dtype.numpy, view.type.shape
        if view.type.elements == 0:
            return np.empty(shape, dtype)
        memory, start = self._memory.get(view.buffer) or (_bytes_of(given[view.buffer]), 0)
        strides = tuple(each * dtype.itemsize for each in view.strides)
        offset = start + view.offset * dtype.itemsize
        return np.ndarray(shape, dtype, memory, offset, strides)


def _bytes_of(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)
