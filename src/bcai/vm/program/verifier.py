"""Decide whether a program is legal; everything downstream takes `VerifiedProgram`."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bcai.base.errors import VerifyError
from bcai.base.units import GIB, format_size
from bcai.vm.isa.attribute import Attribute, is_text
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import ELEMENTS_MAX, RANK_MAX, TensorType
from bcai.vm.isa.versions import VERSIONS
from bcai.vm.program.program import Instruction, Port, Program, VerifiedProgram

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """The largest program that is accepted."""

    instructions: int = 2_000_000
    operands: int = 65_536
    ports: int = 100_000
    name_characters: int = 200
    bytes_peak: int = 1024 * GIB


LIMITS = ProgramLimits()
_LARGEST = f"rank {RANK_MAX}, 2^40 elements at most, no negative size"
Inferred = tuple[TensorType, ...]


def verify(program: Program, limits: ProgramLimits = LIMITS) -> VerifiedProgram:
    """Infer the type of every value.

    Raises
    ------
    VerifyError
        The message names the instruction, the operand, what was found and what was expected.
    """
    if program.isa_version not in VERSIONS:
        raise VerifyError(f"instruction set version {program.isa_version} is not known")
    _check_ports(program, limits)
    for text in (each for pair in program.metadata.items() for each in pair):
        if not is_text(text):
            raise VerifyError(f"metadata {text!r} is not text")
    values = _Values()
    for port in program.ports:
        values.add(port.type)
    first_result: list[int] = []
    by_opcode = VERSIONS[program.isa_version].by_opcode
    for position, instruction in enumerate(program.instructions):
        try:
            if by_opcode.get(instruction.op.opcode) is not instruction.op:
                raise VerifyError(f"not in instruction set version {program.isa_version}")
            results = _infer(instruction, values, limits)
        except VerifyError as error:
            name = instruction.op.name
            raise VerifyError(f"instruction {position} ({name}): {error}") from error
        first_result.append(len(values.numbers))
        values.numbers += results
    _check_outputs(program, len(values.numbers), limits)
    peak, place = _bytes_peak(program, values, first_result)
    if peak > limits.bytes_peak:
        raise VerifyError(
            f"needs {format_size(peak)} at its peak, the limit is "
            f"{format_size(limits.bytes_peak)}; the peak is at {place}"
        )
    types = tuple(values.types[number] for number in values.numbers)
    return VerifiedProgram(program, types, tuple(first_result), peak)


@dataclass(slots=True)
class _Values:
    """Types of the values so far. Each type has a number: programs are long, their types are few.

    `known` holds the results' type numbers of every call that was checked before.
    """

    numbers: list[int] = field(default_factory=list[int])
    types: list[TensorType] = field(default_factory=list[TensorType])
    number_of: dict[TensorType, int] = field(default_factory=dict[TensorType, int])
    known: dict[tuple[object, ...], tuple[int, ...]] = field(
        default_factory=dict[tuple[object, ...], tuple[int, ...]]
    )

    def number(self, type_: TensorType) -> int:
        """Number of a type."""
        found = self.number_of.setdefault(type_, len(self.types))
        if found == len(self.types):
            self.types.append(type_)
        return found

    def add(self, type_: TensorType) -> None:
        """Append a value."""
        self.numbers.append(self.number(type_))


def infer(
    op: Op, operands: tuple[TensorType | None, ...], attributes: Mapping[str, Attribute]
) -> Inferred:
    """Result types of one instruction. Raises VerifyError."""
    required = len(op.operands) - op.optional - op.variadic
    if len(operands) < required or (len(operands) > len(op.operands) and not op.variadic):
        most = "any number" if op.variadic else len(op.operands)
        expected = required if most == required else f"{required} to {most}"
        raise VerifyError(f"found {len(operands)} operands, expected {expected}")
    for index, type_ in enumerate(operands):
        may_be_absent = required <= index < len(op.operands) and not op.variadic
        if type_ is None and not may_be_absent:
            raise VerifyError(f"operand {_operand_name(op, index)} is missing")
    first = next((each for each in operands if each is not None), None)
    if first is not None and first.dtype not in op.dtypes:
        names = ", ".join(each.name for each in sorted(op.dtypes))
        raise VerifyError(
            f"operand {_operand_name(op, 0)}: found {first}, expected an element type of {names}"
        )
    result = op.type_rule.infer(*operands, **attributes)
    results = result if isinstance(result, tuple) else (result,)
    for each in results:
        if not _is_possible(each):
            raise VerifyError(f"result {each} is too large: {_LARGEST}")
    return results


def _is_possible(type_: TensorType) -> bool:
    """Whether a tensor could be that large; one size counts even where another is 0."""
    shape = type_.shape
    return (
        len(shape) <= RANK_MAX
        and type_.elements <= ELEMENTS_MAX
        and all(0 <= size <= ELEMENTS_MAX for size in shape)
    )


def bind_attributes(op: Op, given: Mapping[str, Any]) -> dict[str, Attribute]:
    """Check kinds, fill defaults, put in schema order. Raises VerifyError."""
    bound: dict[str, Attribute] = {}
    for schema in op.attributes:
        if schema.name not in given and schema.required:
            raise VerifyError(f"{op.name}: attribute {schema.name} ({schema.kind}) is missing")
        try:
            bound[schema.name] = schema.check(given.get(schema.name, schema.default))
        except TypeError as error:
            raise VerifyError(f"{op.name}: attribute {error}") from error
    unknown = sorted(set(given) - set(bound))
    if unknown:
        there = ", ".join(bound) or "none"
        raise VerifyError(f"{op.name} has no attribute {unknown[0]!r}; it has {there}")
    return bound


def _operand_name(op: Op, index: int) -> str:
    return f"{index} ({op.operands[min(index, len(op.operands) - 1)]})" if op.operands else "0"


def check_operands(operands: Sequence[int | None], limits: ProgramLimits = LIMITS) -> None:
    """There are not too many, and the last one is there. Raises VerifyError."""
    if len(operands) > limits.operands:
        raise VerifyError(f"found {len(operands)} operands, at most {limits.operands}")
    if operands and operands[-1] is None:
        raise VerifyError("an absent operand at the end is left out")


def defined(count: int) -> str:
    """Which values there are, as the end of a sentence about one that is not."""
    return f"%0 to %{count - 1} are" if count else "nothing is"


def _infer(instruction: Instruction, values: _Values, limits: ProgramLimits) -> tuple[int, ...]:
    numbers, count = values.numbers, len(values.numbers)
    check_operands(instruction.operands, limits)
    operands: list[int | None] = []
    for operand in instruction.operands:
        if operand is None:
            operands.append(None)
        elif 0 <= operand < count:
            operands.append(numbers[operand])
        else:
            raise VerifyError(f"%{operand} is not defined yet; {defined(count)}")
    attributes = instruction.attributes
    exact = (tuple(attributes.items()), _kinds(attributes)) if attributes else ()
    key = (instruction.op.opcode, tuple(operands), exact)
    try:
        results = values.known.get(key)
    except TypeError as error:  # a list in a tuple's place
        raise VerifyError("attributes are not in the schema's order and kinds") from error
    if results is None:
        bound = bind_attributes(instruction.op, attributes)
        if bound != attributes or [*bound] != [*attributes] or _kinds(bound) != _kinds(attributes):
            raise VerifyError("attributes are not in the schema's order and kinds")
        types = tuple(None if each is None else values.types[each] for each in operands)
        found = infer(instruction.op, types, attributes)
        results = values.known[key] = tuple(values.number(each) for each in found)
    return results


def _kinds(attributes: Mapping[str, Attribute]) -> tuple[type, ...]:
    """Kinds, since 1 == 1.0 == True in Python."""
    return tuple(map(type, attributes.values()))


def _check_ports(program: Program, limits: ProgramLimits) -> None:
    if len(program.ports) > limits.ports or len(program.outputs) > limits.ports:
        raise VerifyError(f"more than {limits.ports} inputs, parameters or outputs")
    if len(program.instructions) > limits.instructions:
        found = len(program.instructions)
        raise VerifyError(f"found {found} instructions, the limit is {limits.instructions}")
    seen: set[str] = set()
    for port in program.ports:
        check_port(port, seen, limits)
        seen.add(port.name)


def check_port(port: Port, seen: Container[str], limits: ProgramLimits = LIMITS) -> None:
    """Its name is a new one, and its type is possible. Raises VerifyError."""
    check_name(port.name, limits)
    if port.name in seen:
        raise VerifyError(f"input or parameter {port.name!r} is named twice")
    if not _is_possible(port.type):
        raise VerifyError(f"input {port.name!r}: {port.type} is too large: {_LARGEST}")


def _check_outputs(program: Program, count: int, limits: ProgramLimits) -> None:
    seen: set[str] = set()
    for name, value in program.outputs:
        check_name(name, limits)
        if name in seen:
            raise VerifyError(f"output {name!r} is named twice")
        if not 0 <= value < count:
            raise VerifyError(f"output {name!r}: %{value} is not defined; {defined(count)}")
        seen.add(name)


def check_name(name: str, limits: ProgramLimits = LIMITS) -> None:
    """It can stand in quotation marks on one line. Raises VerifyError."""
    if not name or len(name) > limits.name_characters or not name.isprintable() or '"' in name:
        raise VerifyError(
            f"name {name[:40]!r}: expected 1 to {limits.name_characters} printable characters "
            "without quotation marks"
        )


def _bytes_peak(program: Program, values: _Values, first_result: list[int]) -> tuple[int, str]:
    """Bytes of all live values at the worst moment, and which moment that is."""
    size_of = [type_.nbytes for type_ in values.types]
    sizes = [size_of[number] for number in values.numbers]
    never, last_use = len(program.instructions), _last_uses(program, len(sizes))
    live = peak = sum(sizes[: len(program.ports)])
    worst = -1
    ends = [*first_result[1:], len(sizes)]
    for position, instruction in enumerate(program.instructions):
        results = range(first_result[position], ends[position])
        for value in results:
            live += sizes[value]
        if live > peak:
            peak, worst = live, position
        for value in instruction.operands:
            if value is not None and last_use[value] == position:
                live -= sizes[value]
                last_use[value] = never  # it may stand there twice
        for value in results:
            if last_use[value] < 0:
                live -= sizes[value]
    if worst < 0:
        return peak, "the inputs and parameters alone"
    return peak, f"instruction {worst} ({program.instructions[worst].op.name})"


def _last_uses(program: Program, count: int) -> list[int]:
    """Position of each value's last use: -1 for none, past the end for ports and outputs."""
    ports, never = len(program.ports), len(program.instructions)
    last_use = [never] * ports + [-1] * (count - ports)
    for position, instruction in enumerate(program.instructions):
        for operand in instruction.operands:
            if operand is not None and operand >= ports:
                last_use[operand] = position
    for _, value in program.outputs:
        last_use[value] = never
    return last_use
