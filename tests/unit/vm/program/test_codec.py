"""Canonical bytes: one program, one encoding, and nothing else is let in."""

import struct
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.vm.program.random_programs import programs, tiny

from bcai.base.errors import FormatError, InputError
from bcai.vm.program import cbor
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import MAGIC, decode_program, encode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify

TINY = encode_program(tiny().program)
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64 - 1),
    st.floats(),
    st.binary(max_size=40),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
VALUES = st.recursive(_PLAIN, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


def fields() -> list[Any]:
    """The tiny program's CBOR, decoded: version, inputs, parameters, code, outputs, metadata."""
    return cbor.decode(TINY[len(MAGIC) :])


def refused(data: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        decode_program(data)
    return str(caught.value)


def refused_fields(value: object) -> str:
    return refused(MAGIC + cbor.encode(value))


@given(VALUES)
@example(float("nan"))
@example(-0.0)
@example([[[]]])
def test_cbor_gives_back_what_it_took(value: object) -> None:
    data = cbor.encode(value)
    assert repr(cbor.decode(data)) == repr(value)
    assert cbor.encode(cbor.decode(data)) == data


@settings(max_examples=500)
@given(st.binary(max_size=60))
def test_cbor_that_decodes_is_canonical(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except FormatError:
        return
    assert cbor.encode(value) == data


NOT_CANONICAL = {
    "0 in one byte more": b"\x18\x00",
    "23 in one byte more": b"\x18\x17",
    "24 in two bytes more": b"\x19\x00\x18",
    "1 in eight bytes": b"\x1b" + bytes(7) + b"\x01",
    "-1 in one byte more": b"\x38\x00",
    "a text's length": b"\x78\x01a",
    "an array's length": b"\x98\x00",
    "an indefinite array": b"\x9f\xff",
    "an indefinite text": b"\x7f\xff",
    "a map": b"\xa0",
    "a tag": b"\xc0\x00",
    "undefined": b"\xf7",
    "a simple value": b"\xf8\xff",
    "a half float": b"\xf9\x00\x00",
    "a single float": b"\xfa\x00\x00\x00\x00",
    "another not-a-number": b"\xfb" + struct.pack(">Q", 0x7FF8000000000001),
    "a negative not-a-number": b"\xfb" + struct.pack(">Q", 0xFFF8000000000000),
    "text that is not UTF-8": b"\x61\xff",
    "text with half a surrogate": b"\x63\xed\xa0\x80",
    "text with an overlong form": b"\x62\xc0\x80",
    "a byte too many": b"\x00\x00",
    "nothing": b"",
    "an array that lies": b"\x9b" + b"\xff" * 8,
    "a string that lies": b"\x5b" + b"\xff" * 8,
    "too deep": b"\x81" * 20 + b"\x00",
}


@pytest.mark.parametrize("what", NOT_CANONICAL)
def test_cbor_refuses(what: str) -> None:
    with pytest.raises(FormatError, match=r"^byte \d+: "):
        cbor.decode(NOT_CANONICAL[what])


def test_cbor_of_more_items_than_memory_is_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbor, "ITEMS_MAX", 6)
    assert cbor.decode(cbor.encode([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    too_many: tuple[Any, ...] = ([[1, 2], [3, 4], 5], [1] * 7, [[[[[[[]]]]]], []])
    for value in too_many:
        with pytest.raises(FormatError, match="over 6 items"):
            cbor.decode(cbor.encode(value))


def test_cbor_encodes_nothing_else() -> None:
    for value in ({}, {1: 2}, object(), 1 << 64, -(1 << 64) - 1, 1j):
        with pytest.raises(TypeError):
            cbor.encode(value)


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(programs())
def test_programs_round_trip(verified: VerifiedProgram) -> None:
    data = encode_program(verified.program)
    decoded = decode_program(data)
    assert encode_program(decoded) == data
    again = verify(decoded)
    assert again.types == verified.types
    assert again.bytes_peak == verified.bytes_peak
    assert list(decoded.outputs) == list(verified.program.outputs)
    assert dict(decoded.metadata) == dict(verified.program.metadata)


@pytest.mark.parametrize("length", range(len(TINY)))
def test_bytes_that_end_early_are_refused(length: int) -> None:
    refused(TINY[:length])


class Level(StrEnum):
    HIGH = "high"


class Axis(IntEnum):
    ROWS = 0


def test_enums_are_the_values_that_they_stand_for() -> None:
    def program(level: str, axis: int) -> bytes:
        build = Builder()
        code = {"code": "", "outputs": "y: float32[2]", "sandbox": level}
        (y,) = build.emit("PythonExecute", (), code)
        return encode_program(build.finish(y=y.emit("Softmax", axis=axis)).program)

    assert program(Level.HIGH, Axis.ROWS) == program("high", 0)


def test_bytes_that_go_on_are_refused() -> None:
    assert "1 bytes too many" in refused(TINY + b"\x00")


def test_other_bytes_are_no_program() -> None:
    assert "not a program" in refused(b"PK\x03\x04")
    assert "not a program" in refused(b"")


WRONG_FIELDS: list[tuple[Any, str]] = [
    ([], "program: found 0 fields, expected 6"),
    ([*fields(), 0], "program: found 7 fields"),
    ("x", "program: found str, expected an array"),
    ([9, *fields()[1:]], "version 9 is not known"),
    ([True, *fields()[1:]], "version: found True"),
    ([[], *fields()[1:]], "version: found []"),
    ([1, None, *fields()[2:]], "inputs: found NoneType, expected an array"),
    ([1, [["x", 1]], *fields()[2:]], "input: found 2 fields, expected 3"),
    ([1, [["x", 99, [2]]], *fields()[2:]], "input 'x': no element type 99"),
    ([1, [["x", [], [2]]], *fields()[2:]], "input 'x': no element type []"),
    ([1, [["x", 1, [-2]]], *fields()[2:]], "input 'x': size: found -2"),
    ([1, [["x", 1, [1 << 62]]], *fields()[2:]], "size: found"),
    ([1, [[b"x", 1, [2]]], *fields()[2:]], "input: found bytes, expected text"),
    ([*fields()[:3], [[1]], *fields()[4:]], "instruction 0: found 1 fields"),
    ([*fields()[:3], [[0xFFFF, [], []]], *fields()[4:]], "opcode 65535 is not in the"),
    ([*fields()[:3], [[[], [], []]], *fields()[4:]], "opcode [] is not in the"),
    ([*fields()[:3], [["Add", [], []]], *fields()[4:]], "opcode 'Add' is not in the"),
    ([*fields()[:3], [[0x500, [0, -1], []]], *fields()[4:]], "operand: found -1"),
    ([*fields()[:3], [[0x500, [0, 1.0], []]], *fields()[4:]], "operand: found 1.0"),
    ([*fields()[:3], [[0x500, [0, 1], [1]]], *fields()[4:]], "found 1 attributes, expected 0"),
    ([*fields()[:3], [[0x200, [0], [0, True]]], *fields()[4:]], "axes: found 0, expected ints"),
    ([*fields()[:3], [[0x200, [0], [[0], 1]]], *fields()[4:]], "keepdims: found 1"),
    ([*fields()[:3], [[2, [], [[2], 1, 1]]], *fields()[4:]], "value: expected floats"),
    ([*fields()[:3], [[2, [], [[2], 1.0, 77]]], *fields()[4:]], "77"),
    ([*fields()[:4], [["y"]], fields()[5]], "output: found 1 fields"),
    ([*fields()[:4], [["y", -1]], fields()[5]], "output 'y': found -1"),
    ([*fields()[:5], [["a", 1]]], "metadata: found int, expected text"),
    ([*fields()[:5], [["b", "2"], ["a", "1"]]], "not the canonical encoding"),
    ([*fields()[:5], [["a", "1"], ["a", "1"]]], "not the canonical encoding"),
    (
        [1, *fields()[1:3], [[True, [], [b"", [0], 1]]], *fields()[4:]],
        "opcode True is not in the",
    ),
]


@pytest.mark.parametrize(("value", "message"), WRONG_FIELDS)
def test_wrong_fields_are_refused_by_name(value: object, message: str) -> None:
    assert message in refused_fields(value)


def decode_or_refuse(data: bytes) -> None:
    """Whatever decodes encodes to the same bytes; all else is refused as what the user sent."""
    try:
        program = decode_program(data)
    except InputError:
        return
    assert encode_program(program) == data
    try:
        verify(program)
    except InputError:
        return


@pytest.mark.parametrize("at", range(len(TINY)))
def test_a_flipped_bit_never_crashes(at: int) -> None:
    for bit in range(8):
        data = bytearray(TINY)
        data[at] ^= 1 << bit
        decode_or_refuse(bytes(data))


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(programs(length_max=6), st.data())
def test_flipped_bits_never_crash(verified: VerifiedProgram, data: st.DataObject) -> None:
    changed = bytearray(encode_program(verified.program))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(len(MAGIC), len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    decode_or_refuse(bytes(changed))


@settings(max_examples=300)
@given(VALUES)
def test_any_cbor_decodes_or_is_refused(value: object) -> None:
    decode_or_refuse(MAGIC + cbor.encode(value))
