"""Decide whether a program is legal; everything downstream takes `VerifiedProgram`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from bcai.base.errors import VerifyError
from bcai.base.units import GIB, format_size
from bcai.vm.isa.attribute import Attribute, is_text
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import ELEMENTS_MAX, RANK_MAX, TensorType
from bcai.vm.isa.versions import VERSIONS
from bcai.vm.program.program import Instruction, Program, VerifiedProgram

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
    types = [port.type for port in program.ports]
    first_result: list[int] = []
    known: dict[tuple[object, ...], Inferred] = {}
    by_opcode = VERSIONS[program.isa_version].by_opcode
    for position, instruction in enumerate(program.instructions):
        try:
            if by_opcode.get(instruction.op.opcode) is not instruction.op:
                raise VerifyError(f"not in instruction set version {program.isa_version}")
            results = _infer(instruction, types, known, limits)
        except VerifyError as error:
            name = instruction.op.name
            raise VerifyError(f"instruction {position} ({name}): {error}") from error
        first_result.append(len(types))
        types += results
    _check_outputs(program, len(types), limits)
    peak = _bytes_peak(program, types, first_result)
    if peak > limits.bytes_peak:
        raise VerifyError(
            f"needs {format_size(peak)} at its peak, the limit is {format_size(limits.bytes_peak)}"
        )
    return VerifiedProgram(program, tuple(types), tuple(first_result), peak)


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


def _infer(
    instruction: Instruction,
    types: list[TensorType],
    known: dict[tuple[object, ...], Inferred],
    limits: ProgramLimits,
) -> Inferred:
    count = len(types)
    if len(instruction.operands) > limits.operands:
        raise VerifyError(f"found {len(instruction.operands)} operands, at most {limits.operands}")
    operands: list[TensorType | None] = []
    for operand in instruction.operands:
        if operand is None:
            operands.append(None)
        elif 0 <= operand < count:
            operands.append(types[operand])
        else:
            raise VerifyError(f"%{operand} is not defined yet; %0 to %{count - 1} are")
    if operands and operands[-1] is None:
        raise VerifyError("an absent operand at the end is left out")
    attributes = instruction.attributes
    key = (instruction.op.opcode, tuple(operands), tuple(attributes.items()), _kinds(attributes))
    try:
        results = known.get(key)
    except TypeError as error:  # a list in a tuple's place
        raise VerifyError("attributes are not in the schema's order and kinds") from error
    if results is None:
        bound = bind_attributes(instruction.op, attributes)
        if bound != attributes or [*bound] != [*attributes] or _kinds(bound) != _kinds(attributes):
            raise VerifyError("attributes are not in the schema's order and kinds")
        results = known[key] = infer(instruction.op, tuple(operands), attributes)
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
        _check_name(port.name, limits)
        if port.name in seen:
            raise VerifyError(f"input or parameter {port.name!r} is named twice")
        if not _is_possible(port.type):
            raise VerifyError(f"input {port.name!r}: {port.type} is too large: {_LARGEST}")
        seen.add(port.name)


def _check_outputs(program: Program, count: int, limits: ProgramLimits) -> None:
    seen: set[str] = set()
    for name, value in program.outputs:
        _check_name(name, limits)
        if name in seen:
            raise VerifyError(f"output {name!r} is named twice")
        if not 0 <= value < count:
            raise VerifyError(f"output {name!r}: %{value} is not defined; %0 to %{count - 1} are")
        seen.add(name)


def _check_name(name: str, limits: ProgramLimits) -> None:
    if not name or len(name) > limits.name_characters or not name.isprintable() or '"' in name:
        raise VerifyError(
            f"name {name[:40]!r}: expected 1 to {limits.name_characters} printable characters "
            "without quotation marks"
        )


def _bytes_peak(program: Program, types: list[TensorType], first_result: list[int]) -> int:
    last_use = dict.fromkeys(range(len(program.ports)), len(program.instructions))
    for position, instruction in enumerate(program.instructions):
        for operand in instruction.operands:
            if operand is not None and operand >= len(program.ports):
                last_use[operand] = position
    for _, value in program.outputs:
        last_use[value] = len(program.instructions)
    freed: list[list[int]] = [[] for _ in range(len(program.instructions) + 1)]
    for value, position in last_use.items():
        freed[position].append(value)
    live = peak = sum(types[value].nbytes for value in range(len(program.ports)))
    ends = [*first_result[1:], len(types)]
    for position, (start, end) in enumerate(zip(first_result, ends, strict=len(first_result) > 0)):
        live += sum(types[value].nbytes for value in range(start, end))
        peak = max(peak, live)
        live -= sum(types[value].nbytes for value in freed[position])
        live -= sum(types[value].nbytes for value in range(start, end) if value not in last_use)
    return peak
