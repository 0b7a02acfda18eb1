"""A program's root, against RFC 6962 written out as the standard words it."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vm.program.random_programs import tiny

from bcai.base.merkle import leaf_hash, merkle_root
from bcai.vm.program.codec import encode_header, encode_instruction
from bcai.vm.program.merkle import instruction_hashes, program_root
from bcai.vm.program.program import Program

GOLDEN = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    2: "ead50be13aa638b02dcc0fb8fbc89524606ba3eadf6705362ee24a043578e5f1",
    3: "738d1d86d33608cef8e8d2537f5328eff288d77d662d03f39ec35083619e8911",
    7: "32d4462e5c997d2bf54c77bd296578e3e01e37b0d3bc05da124f95feacf6592c",
    8: "a7deb1d784a598176ca2f3d89a9fdf10c791dc2b7fc8cbb85cbd0a6521b727ee",
}
"""Roots over the leaves b"", b"\\x01", b"\\x02\\x02", b"\\x03\\x03\\x03", ..."""


def leaves(count: int) -> list[bytes]:
    return [bytes([number]) * number for number in range(count)]


def tree_hash(data: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, with BLAKE3."""
    if not data:
        return blake3(b"").digest()
    if len(data) == 1:
        return blake3(b"\x00" + data[0]).digest()
    split = 1
    while split * 2 < len(data):
        split *= 2
    return blake3(b"\x01" + tree_hash(data[:split]) + tree_hash(data[split:])).digest()


@pytest.mark.parametrize("count", GOLDEN)
def test_golden_roots(count: int) -> None:
    assert merkle_root([leaf_hash(each) for each in leaves(count)]).hex() == GOLDEN[count]


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_the_root_is_the_standards(data: list[bytes]) -> None:
    assert merkle_root([leaf_hash(each) for each in data]) == tree_hash(data)


def test_a_programs_leaves_are_its_header_and_its_instructions() -> None:
    program = tiny().program
    data = [encode_header(program), *map(encode_instruction, program.instructions)]
    assert program_root(program) == tree_hash(data)
    assert instruction_hashes(program) == [leaf_hash(each) for each in data[1:]]


def test_every_part_of_a_program_is_in_its_root() -> None:
    plain = tiny().program
    changed = [
        Program(1, plain.inputs[:0], plain.inputs + plain.parameters, *_rest(plain)),
        Program(1, plain.inputs, plain.parameters, plain.instructions[:1], *_rest(plain)[1:]),
        Program(1, plain.inputs, plain.parameters, plain.instructions, (("z", 2),), {}),
        Program(1, plain.inputs, plain.parameters, plain.instructions, plain.outputs, {"a": "2"}),
    ]
    roots = {program_root(each) for each in (plain, *changed)}
    assert len(roots) == 1 + len(changed)


def _rest(plain: Program):  # noqa: ANN202 - a tuple of the last three fields
    return plain.instructions, plain.outputs, plain.metadata
