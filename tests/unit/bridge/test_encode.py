"""What a script may name as an output, where it is no plain data and no tensor."""

from pathlib import Path

import numpy as np
import pytest

from bcai.bridge.guest.encode import NotKept, encode_output, encode_variable
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import decode_program, encode_program


def written(value: object, path: Path) -> bytes:
    encoded = encode_output(value)
    with path.open("wb") as file:
        encoded.write(file.fileno(), 0)
    assert encoded.kind == "file"
    assert encoded.size == path.stat().st_size
    return path.read_bytes()


def test_a_program_is_its_canonical_bytes(tmp_path: Path) -> None:
    build = Builder()
    x = build.input("x", "float32[2]")
    program = build.finish(y=x + 1)
    data = written(program, tmp_path / "model.bcai")
    assert data == encode_program(program.program)
    assert decode_program(data) == program.program


def test_bytes_are_themselves(tmp_path: Path) -> None:
    assert written(b"\x00\x01", tmp_path / "a") == b"\x00\x01"


def test_anything_else_says_what_could_be_kept() -> None:
    with pytest.raises(NotKept, match=r"cannot keep a Builder; expected .* a program, bytes"):
        encode_output(Builder())


def test_a_lone_array_has_no_other_name_than_the_variable() -> None:
    with pytest.raises(NotKept, match=r"^it has the type complex64; expected one of bool, "):
        encode_variable(np.ones(3, np.complex64))
