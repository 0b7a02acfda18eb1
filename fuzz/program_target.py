"""What must hold for any bytes: the target of `fuzz_programs.py`, and of the test of its seeds.

The first byte chooses the door (canonical bytes, assembly, CBOR, stack code, one call's type rule);
the rest goes in. Nothing but an InputError may come out; what is let in has one encoding, one text,
and runs with the types that were inferred.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bcai.base.errors import BcaiError, InputError
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.backend import PythonCode
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.isa.versions import LATEST
from bcai.vm.program import cbor
from bcai.vm.program.codec import MAGIC, decode_program, encode_program
from bcai.vm.program.merkle import program_root
from bcai.vm.program.program import Instruction, Port, Program, VerifiedProgram
from bcai.vm.program.text import parse_program, print_program
from bcai.vm.program.verifier import bind_attributes, infer, verify
from bcai.vm.stack import bytecode, machine, rewrite

RUN_BYTES_MAX = 1 << 14
RUN_INSTRUCTIONS_MAX = 16
OPS: tuple[Op, ...] = tuple(op for _, op in sorted(LATEST.by_opcode.items()))
_NUMBERS = (-(2**63), -2, -1, 0, 1, 2, 3, 4, 5, 8, 64, 2**31, 2**40, 2**62, 2**63 - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e308, float("inf"), float("-inf"), float("nan"))


def check(data: bytes) -> None:
    """Put bytes through the door that the first one chooses. Raises if a law is broken."""
    if not data:
        return
    doors = (check_bytes, check_text, check_cbor, check_stack, check_call)
    doors[data[0] % len(doors)](data[1:])


def check_bytes(data: bytes) -> None:
    """Canonical bytes."""
    data = data if data.startswith(MAGIC) else MAGIC + data
    try:
        program = decode_program(data)
    except InputError:
        return
    assert encode_program(program) == data
    check_program(program)


def check_text(data: bytes) -> None:
    """Assembly."""
    try:
        verified = parse_program(data.decode("utf-8", "replace"))
    except InputError:
        return
    check_verified(verified)


def check_cbor(data: bytes) -> None:
    """CBOR alone."""
    try:
        value = cbor.decode(data)
    except InputError:
        return
    assert cbor.encode(value) == data


def check_stack(data: bytes) -> None:
    """Stack code: the machine and the rewriting agree on what is legal."""
    try:
        code = bytecode.decode(data)
    except InputError:
        return
    assert len(bytecode.encode(code)) == len(data)
    try:
        machine.run(code)
    except BcaiError:
        return
    rewrite.rewrite(code)


def check_call(data: bytes) -> None:
    """One call of an instruction with operands and attributes from the bytes."""
    source = _Source(data)
    op = OPS[source.below(len(OPS))]
    operands = tuple(_type(source) for _ in range(source.below(len(op.operands) + 3)))
    attributes = {each.name: _attribute(source, each.kind, each.choices) for each in op.attributes}
    try:
        results = infer(op, operands, bind_attributes(op, attributes))
    except InputError:
        return
    assert all(size >= 0 for each in results for size in each.shape)
    numbers: list[int | None] = []
    ports: list[TensorType] = []
    for each in operands:
        numbers.append(None if each is None else len(ports))
        ports += [] if each is None else [each]
    instruction = Instruction(op, tuple(numbers), bind_attributes(op, attributes))
    named = tuple(Port(f"x{index}", type_) for index, type_ in enumerate(ports))
    outputs = tuple((f"y{index}", len(ports) + index) for index in range(len(results)))
    check_program(Program(LATEST.version, named, (), (instruction,), outputs))


def check_program(program: Program) -> None:
    """A program that may not be legal."""
    try:
        verified = verify(program)
    except InputError:
        return
    check_verified(verified)


def check_verified(verified: VerifiedProgram) -> None:
    """A legal program: its encodings, its text, and a run if it is small."""
    data = encode_program(verified.program)
    text = print_program(verified)
    again = parse_program(text)
    assert encode_program(again.program) == data == encode_program(decode_program(data))
    assert print_program(again) == text
    assert program_root(again.program) == program_root(verified.program)
    if _is_small(verified):
        _run(verified)


def _is_small(verified: VerifiedProgram) -> bool:
    sizes = [size for type_ in verified.types for size in type_.shape]
    return (
        verified.bytes_peak <= RUN_BYTES_MAX
        and len(verified.program.instructions) <= RUN_INSTRUCTIONS_MAX
        and max(sizes, default=0) <= RUN_BYTES_MAX
    )


def _run(verified: VerifiedProgram) -> None:
    values = {
        port.name: np.ones(port.type.shape, port.type.dtype.numpy)
        for port in verified.program.ports
    }
    seen: list[TensorType] = []
    interpreter = ReferenceInterpreter(_zeros)
    try:
        interpreter.run(
            verified, values, lambda _, results: seen.extend(map(TensorType.of, results))
        )
    except InputError:
        return
    assert tuple(seen) == verified.types[len(verified.program.ports) :]


def _zeros(code: PythonCode, inputs: Sequence[Array]) -> Mapping[str, Array]:
    del inputs
    return {name: np.zeros(type_.shape, type_.dtype.numpy) for name, type_ in code.outputs.items()}


class _Source:
    """Choices out of bytes; zeros once they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, count: int) -> int:
        """A number from 0 to count - 1."""
        self._at += 1
        return self._data[self._at - 1] % count if self._at <= len(self._data) else 0


def _type(source: _Source) -> TensorType | None:
    kind = source.below(12)
    if kind > 10:
        return None
    dtype = DType(kind or 1)
    sizes = (0, 1, 2, 3, 4, 5, 6, 8, 64)
    return TensorType(dtype, tuple(sizes[source.below(9)] for _ in range(source.below(6))))


def _attribute(source: _Source, kind: str, choices: tuple[str, ...]) -> Any:
    if choices:
        return choices[source.below(len(choices))]
    if kind in ("ints", "floats"):
        pool: tuple[Any, ...] = _NUMBERS if kind == "ints" else _FLOATS
        return tuple(pool[source.below(len(pool))] for _ in range(source.below(6)))
    if kind == "int":
        return _NUMBERS[source.below(len(_NUMBERS))]
    if kind == "float":
        return _FLOATS[source.below(len(_FLOATS))]
    if kind == "bool":
        return source.below(2) == 1
    if kind == "dtype":
        return DType(1 + source.below(len(DType)))
    if kind == "bytes":
        return bytes(source.below(256) for _ in range(source.below(9)))
    return ("", "y: float32[2]", "y: int8[], z: bool[2,3]", "\0")[source.below(4)]
