r"""The assembly: what a person reads and writes, and what round-trips exactly.

    bcai program 1
    meta "name" = "example"
    input %0 "x": float32[8,4]
    parameter %1 "w": float32[4,2]
    %2: float32[8,2] = MatMul %0 %1
    %3: float32[8,2] = Relu %2          # a comment
    %4: float32[8,1], %5: int64[8,1] = TopK %3 {k=1, axis=-1}
    output "y" = %3

Values are numbered in order. The types behind `%n:` may be left out by a writer; where they stand
they must be right. An absent operand is `_`. Attributes that have their default are not printed.
Numbers are decimal and round-trip; `nan`, `inf` and `-inf` are floats; bytes are `0x...`. In
quotation marks `\"`, `\\` and `\u{1f600}` are escapes, and there are no others.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bcai.base.errors import FormatError, VerifyError
from bcai.vm.isa.attribute import Attribute, AttributeSchema
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import DType, TensorType, parse_type
from bcai.vm.isa.versions import InstructionSet, instruction_set
from bcai.vm.program.program import Instruction, Port, Program, VerifiedProgram
from bcai.vm.program.reader import LineReader, located
from bcai.vm.program.verifier import (
    bind_attributes,
    check_name,
    check_operands,
    check_port,
    defined,
    infer,
    verify,
)

HEADER = "bcai program"
_LINE_END = re.compile(r"\r\n|\r|\n")  # those that editors count


def print_program(verified: VerifiedProgram) -> str:
    """Render a program, one instruction a line, with the type of every value."""
    program = verified.program
    lines = [f"{HEADER} {program.isa_version}"]
    pairs = sorted(program.metadata.items(), key=lambda pair: pair[0].encode())
    lines += [f"meta {_quote(key)} = {_quote(value)}" for key, value in pairs]
    for number, port in enumerate(program.ports):
        word = "input" if number < len(program.inputs) else "parameter"
        lines.append(f"{word} %{number} {_quote(port.name)}: {port.type}")
    for instruction, results in zip(program.instructions, verified.results, strict=True):
        types = verified.types[results.start : results.stop]
        lines.append(_print_instruction(instruction, results.start, types))
    lines += [f"output {_quote(name)} = %{value}" for name, value in program.outputs]
    return "\n".join(lines) + "\n"


def parse_program(text: str) -> VerifiedProgram:
    """Read assembly and verify it.

    Raises
    ------
    FormatError, VerifyError
        The message names line and column and shows the line with a caret.
    """
    lines = [
        reader
        for number, line in enumerate(_LINE_END.split(text), start=1)
        if (reader := LineReader(line, number)).has_more()
    ]
    if not lines:
        raise FormatError(f"line 1: empty; a program starts with '{HEADER} 1'")
    header = lines[0]
    header.expect("bcai")
    header.expect("program")
    mark = header.at
    version = header.whole("a version")
    with located(header, mark):
        parser = _Parser(instruction_set(version))
    header.end()
    for reader in lines[1:]:
        parser.line(reader)
    return verify(parser.program())


def _print_instruction(instruction: Instruction, start: int, types: tuple[TensorType, ...]) -> str:
    results = ", ".join(f"%{start + index}: {type_}" for index, type_ in enumerate(types))
    operands = "".join(" _" if each is None else f" %{each}" for each in instruction.operands)
    shown = [
        f"{schema.name}={_print_attribute(instruction.attributes[schema.name])}"
        for schema in instruction.op.attributes
        if schema.required or not _same(instruction.attributes[schema.name], schema.default)
    ]
    attributes = f" {{{', '.join(shown)}}}" if shown else ""
    return f"{results} = {instruction.op.name}{operands}{attributes}"


def _same(value: Attribute, default: Any) -> bool:
    return repr(value) == repr(default)  # 0.0 and -0.0 differ, nan equals nan


def _print_attribute(value: Attribute) -> str:
    if isinstance(value, DType):
        return value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, tuple):
        return f"[{', '.join(repr(item) for item in value)}]"
    return repr(value)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    plain = "".join(
        character if character.isprintable() else f"\\u{{{ord(character):x}}}"
        for character in escaped
    )
    return f'"{plain}"'


class _Parser:
    def __init__(self, isa: InstructionSet) -> None:
        self._isa = isa
        self._metadata: dict[str, str] = {}
        self._inputs: list[Port] = []
        self._parameters: list[Port] = []
        self._instructions: list[Instruction] = []
        self._types: list[TensorType] = []
        self._names: set[str] = set()
        self._outputs: dict[str, int] = {}

    def line(self, reader: LineReader) -> None:
        if reader.peek("%"):
            self._instruction(reader)
            return
        word = reader.word("input, parameter, meta, output or a result such as %3")
        if word in ("input", "parameter"):
            self._port(reader, word)
        elif word == "meta":
            mark = reader.at
            key = reader.quoted("a key")
            if key in self._metadata:
                raise reader.error(f"metadata {key!r} stands twice", mark)
            reader.expect("=")
            self._metadata[key] = reader.quoted("a value")
        elif word == "output":
            mark = reader.at
            name = reader.quoted("a name")
            if name in self._outputs:
                raise reader.error(f"output {name!r} is named twice", mark)
            with located(reader, mark):
                check_name(name)
            reader.expect("=")
            self._outputs[name] = self._value(reader)
        else:
            raise reader.error(
                f"found {word!r}, expected input, parameter, meta, output or %",
                reader.at - len(word),
            )
        reader.end()

    def program(self) -> Program:
        return Program(
            self._isa.version,
            tuple(self._inputs),
            tuple(self._parameters),
            tuple(self._instructions),
            tuple(self._outputs.items()),
            self._metadata,
        )

    def _port(self, reader: LineReader, word: str) -> None:
        if self._instructions:
            article = "an" if word == "input" else "a"
            raise reader.error(f"{article} {word} after the first instruction")
        if word == "input" and self._parameters:
            raise reader.error("an input after a parameter")
        self._new_value(reader, len(self._types))
        mark = reader.at
        name = reader.quoted("a name")
        reader.expect(":")
        with located(reader):
            port = Port(name, parse_type(reader.type_text()))
        with located(reader, mark):
            check_port(port, self._names)
        self._names.add(name)
        (self._inputs if word == "input" else self._parameters).append(port)
        self._types.append(port.type)

    def _instruction(self, reader: LineReader) -> None:
        stated: list[TensorType | None] = []
        while True:
            self._new_value(reader, len(self._types) + len(stated))
            stated.append(None)
            if reader.take(":"):
                with located(reader):
                    stated[-1] = parse_type(reader.type_text())
            if not reader.take(","):
                break
        reader.expect("=")
        op = self._op(reader)
        mark = reader.at
        operands: list[int | None] = []
        while reader.peek("%") or reader.peek("_"):
            operands.append(None if reader.take("_") else self._value(reader))
        with located(reader, mark):
            check_operands(operands)
            attributes = bind_attributes(op, dict(self._attributes(reader, op)))
            types = tuple(None if each is None else self._types[each] for each in operands)
            results = infer(op, types, attributes)
        self._check_results(reader, op, stated, results)
        self._instructions.append(Instruction(op, tuple(operands), attributes))
        self._types += results
        reader.end()

    def _check_results(
        self,
        reader: LineReader,
        op: Op,
        stated: list[TensorType | None],
        results: tuple[TensorType, ...],
    ) -> None:
        if len(stated) != len(results):
            raise reader.error(f"{op.name} has {len(results)} results, found {len(stated)}", 0)
        for given, found in zip(stated, results, strict=True):
            if given is not None and given != found:
                raise reader.error(
                    f"{op.name} gives {found}, the line says {given}", 0, VerifyError
                )

    def _op(self, reader: LineReader) -> Op:
        name = reader.word("the name of an instruction")
        op = self._isa.by_name.get(name)
        if op is None:
            raise reader.unknown("instruction", name, self._isa.by_name)
        return op

    def _new_value(self, reader: LineReader, expected: int) -> None:
        mark = reader.at
        reader.expect("%")
        number = reader.whole("a number of at most 15 digits")
        if number != expected:
            raise reader.error(f"found %{number}, the next value is %{expected}", mark)

    def _value(self, reader: LineReader) -> int:
        mark = reader.at
        reader.expect("%")
        number = reader.whole("a number of at most 15 digits")
        if number >= len(self._types):
            message = f"%{number} is not defined yet; {defined(len(self._types))}"
            raise reader.error(message, mark, VerifyError)
        return number

    def _attributes(self, reader: LineReader, op: Op) -> Iterable[tuple[str, Attribute]]:
        schemas: Mapping[str, AttributeSchema] = {each.name: each for each in op.attributes}
        seen: set[str] = set()
        if not reader.take("{"):
            return
        while not reader.take("}"):
            name = reader.word("an attribute")
            if name not in schemas:
                raise reader.unknown(f"attribute of {op.name}", name, schemas)
            if name in seen:
                raise reader.error(f"attribute {name} stands twice", reader.at - len(name))
            seen.add(name)
            reader.expect("=")
            yield name, reader.attribute(schemas[name])
            if not reader.take(",") and not reader.peek("}"):
                raise reader.error("expected ',' or '}'")
