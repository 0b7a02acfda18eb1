"""What all runs of a program share: tables in which only addresses are missing.

Note [Stored layout]
    Planning a program takes Python longer than loading its code. So the tables are kept beside the
    code, under the hash of the program, of the text of everything that plans and writes code, and
    of the machine: what was compiled once is ready again without being planned. Steps that the
    definition does are instructions with attributes, and are not stored; such a program is planned
    each time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.steps import Step, Steps, touched
from bcai.vm.backends.native.tape import ARGUMENTS, ENTRY, GRAIN, RECORD_WORDS, UNITS
from bcai.vm.compiler.plan import Buffer, OpTask, Role, View
from bcai.vm.compiler.schedule_memory import ALIGNMENT, Arena, schedule_memory
from bcai.vm.isa.types import Array, parse_type

Segment = tuple[int, int] | OpTask
"""A stretch of the tape, as first record and count, or an instruction for the definition."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Arguments that hold addresses: their places, and the buffers and offsets they point at."""

    places: Array
    buffers: Array
    offsets: Array

    def fill(self, arguments: Array, bases: Array) -> None:
        """Write the addresses, by the buffers' own."""
        arguments[self.places] = bases[self.buffers] + self.offsets


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything that a run does, in order, and where in memory.

    Attributes
    ----------
    buffers, outputs
        As in the plan; the constants' data is in `constants`, each at its offset.
    symbols, tape
        Entry points, and records (Note [Tape]) that hold a number in `symbols` for the entry point
        and an offset in bytes for the arguments.
    fixed, moving
        Addresses that never change, and those of inputs and outputs.
    """

    buffers: tuple[Buffer, ...]
    outputs: Mapping[str, View]
    symbols: tuple[str, ...]
    tape: Array
    arguments: Array
    fixed: Slots
    moving: Slots
    segments: tuple[Segment, ...]
    constants: Array
    constant_offsets: Mapping[int, int]
    arena: Arena
    scratch_bytes: int

    @property
    def defined(self) -> list[str]:
        """Names of the instructions that the definition runs."""
        return sorted({each.op.name for each in self.segments if isinstance(each, OpTask)})


@dataclass(slots=True)
class _Open:
    """Slots that are being collected."""

    rows: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])

    def close(self) -> Slots:
        table = np.array(self.rows, np.int64).reshape(-1, 3)
        return Slots(*(np.ascontiguousarray(table[:, column]) for column in range(3)))


def lay_out(steps: Steps) -> Layout:
    """Fill the tables, and place the temporaries."""
    launches = steps.launches
    symbols: dict[str, int] = {}
    arguments: list[int] = []
    fixed, moving = _Open(), _Open()
    tape = np.zeros((len(launches), RECORD_WORDS), np.int64)
    for record, launch in zip(tape, launches, strict=True):
        record[ENTRY] = symbols.setdefault(launch.kernel.symbol, len(symbols))
        record[ARGUMENTS] = 8 * len(arguments)
        record[UNITS], record[GRAIN] = launch.units, max(1, launch.grain)
        for argument in launch.arguments:
            if isinstance(argument, Address):
                role = steps.buffers[argument.buffer].role
                slots = moving if role in (Role.INPUT, Role.OUTPUT) else fixed
                slots.rows.append((len(arguments), argument.buffer, argument.offset))
            arguments.append(0 if isinstance(argument, Address) else argument)
    constants, offsets = _lay_constants(steps.buffers)
    return Layout(
        tuple(Buffer(each.number, each.nbytes, each.role, each.name) for each in steps.buffers),
        steps.outputs,
        tuple(symbols),
        tape,
        np.array(arguments, np.int64),
        fixed.close(),
        moving.close(),
        _segments(steps.steps),
        constants,
        offsets,
        _arena(steps),
        max((each.scratch_bytes for each in launches), default=0),
    )


def _arena(steps: Steps) -> Arena:
    """Where every temporary lies."""
    sizes = {each.number: each.nbytes for each in steps.buffers if each.role is Role.TEMPORARY}
    in_place = [each.in_place if isinstance(each, Launch) else () for each in steps.steps]
    return schedule_memory(sizes, [touched(step) for step in steps.steps], in_place)


def _segments(steps: Sequence[Step]) -> tuple[Segment, ...]:
    found: list[Segment] = []
    start = count = 0
    for step in steps:
        if isinstance(step, Launch):
            count += 1
            continue
        if count:
            found.append((start, count))
        found.append(step)
        start, count = start + count, 0
    return (*found, (start, count)) if count else tuple(found)


def _lay_constants(buffers: Sequence[Buffer]) -> tuple[Array, dict[int, int]]:
    """Bytes of all constants, each at a multiple of the alignment, and where each begins."""
    offsets: dict[int, int] = {}
    end = 0
    constants = [each for each in buffers if each.role is Role.CONSTANT]
    for buffer in constants:
        offsets[buffer.number] = end
        end += -(-max(buffer.nbytes, 1) // ALIGNMENT) * ALIGNMENT
    memory = np.zeros(end, np.uint8)
    for buffer in constants:
        start = offsets[buffer.number]
        memory[start : start + len(buffer.data)] = np.frombuffer(buffer.data, np.uint8)
    return memory, offsets


def pack(layout: Layout, groups: Sequence[tuple[str, Sequence[str]]]) -> bytes | None:
    """A layout as bytes, with its objects' keys and symbols; None if it cannot be stored."""
    if any(isinstance(each, OpTask) for each in layout.segments):
        return None
    tables = _tables(layout)
    head = {
        "buffers": [(each.nbytes, each.role.value, each.name) for each in layout.buffers],
        "outputs": [
            (name, view.buffer, str(view.type), view.strides, view.offset)
            for name, view in layout.outputs.items()
        ],
        "symbols": layout.symbols,
        "segments": layout.segments,
        "constants": list(layout.constant_offsets.items()),
        "arena": [layout.arena.nbytes, list(layout.arena.offsets.items())],
        "scratch_bytes": layout.scratch_bytes,
        "groups": groups,
        "tables": [each.size for each in tables],
    }
    text = json.dumps(head).encode()
    parts = [len(text).to_bytes(8, "little"), text, *(each.tobytes() for each in tables)]
    return b"".join([*parts, layout.constants.tobytes()])


