"""Steps with memory under them: what one run at a time uses.

Note [Binding]
    Temporaries and constants have their addresses from the start. Before each run only the
    arguments that name inputs and outputs are filled in, all at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.memory import BlockPool, address_of, map_block
from bcai.vm.backends.native.pool import Pool
from bcai.vm.backends.native.schedule import ALIGNMENT, Arena
from bcai.vm.backends.native.steps import Step, Steps
from bcai.vm.backends.native.tape import ALL_DONE, ARGUMENTS, ENTRY, GRAIN, RECORD_WORDS, UNITS
from bcai.vm.compiler.plan import OpTask, Role, View
from bcai.vm.isa.types import Array

Define = Callable[[OpTask, list[Array | None]], Sequence[Array]]
"""Runs an instruction by its definition."""


class Fault(Exception):  # noqa: N818
    """A kernel found its operands at fault; the definition can say what is wrong."""


@dataclass(slots=True)
class _Slots:
    """Arguments that hold addresses: where they are, and what they point at."""

    places: list[int] = field(default_factory=list[int])
    buffers: list[int] = field(default_factory=list[int])
    offsets: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True)
class _Arrays:
    places: Array
    buffers: Array
    offsets: Array

    @staticmethod
    def of(slots: _Slots) -> "_Arrays":
        parts = (slots.places, slots.buffers, slots.offsets)
        return _Arrays(*(np.array(each, np.int64) for each in parts))

    def fill(self, arguments: Array, bases: Array) -> None:
        arguments[self.places] = bases[self.buffers] + self.offsets


class Layout:
    """What all runs of some steps share: the tables before any address is in them, and constants.

    `addresses` are the kernels' entry points.
    """

    def __init__(self, steps: Steps, arena: Arena, addresses: Mapping[str, int]) -> None:
        self.steps, self.arena = steps, arena
        launches = steps.launches
        self.scratch_bytes = max((each.scratch_bytes for each in launches), default=0)
        self.arguments: list[int] = []
        fixed, moving = _Slots(), _Slots()
        self.tape = np.zeros((len(launches), RECORD_WORDS), np.int64)
        for record, launch in zip(self.tape, launches, strict=True):
            record[ENTRY] = addresses[launch.kernel.symbol]
            record[ARGUMENTS] = 8 * len(self.arguments)
            record[UNITS], record[GRAIN] = launch.units, max(1, launch.grain)
            for argument in launch.arguments:
                self._add(argument, fixed, moving)
        self.fixed, self.moving = _Arrays.of(fixed), _Arrays.of(moving)
        self.segments = _segments(steps.steps)
        self.constants, self.constant_offsets = _lay_constants(steps)

    def _add(self, argument: Address | int, fixed: _Slots, moving: _Slots) -> None:
        if isinstance(argument, int):
            self.arguments.append(argument)
            return
        role = self.steps.buffers[argument.buffer].role
        slots = moving if role in (Role.INPUT, Role.OUTPUT) else fixed
        slots.places.append(len(self.arguments))
        slots.buffers.append(argument.buffer)
        slots.offsets.append(argument.offset)
        self.arguments.append(0)


def _segments(steps: Sequence[Step]) -> list[tuple[int, int] | OpTask]:
    """Stretches of the tape, as first record and count, and what the definition does between."""
    found: list[tuple[int, int] | OpTask] = []
    start = count = 0
    for step in steps:
        if isinstance(step, Launch):
            count += 1
            continue
        if count:
            found.append((start, count))
        found.append(step)
        start, count = start + count, 0
    return [*found, (start, count)] if count else found


def _lay_constants(steps: Steps) -> tuple[Array, dict[int, int]]:
    offsets: dict[int, int] = {}
    end = 0
    constants = [each for each in steps.buffers if each.role is Role.CONSTANT]
    for buffer in constants:
        offsets[buffer.number] = end
        end += -(-max(buffer.nbytes, 1) // ALIGNMENT) * ALIGNMENT
    memory = map_block(end).array(np.dtype(np.uint8), (end,))
    for buffer in constants:
        start = offsets[buffer.number]
        memory[start : start + len(buffer.data)] = np.frombuffer(buffer.data, np.uint8)
    return memory, offsets


class Bound:
    """A layout with an arena: runs once at a time."""

    def __init__(self, layout: Layout, blocks: BlockPool) -> None:
        self._layout = layout
        self._memory: dict[int, tuple[Array, int]] = {}
        """Bytes that hold each buffer, and where in them it starts."""
        self._bases = np.zeros(len(layout.steps.buffers), np.int64)
        self._arguments = np.array(layout.arguments, np.int64)
        self._hold(blocks.aligned(layout.arena.nbytes), layout.arena.offsets)
        self._hold(layout.constants, layout.constant_offsets)
        layout.fixed.fill(self._arguments, self._bases)
        self._tape = layout.tape.copy()
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
        for number, array in given.items():
            self._bases[number] = address_of(array)
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
