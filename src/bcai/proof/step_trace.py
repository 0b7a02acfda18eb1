"""The trace of one step, instruction by instruction, as leaves of a tree.

In this order: a leaf for each port, for each instruction, for each output (in ascending order of
their names' bytes), and one for where the step ends. An instruction's leaf commits to the
instruction, to the *places* of its operands, and to the hashes of its results: whoever knows the
leaves before it can tell, from this leaf alone, whether it lies.

A leaf is canonical CBOR of
    [0, port number, content hash]
    [1, instruction hash, [[leaf, result] or null, ...], [content hash, ...]]
    [2, name, [leaf, result], content hash]
    [3, state root after the step, root of its other outputs]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import Tree, leaf_hash
from bcai.proof.canonical import check_hash
from bcai.proof.state import TensorHash, content_hash, head_of
from bcai.vm.compiler.backend import Executable
from bcai.vm.isa.types import Array
from bcai.vm.program import cbor
from bcai.vm.program.merkle import instruction_hashes
from bcai.vm.program.program import VerifiedProgram


class Place(NamedTuple):
    """Where a value comes from: a leaf, and which of its results."""

    leaf: int
    result: int


@dataclass(frozen=True, slots=True)
class PortLeaf:
    """An input or parameter."""

    port: int
    content: bytes


@dataclass(frozen=True, slots=True)
class InstructionLeaf:
    """One instruction, executed."""

    instruction: bytes
    operands: tuple[Place | None, ...]
    results: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class OutputLeaf:
    """Which value leaves under a name."""

    name: str
    source: Place
    content: bytes


@dataclass(frozen=True, slots=True)
class LastLeaf:
    """Where the step ends."""

    state: bytes
    outputs: bytes


Leaf = PortLeaf | InstructionLeaf | OutputLeaf | LastLeaf


class StepLayout:
    """What the leaves of a program's steps must be, all but the hashes of contents."""

    def __init__(self, program: VerifiedProgram) -> None:
        self.program = program
        plain = program.program
        self.ports = plain.ports
        self.instructions = instruction_hashes(plain)
        self.outputs = sorted(plain.outputs, key=lambda pair: pair[0].encode())
        self.first_instruction = len(self.ports)
        self.first_output = self.first_instruction + len(self.instructions)
        self.last = self.first_output + len(self.outputs)
        self.size = self.last + 1
        self.parameters = tuple(port.name for port in plain.parameters)
        self._places = [Place(number, 0) for number in range(len(self.ports))]
        self._counts = [*map(len, program.results)]
        for leaf, count in enumerate(self._counts, self.first_instruction):
            self._places += [Place(leaf, result) for result in range(count)]

    def place(self, value: int) -> Place:
        """Where a value of the program is."""
        return self._places[value]

    def operands(self, position: int) -> tuple[Place | None, ...]:
        """Places of an instruction's operands."""
        operands = self.program.program.instructions[position].operands
        return tuple(None if each is None else self._places[each] for each in operands)

    def result_count(self, position: int) -> int:
        """How many results an instruction has."""
        return self._counts[position]

    def is_as_declared(self, index: int, leaf: Leaf) -> bool:
        """Whether a leaf says what the program says of it, whatever its contents are."""
        match leaf:
            case PortLeaf():
                return index < self.first_instruction and leaf.port == index
            case InstructionLeaf():
                position = index - self.first_instruction
                return (
                    self.first_instruction <= index < self.first_output
                    and leaf.instruction == self.instructions[position]
                    and leaf.operands == self.operands(position)
                    and len(leaf.results) == self.result_count(position)
                )
            case OutputLeaf():
                if not self.first_output <= index < self.last:
                    return False
                name, value = self.outputs[index - self.first_output]
                return leaf.name == name and leaf.source == self._places[value]
            case LastLeaf():
                return index == self.last

    def describe(self, index: int) -> str:
        """A leaf for people."""
        if index < self.first_instruction:
            return f"input {self.ports[index].name!r}"
        if index < self.first_output:
            position = index - self.first_instruction
            name = self.program.program.instructions[position].op.name
            return f"instruction {position} ({name})"
        if index < self.last:
            return f"output {self.outputs[index - self.first_output][0]!r}"
        return "the step's end"


@dataclass(frozen=True)
class StepTrace:
    """The leaves of one step: hashes only, no tensor."""

    leaves: tuple[Leaf, ...]

    @cached_property
    def tree(self) -> Tree:
        """The tree over them."""
        return Tree([leaf_hash(encode_leaf(each)) for each in self.leaves])

    def open(self, index: int) -> tuple[bytes, tuple[bytes, ...]]:
        """A leaf's bytes and its path."""
        return encode_leaf(self.leaves[index]), self.tree.path(index)