def _tables(layout: Layout) -> list[Array]:
    fixed, moving = layout.fixed, layout.moving
    slots = (fixed.places, fixed.buffers, fixed.offsets, moving.places, moving.buffers)
    return [layout.tape, layout.arguments, *slots, moving.offsets]


def unpack(content: bytes) -> tuple[Layout, list[tuple[str, list[str]]]]:
    """The layout and the groups that `pack` was given."""
    at = 8 + int.from_bytes(content[:8], "little")
    head: dict[str, Any] = json.loads(content[8:at])
    tables: list[Array] = []
    for size in head["tables"]:
        tables.append(np.frombuffer(content, np.int64, size, at).copy())
        at += 8 * size
    buffers = tuple(
        Buffer(number, nbytes, Role(role), name)
        for number, (nbytes, role, name) in enumerate(head["buffers"])
    )
    outputs = {
        name: View(buffer, parse_type(type_), tuple(strides), offset)
        for name, buffer, type_, strides, offset in head["outputs"]
    }
    layout = Layout(
        buffers,
        outputs,
        tuple(head["symbols"]),
        tables[0].reshape(-1, RECORD_WORDS),
        tables[1],
        Slots(*tables[2:5]),
        Slots(*tables[5:8]),
        tuple((start, count) for start, count in head["segments"]),
        np.frombuffer(content, np.uint8, offset=at),
        dict(head["constants"]),
        Arena(dict(head["arena"][1]), head["arena"][0]),
        head["scratch_bytes"],
    )
    return layout, [(key, symbols) for key, symbols in head["groups"]]
