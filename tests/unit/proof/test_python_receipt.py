"""A receipt of Python code says who said what; what does not fit is found, byte for byte."""

from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.proof.python_words import (
    CLIENT,
    CONTENT,
    NODES,
    OUTPUTS,
    commitment,
    signed_spec,
    word,
)

from bcai.base.errors import FormatError, InputError
from bcai.proof.evidence import EvidenceClass
from bcai.proof.python_check import check_python_receipt
from bcai.proof.python_commitment import (
    PythonOutput,
    decode_python,
    encode_python,
    hash_value,
    is_python_signed,
    sign_python,
)
from bcai.proof.python_order import read_order
from bcai.proof.python_receipt import (
    PythonReceipt,
    Word,
    decode_python_receipt,
    decode_word,
    encode_python_receipt,
    encode_word,
    join_words,
)

OTHER = (PythonOutput("loss", "value", hash_value(0.5)), OUTPUTS[1])
COMMITMENT = commitment()
GOLDEN = "ff4be6ee33db5ca4b0be886ce43a9dd2c2f20f750a693ac3c37e2dbb000c2a0f"
GOLDEN_RECEIPT = "7cdaef65f02e78dd36dbf9c8917f3fba3982a26bad42d71221aed790301b3167"
CHANGES: list[dict[str, Any]] = [
    {"job_id": "job_2"},
    {"spec": bytes(32)},
    {"code": bytes(32)},
    {"inputs": bytes(32)},
    {"reason": "user.exit_status"},
    {"exit_status": None},
    {"outputs": OTHER},
    {"fingerprint": ()},
    {"jail_level": "B"},
    {"jail_layers": ()},
    {"usage": replace(COMMITMENT.usage, cpu_s=2.0)},
    {"claimed_at": 1.0},
]


def receipt(*words: Word) -> PythonReceipt:
    return join_words(signed_spec(), words)


def names(found: PythonReceipt, **asked: Any) -> list[str]:
    return [each.name for each in check_python_receipt(found, **asked).findings]


THREE = receipt(*(word(key) for key in NODES[:3]))


def test_published_bytes_do_not_change() -> None:
    assert blake3(encode_python(COMMITMENT)).hexdigest() == GOLDEN
    assert blake3(encode_python_receipt(THREE)).hexdigest() == GOLDEN_RECEIPT


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_signature_covers_every_field(change: dict[str, Any]) -> None:
    signature = sign_python(COMMITMENT, NODES[0])
    assert is_python_signed(COMMITMENT, signature)
    assert not is_python_signed(replace(COMMITMENT, **change), signature)
    with pytest.raises(InputError, match="another key"):
        sign_python(COMMITMENT, NODES[1])


def test_what_was_written_is_read() -> None:
    assert decode_python(encode_python(COMMITMENT)) == COMMITMENT
    assert decode_word(encode_word(word())) == word()
    assert decode_python_receipt(encode_python_receipt(THREE)) == THREE


@given(st.integers(0, 4000), st.integers(1, 255))
def test_a_changed_byte_is_found(place: int, flip: int) -> None:
    data = bytearray(encode_python_receipt(THREE))
    data[place % len(data)] ^= flip
    try:
        found = decode_python_receipt(bytes(data))
    except FormatError:
        return
    assert names(found) != []


def test_one_word_is_attested_and_several_are_replicated() -> None:
    alone = receipt(word())
    assert (alone.evidence, names(alone)) == (EvidenceClass.ATTESTED, [])
    assert (THREE.evidence, names(THREE)) == (EvidenceClass.REPLICATED, [])
    unchecked = check_python_receipt(alone).unchecked
    assert "it is one node's word, and nobody else did the job" in unchecked[0]


def test_a_minority_is_named_and_half_is_no_majority() -> None:
    liar = word(NODES[2], outputs=OTHER)
    outvoted = receipt(word(NODES[0]), word(NODES[1]), liar)
    assert (outvoted.evidence, names(outvoted)) == (EvidenceClass.REPLICATED, [])
    assert liar not in outvoted.agreeing
    assert any(text.endswith("differs: loss") for text in check_python_receipt(outvoted).unchecked)
    divided = receipt(word(NODES[0]), liar)
    assert (divided.evidence, names(divided)) == (EvidenceClass.ATTESTED, ["agreement.none"])


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"spec": bytes(32)}, "spec.digest"),
        ({"code": bytes(32)}, "order.other"),
        ({"inputs": bytes(32)}, "order.other"),
        ({"job_id": "job_2"}, "job.other"),
        ({"fingerprint": (("cpu", "another"),)}, "fingerprint.other"),
    ],
)
def test_what_does_not_fit_has_a_name(change: dict[str, Any], finding: str) -> None:
    assert finding in names(receipt(word(NODES[0]), word(NODES[1]), word(NODES[2], **change)))


def test_a_word_that_nobody_signed_is_found() -> None:
    forged = Word(commitment(NODES[1]), word(NODES[0]).signature)
    assert names(receipt(word(NODES[0]), word(NODES[2]), forged)) == ["signature.commitment"]
    other = replace(signed_spec(), client=NODES[0].public)
    assert "signature.spec" in names(PythonReceipt(other, THREE.words))


def test_who_and_what_was_asked_for() -> None:
    assert names(THREE, node=NODES[0].public, client=CLIENT.public) == []
    assert names(THREE, node=CLIENT.public) == ["node.key"]
    assert names(THREE, client=NODES[0].public) == ["client.key"]
    assert names(THREE, received={"loss": hash_value(0.25)}) == []
    assert names(THREE, received={"loss": hash_value(0.5)}) == ["received.content"]
    assert names(THREE, received={"accuracy": bytes(32)}) == ["received.unknown"]


def test_no_node_stands_in_it_twice_nor_out_of_order() -> None:
    twice = PythonReceipt(signed_spec(), (word(), word()))
    for wrong in (twice, PythonReceipt(signed_spec(), tuple(reversed(THREE.words)))):
        with pytest.raises(FormatError, match="ascending by the nodes' keys"):
            decode_python_receipt(encode_python_receipt(wrong))


def test_an_order_is_read_from_the_spec_alone() -> None:
    order = read_order(CONTENT)
    assert (order.name, order.nodes) == ("digits", 3)
    for wrong in (b"", CONTENT[:-1], b"bcai-spec\x00\x80", CONTENT.replace(b"python", b"pythom")):
        with pytest.raises(FormatError):
            read_order(wrong)


def test_the_keys_order_of_a_value_does_not_matter() -> None:
    assert hash_value({"a": 1, "b": [None, "x"]}) == hash_value({"b": [None, "x"], "a": 1})
    assert hash_value(1) != hash_value(1.0)
