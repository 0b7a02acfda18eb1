"""The instructions since the last hand-over, as a Program whose inputs are named when needed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bcai.bridge.guest.capturing.recipe import Places, Recipe, Written
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import TensorType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import Instruction, Port, Program

Source = int | bytes
"""Where an input comes from: a value that the node has, or a scalar's own bytes."""


KNOWN_MAX = 20_000
_Checked = tuple[Op, Mapping[str, Attribute], tuple[TensorType, ...]]
_KNOWN: dict[object, _Checked] = {}
"""Instructions that were checked, by name, operands' types and attributes: steps are alike."""


class Finished(NamedTuple):
    """A part that is ready: its program, and the symbols that are its inputs."""

    program: Program
    ports: list[int]


class Part(Builder):
    """A builder whose inputs may come after instructions: `finish_part` puts them in front."""

    def __init__(self) -> None:
        super().__init__()
        self._sources: dict[int, Source] = {}  # by the symbol's index
        self._counts: list[int] = []
        self._handles: dict[int, Symbol] = {}

    @property
    def handles(self) -> dict[int, int]:
        """Which symbol stands for which value of the node: indices by handle."""
        return {handle: symbol.index for handle, symbol in self._handles.items()}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written."""
        return not self._instructions

    def value(self, handle: int, type_: TensorType) -> Symbol:
        """A value that the node has."""
        found = self._handles.get(handle)
        if found is None:
            found = self._handles[handle] = self._late(type_, handle)
        return found

    def scalar(self, content: bytes, type_: TensorType) -> Symbol:
        """A number of the script's, such as a learning rate: not a part of the program."""
        return self._late(type_, content)

    def emit(
        self,
        name: str,
        operands: Sequence[Symbol | float | None],
        attributes: Mapping[str, Any],
    ) -> tuple[Symbol, ...]:
        """Append an instruction and return its results. Raises VerifyError."""
        symbols = self.symbols(operands)
        types = tuple(None if each is None else self._types[each.index] for each in symbols)
        values = tuple(map(_told_apart, attributes.values()))
        key = (name, types, tuple(attributes), values, tuple(map(type, values)))
        try:
            known = _KNOWN.get(key)
        except TypeError:  # an attribute that has no hash
            known, key = None, None
        if known is not None:
            return self._append(known, symbols)
        results = super().emit(name, symbols, attributes)
        self._counts.append(len(results))
        if key is not None and len(_KNOWN) < KNOWN_MAX:
            found = tuple(self._types[each.index] for each in results)
            instruction = self._instructions[-1]
            _KNOWN[key] = (instruction.op, instruction.attributes, found)
        return results

    def _append(self, known: "_Checked", symbols: Sequence[Symbol | None]) -> tuple[Symbol, ...]:
        """Append an instruction like one that was checked before."""
        op, attributes, results = known
        numbers = [None if each is None else each.index for each in symbols]
        while numbers and numbers[-1] is None:
            numbers.pop()
        first = len(self._types)
        self._types += results
        self._first_result.append(first)
        self._counts.append(len(results))
        self._instructions.append(Instruction(op, tuple(numbers), attributes))
        return tuple(Symbol(self, first + each) for each in range(len(results)))

    def results_of(self, position: int) -> tuple[Symbol, ...]:
        """Results of the instruction at a position."""
        first = self._first_result[position]
        return tuple(Symbol(self, first + each) for each in range(self._counts[position]))

    @property
    def mark(self) -> tuple[int, int]:
        """How far the part is written."""
        return len(self._types), len(self._instructions)

    def recipe_since(
        self, mark: tuple[int, int], operands: Sequence[int], results: Any, shown: Any
    ) -> Recipe | None:
        """What was written since then, on these operands; None if it needs more than them."""
        base, begin = mark
        slots = {index: -1 - slot for slot, index in enumerate(operands)}

        def place(index: int | None) -> int | None:
            return None if index is None else index - base if index >= base else slots[index]

        scalars: list[tuple[int, bytes]] = []
        for index in range(base, len(self._types)):
            source = self._sources.get(index, b"")
            if isinstance(source, int):
                return None
            if source:
                scalars.append((index - base, source))
        try:
            instructions = tuple(
                Written(
                    each.op, each.attributes, self._first_result[at] - base, self._counts[at],
                    tuple(map(place, each.operands)),
                )
                for at, each in enumerate(self._instructions[begin:], begin)
            )  # fmt: skip
            if results is None or isinstance(results, Symbol):
                places: Places = None if results is None else place(results.index)
            else:
                places = [None if each is None else place(each.index) for each in results]
        except KeyError:  # a value that is no operand
            return None
        return Recipe(tuple(self._types[base:]), tuple(scalars), instructions, places, shown)

    def write_again(self, recipe: Recipe, operands: Sequence[int]) -> Any:
        """Append what a recipe holds, on other operands; returns its results."""
        base = len(self._types)
        numbers = [*range(base, base + len(recipe.types)), *reversed(operands)]  # from both ends
        self._types += recipe.types
        for place, content in recipe.scalars:
            self._sources[base + place] = content
        for op, attributes, first, count, places in recipe.instructions:
            found = tuple([None if each is None else numbers[each] for each in places])
            self._instructions.append(Instruction(op, found, attributes))
            self._first_result.append(base + first)
            self._counts.append(count)
        if isinstance(recipe.results, list):
            return [
                None if each is None else Symbol(self, numbers[each]) for each in recipe.results
            ]
        return None if recipe.results is None else Symbol(self, numbers[recipe.results])

    def written_as(self, outputs: Sequence[Symbol]) -> tuple[object, ...]:
        """What decides how a part comes out of `finish_part`, while its instructions are there.

        Their attributes are known by where they are in memory: equal steps share them.
        """
        return (
            tuple(
                [
                    (each.op.opcode, each.operands, id(each.attributes))
                    for each in self._instructions
                ]
            ),
            tuple(self._first_result),
            tuple([(index, self._types[index]) for index in self._sources]),
            tuple([each.index for each in outputs]),
        )

    def sources(self, ports: Sequence[int]) -> list[Source]:
        """Where inputs come from."""
        return [self._sources[index] for index in ports]

    def finish_part(self, outputs: Sequence[Symbol]) -> Finished:
        """Freeze what the outputs need; the rest was of no use. Not verified: the node does it."""
        needed = self._needed({each.index for each in outputs})
        ports = [index for index in self._sources if index in needed]
        number = {index: place for place, index in enumerate(ports)}
        kept: list[Instruction] = []
        for position, instruction in enumerate(self._instructions):
            first = self._first_result[position]
            results = range(first, first + self._counts[position])
            if needed.isdisjoint(results):
                continue
            operands = tuple(
                None if each is None else number[each] for each in instruction.operands
            )
            for result in results:
                number[result] = len(number)
            kept.append(Instruction(instruction.op, operands, instruction.attributes))
        inputs = tuple(Port(f"i{place}", self._types[index]) for place, index in enumerate(ports))
        named = tuple((f"o{place}", number[each.index]) for place, each in enumerate(outputs))
        program = Program(self.isa.version, inputs, (), tuple(kept), named)
        return Finished(program, ports)

    def _needed(self, wanted: set[int]) -> set[int]:
        needed = set(wanted)
        for position in range(len(self._instructions) - 1, -1, -1):
            first = self._first_result[position]
            if not needed.isdisjoint(range(first, first + self._counts[position])):
                operands = self._instructions[position].operands
                needed.update(each for each in operands if each is not None)
        return needed

    def _late(self, type_: TensorType, source: Source) -> Symbol:
        self._types.append(type_)
        index = len(self._types) - 1
        self._sources[index] = source
        return Symbol(self, index)


def _told_apart(value: Any) -> Any:
    """The zeros are equal, and their bits are not."""
    return str(value) if value.__class__ is float and not value else value


def shape_key(finished: Finished) -> tuple[object, ...]:
    """What two parts with the same program have in common, cheaper than its bytes."""
    program = finished.program
    return (
        tuple(
            (each.op.opcode, each.operands, tuple(map(_told_apart, each.attributes.values())))
            for each in program.instructions
        ),
        tuple(port.type for port in program.inputs),
        tuple(number for _, number in program.outputs),
    )