def trace_step(
    layout: StepLayout,
    executable: Executable,
    inputs: Mapping[str, Array],
    state: Mapping[str, Array],
) -> StepTrace:
    """Run one step instruction by instruction and keep the hashes. Raises what `run` raises."""
    return run_and_trace(layout, executable, {**inputs, **state})[1]


def run_and_trace(
    layout: StepLayout, executable: Executable, values: Mapping[str, Array]
) -> tuple[dict[str, Array], StepTrace]:
    """The same, with what the step puts out; `values` are inputs and parameters."""
    contents: list[tuple[bytes, ...]] = [
        (content_hash(values[port.name]),) for port in layout.ports
    ]

    def observe(position: int, results: tuple[Array, ...]) -> None:
        assert len(contents) == layout.first_instruction + position
        contents.append(tuple(map(content_hash, results)))

    outputs = executable.run_traced(values, observe)
    return outputs, assemble(layout, contents)


def assemble(layout: StepLayout, contents: Sequence[tuple[bytes, ...]]) -> StepTrace:
    """The leaves of a step, from the hashes of its ports and of every instruction's results."""
    leaves: list[Leaf] = [PortLeaf(port, contents[port][0]) for port in range(len(layout.ports))]
    for position, hash_ in enumerate(layout.instructions):
        results = contents[layout.first_instruction + position]
        leaves.append(InstructionLeaf(hash_, layout.operands(position), results))
    named: dict[str, bytes] = {}
    for name, value in layout.outputs:
        place = layout.place(value)
        named[name] = contents[place.leaf][place.result]
        leaves.append(OutputLeaf(name, place, named[name]))
    before = {port.name: contents[number][0] for number, port in enumerate(layout.ports)}
    leaves.append(end_of_step(layout, before, named))
    return StepTrace(tuple(leaves))


def end_of_step(
    layout: StepLayout, before: Mapping[str, bytes], outputs: Mapping[str, bytes]
) -> LastLeaf:
    """The last leaf, from the hashes of the state before and of the outputs."""
    program = layout.program.program
    after = [
        TensorHash(port.name, port.type, outputs.get(port.name, before[port.name]))
        for port in sorted(program.parameters, key=lambda port: port.name.encode())
    ]
    types = layout.program.output_types
    states = frozenset(layout.parameters)
    others = [
        TensorHash(name, types[name], outputs[name])
        for name, _ in layout.outputs
        if name not in states
    ]
    return LastLeaf(head_of(after).digest, head_of(others).digest)


def encode_leaf(leaf: Leaf) -> bytes:
    """Canonical bytes of a leaf."""
    match leaf:
        case PortLeaf():
            return cbor.encode([0, leaf.port, leaf.content])
        case InstructionLeaf():
            operands = [None if each is None else list(each) for each in leaf.operands]
            return cbor.encode([1, leaf.instruction, operands, leaf.results])
        case OutputLeaf():
            return cbor.encode([2, leaf.name, list(leaf.source), leaf.content])
        case LastLeaf():
            return cbor.encode([3, leaf.state, leaf.outputs])


def decode_leaf(data: bytes) -> Leaf:
    """Read canonical bytes. Raises FormatError."""
    fields = cbor.decode(data)
    try:
        leaf = _build(fields)
    except (TypeError, ValueError, InputError) as error:
        raise FormatError(f"not a leaf: {error}") from error
    if encode_leaf(leaf) != data:
        raise FormatError("not the canonical encoding of its leaf")
    return leaf


def _build(fields: Any) -> Leaf:
    kind, *rest = fields
    if kind == 0:
        port, content = rest
        leaf: Leaf = PortLeaf(_number(port), content)
        hashes: tuple[bytes, ...] = (content,)
    elif kind == 1:
        instruction, operands, results = rest
        places = tuple(None if each is None else _place(each) for each in operands)
        hashes = (instruction, *results)
        leaf = InstructionLeaf(instruction, places, tuple(results))
    elif kind == 2:
        name, source, content = rest
        leaf, hashes = OutputLeaf(name, _place(source), content), (content,)
    elif kind == 3:
        state, outputs = rest
        leaf, hashes = LastLeaf(state, outputs), (state, outputs)
    else:
        raise FormatError(f"kind {kind!r}")
    for each in hashes:
        check_hash("hash", each)
    return leaf


def _place(fields: Any) -> Place:
    leaf, result = fields
    return Place(_number(leaf), _number(result))


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise FormatError(f"found {value!r}, expected a whole number from 0")
    return value
