"""A commitment has one encoding, and its signature covers every field."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.proof.small_run import NODE, OTHER_NODE

from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import TreeHead
from bcai.proof.commitment import (
    Commitment,
    OutputHash,
    UsageClaim,
    decode_commitment,
    encode_commitment,
    is_commitment_signed,
    sign_commitment,
)
from bcai.proof.evidence import EvidenceClass

ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
PLAIN = Commitment(
    "job_1", None, ONE, TreeHead(3, TWO), THREE,
    (OutputHash("w", "float32[2,3]", ONE), OutputHash("log", "bytes", TWO)),
    EvidenceClass.EXACT, "native", "a processor", "x86-64", "full", ("namespaces", "seccomp"),
    UsageClaim(1.5, 1.25, 4096), ("the accuracy",), NODE.public, 1.7e9,
)  # fmt: skip
GOLDEN = "fad99eea700d9aa3a0748681037a1755e25a6ba50833439673e2d9339517293c"

CHANGES: list[dict[str, Any]] = [
    {"job_id": "job_2"},
    {"spec": ONE},
    {"run": TWO},
    {"trace": TreeHead(2, TWO)},
    {"trace": TreeHead(3, ONE)},
    {"final_state": ONE},
    {"outputs": PLAIN.outputs[:1]},
    {"outputs": (OutputHash("w", "float32[3,2]", ONE), PLAIN.outputs[1])},
    {"evidence": EvidenceClass.REPLICATED},
    {"backend": "reference"},
    {"device": "another"},
    {"fingerprint": "arm"},
    {"jail_level": "none"},
    {"jail_layers": ("namespaces",)},
    {"usage": UsageClaim(1.5, 1.25, 4097)},
    {"unmapped": ()},
    {"node": OTHER_NODE.public},
    {"claimed_at": 1.8e9},
]


def test_golden_digest() -> None:
    assert PLAIN.digest.hex() == GOLDEN


def test_what_is_written_is_read() -> None:
    again = decode_commitment(encode_commitment(PLAIN))
    assert replace(again, outputs=PLAIN.outputs) == PLAIN
    assert [each.name for each in again.outputs] == ["log", "w"]
    assert encode_commitment(again) == encode_commitment(PLAIN)


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: next(iter(each)))
def test_the_signature_is_over_every_field(change: dict[str, Any]) -> None:
    signature = sign_commitment(PLAIN, NODE)
    assert is_commitment_signed(PLAIN, signature)
    assert not is_commitment_signed(replace(PLAIN, **change), signature)


def test_changes_are_of_every_field() -> None:
    assert {name for each in CHANGES for name in each} == set(Commitment.__slots__)


def test_nobody_signs_for_another() -> None:
    with pytest.raises(InputError, match="names another key"):
        sign_commitment(PLAIN, OTHER_NODE)


@given(st.integers(0, len(encode_commitment(PLAIN)) - 1), st.integers(1, 255))
def test_no_changed_byte_is_the_same_commitment(place: int, change: int) -> None:
    data = bytearray(encode_commitment(PLAIN))
    data[place] ^= change
    try:
        found = decode_commitment(bytes(data))
    except FormatError:
        return
    assert found.digest != PLAIN.digest


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("job_id", 1, "job_id"),
        ("run", b"", "run: found b'', expected 32 bytes"),
        ("trace", TreeHead(0, ONE), r"trace\.size"),
        ("outputs", (PLAIN.outputs[0], PLAIN.outputs[0]), "a name stands twice"),
        ("claimed_at", math.inf, "claimed_at"),
    ],
)
def test_a_bad_field_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(PLAIN, **{field: value})


def test_bad_outputs_and_usage_are_named() -> None:
    with pytest.raises(InputError, match="not a tensor type: 'matrix'"):
        OutputHash("w", "matrix", ONE)
    with pytest.raises(InputError, match=r"usage\.cpu_s: found -1\.0"):
        UsageClaim(cpu_s=-1.0)
