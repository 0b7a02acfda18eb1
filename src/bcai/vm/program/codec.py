r"""Programs as canonical bytes: one program, one encoding.

    b"bcai-program\x00" then canonical CBOR of
    [isa version, inputs, parameters, instructions, outputs, metadata]

with an input or parameter as [name, dtype, [sizes]], an instruction as [opcode, [operand or null],
[attribute values in schema order]], an output as [name, value], and metadata as [key, value] pairs
in ascending order of the key's UTF-8 bytes.

Decoding builds a Program and encodes it again: bytes that differ are refused, so nothing can have
two encodings, whatever the decoder below would let through.
"""

from collections.abc import Callable
from typing import Any

from bcai.base.errors import FormatError
from bcai.base.units import GIB, format_size
from bcai.vm.isa.attribute import Attribute, AttributeSchema
from bcai.vm.isa.types import DType, TensorType
from bcai.vm.isa.versions import InstructionSet, instruction_set
from bcai.vm.program.cbor import array, encode, read, read_array
from bcai.vm.program.program import Instruction, Port, Program

MAGIC = b"bcai-program\x00"
BYTES_MAX = 2 * GIB


def encode_program(program: Program) -> bytes:
    """Canonical bytes of a program."""
    parts = [
        encode(program.isa_version),
        encode([_port(port) for port in program.inputs]),
        encode([_port(port) for port in program.parameters]),
        array([encode_instruction(each) for each in program.instructions]),
        encode([[name, value] for name, value in program.outputs]),
        encode(_metadata(program)),
    ]
    return MAGIC + array(parts)


def encode_header(program: Program) -> bytes:
    """Canonical bytes of all but the instructions."""
    return encode(
        [
            program.isa_version,
            [_port(port) for port in program.inputs],
            [_port(port) for port in program.parameters],
            len(program.instructions),
            [[name, value] for name, value in program.outputs],
            _metadata(program),
        ]
    )


def encode_instruction(instruction: Instruction) -> bytes:
    """Canonical bytes of one instruction."""
    return encode(_instruction(instruction))


def decode_program(data: bytes) -> Program:
    """Read canonical bytes.

    Raises
    ------
    FormatError
        They are not the canonical encoding of a program; the message names the place.
    """
    if not data.startswith(MAGIC):
        raise FormatError(f"byte 0: not a program, which starts with {MAGIC!r}")
    if len(data) > BYTES_MAX:
        raise FormatError(f"{len(data)} bytes; a program has at most {format_size(BYTES_MAX)}")
    count, at = read_array(data, len(MAGIC), "program")
    if count != 6:
        raise FormatError(f"program: found {count} fields, expected 6")
    version, at = read(data, at)
    isa = instruction_set(_whole(version, "version"))
    inputs, at = read(data, at)
    parameters, at = read(data, at)
    instructions, at = _read_instructions(data, at, isa)
    outputs, at = read(data, at)
    metadata, at = read(data, at)
    if at != len(data):
        raise FormatError(f"byte {at}: {len(data) - at} bytes too many")
    program = Program(
        isa.version,
        tuple(_read_port(item, "input") for item in _list(inputs, "inputs")),
        tuple(_read_port(item, "parameter") for item in _list(parameters, "parameters")),
        tuple(instructions),
        tuple(_read_output(item) for item in _list(outputs, "outputs")),
        dict(_read_pair(item) for item in _list(metadata, "metadata")),
    )
    if encode_program(program) != data:
        raise FormatError("not the canonical encoding of its program")
    return program


def _port(port: Port) -> list[Any]:
    return [port.name, int(port.type.dtype), list(port.type.shape)]


def _metadata(program: Program) -> list[list[str]]:
    pairs = sorted(program.metadata.items(), key=lambda pair: pair[0].encode())
    return [[key, value] for key, value in pairs]


def _instruction(instruction: Instruction) -> list[Any]:
    values = [_plain(value) for value in instruction.attributes.values()]
    return [instruction.op.opcode, instruction.operands, values]


def _plain(value: Attribute) -> object:
    return int(value) if type(value) is DType else value


def _read_instructions(data: bytes, at: int, isa: InstructionSet) -> tuple[list[Instruction], int]:
    """Read one after the other: lists of a whole program at once would fill the memory."""
    count, at = read_array(data, at, "instructions")
    instructions: list[Instruction] = []
    for position in range(count):
        item, at = read(data, at)
        instructions.append(_read_instruction(item, isa.by_opcode, position))
    return instructions, at


def _read_instruction(item: Any, by_opcode: Any, position: int) -> Instruction:
    place = f"instruction {position}"
    opcode, operands, values = _fields(item, 3, place)
    op = by_opcode.get(opcode) if type(opcode) is int else None
    if op is None:
        raise FormatError(f"{place}: opcode {opcode!r} is not in the instruction set")
    numbers = tuple(
        None if operand is None else _whole(operand, f"{place}: operand")
        for operand in _list(operands, f"{place}: operands")
    )
    given = _list(values, f"{place}: attributes")
    if len(given) != len(op.attributes):
        raise FormatError(
            f"{place} ({op.name}): found {len(given)} attributes, expected {len(op.attributes)}"
        )
    attributes = {
        schema.name: _read_attribute(schema, value, f"{place} ({op.name})")
        for schema, value in zip(op.attributes, given, strict=True)
    }
    return Instruction(op, numbers, attributes)


def _read_attribute(schema: AttributeSchema, value: Any, place: str) -> Attribute:
    try:
        if schema.kind == "dtype":
            return DType(_whole(value, place))
        if schema.kind in ("float", "floats"):
            items: list[Any] = value if schema.kind == "floats" else [value]
            if any(type(item) is not float for item in items):
                raise TypeError(f"{schema.name}: expected floats")
        return schema.check(value)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{place}: attribute {error}") from error


def _read_port(item: Any, what: str) -> Port:
    name, dtype, shape = _fields(item, 3, what)
    sizes = tuple(_whole(size, f"{what} {name!r}: size") for size in _list(shape, what))
    try:
        return Port(_text(name, what), TensorType(DType(dtype), sizes))
    except ValueError as error:
        raise FormatError(f"{what} {name!r}: no element type {dtype!r}") from error


def _read_output(item: Any) -> tuple[str, int]:
    name, value = _fields(item, 2, "output")
    return _text(name, "output"), _whole(value, f"output {name!r}")


def _read_pair(item: Any) -> tuple[str, str]:
    key, value = _fields(item, 2, "metadata")
    return _text(key, "metadata"), _text(value, "metadata")


def _fields(item: Any, count: int, what: str) -> list[Any]:
    fields = _list(item, what)
    if len(fields) != count:
        raise FormatError(f"{what}: found {len(fields)} fields, expected {count}")
    return fields


def _expect(kind: type, word: str) -> Callable[[Any, str], Any]:
    def check(item: Any, what: str) -> Any:
        if type(item) is not kind:
            raise FormatError(f"{what}: found {type(item).__name__}, expected {word}")
        return item

    return check


_list: Callable[[Any, str], list[Any]] = _expect(list, "an array")
_text: Callable[[Any, str], str] = _expect(str, "text")


def _whole(item: Any, what: str) -> int:
    if type(item) is not int or not 0 <= item < 1 << 62:
        raise FormatError(f"{what}: found {item!r}, expected a whole number from 0")
    return item
