"""Receipts of captured scripts: what is signed fits together, and a flipped bit is found."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.proof.captured_run import captured, signed_again
from tests.unit.proof.liars import flip_bit

from bcai.base.errors import FormatError, InputError
from bcai.proof.capture import (
    GivenLeaf,
    Leaf,
    NamedLeaf,
    PartLeaf,
    encode_leaf,
    leaf_fields,
    leaf_of_fields,
)
from bcai.proof.capture_check import check_capture
from bcai.proof.capture_receipt import CaptureReceipt, decode_capture, encode_capture
from bcai.proof.capture_recorder import CaptureRecorder
from bcai.proof.capture_replay import replay_capture
from bcai.proof.evidence import EvidenceClass
from bcai.proof.step_trace import Place
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.types import Array, parse_type
from bcai.vm.program import cbor
from bcai.vm.program.program import VerifiedProgram

HONEST = captured()
TYPE = parse_type("float32[3]")


def findings(receipt: CaptureReceipt, **given_parts: Any) -> list[str]:
    return [each.name for each in check_capture(receipt, **given_parts).findings]


def test_a_receipt_comes_back_and_fits_together() -> None:
    receipt = decode_capture(encode_capture(HONEST.receipt))
    assert receipt == HONEST.receipt
    assert findings(receipt) == []
    assert receipt.commitment.evidence is EvidenceClass.EXACT
    weights = replay_values(receipt)
    assert findings(receipt, tensors={"model.w": weights}) == []
    assert findings(receipt, tensors={"model.w": flip_bit(weights)}) == ["received.content"]
    assert findings(receipt, tensors={"model.b": weights}) == ["received.unknown"]
    assert findings(receipt, node=bytes(32)) == ["node.key"]


def replay_values(receipt: CaptureReceipt) -> Array:
    """The weights after the last step."""
    w, x = HONEST.given["0"], HONEST.given["1"]
    program = next(iter(receipt.by_root.values()))
    executable = ReferenceBackend().compile(verified(program))
    rate = np.asarray(np.float32(0.05))
    for _ in range(3):
        w = executable.run({"i0": w, "i1": x, "i2": rate})["o0"]
    return w


def verified(program: Any) -> VerifiedProgram:
    from bcai.vm.program.verifier import verify

    return verify(program)


@pytest.mark.parametrize(
    ("unmapped", "origin"),
    [(("operation aten.linalg_eigh: 1 times, train.py:5",), ""), ((), "aten.nonzero train.py:7")],
)
def test_an_operation_of_the_scripts_own_torch_is_one_nodes_word(
    unmapped: tuple[str, ...], origin: str
) -> None:
    receipt = captured(unmapped=unmapped, origin=origin).receipt
    assert receipt.commitment.evidence is EvidenceClass.ATTESTED
    report = check_capture(receipt)
    assert report.is_clean
    assert all(f"not covered by the trace: {text}" in report.unchecked for text in unmapped)
    claimed = replace(receipt.commitment, evidence=EvidenceClass.EXACT)
    assert findings(signed_again(receipt, commitment=claimed)) == ["evidence.class"]


def _leaf(receipt: CaptureReceipt, number: int, **parts: Any) -> CaptureReceipt:
    leaves = list(receipt.leaves)
    leaves[number] = replace(leaves[number], **parts)
    return signed_again(receipt, leaves=tuple(leaves))


def test_what_does_not_fit_is_found() -> None:
    receipt = HONEST.receipt
    cut = replace(receipt, leaves=receipt.leaves[:-1])
    assert findings(cut)[0] == "trace.count"
    swapped = (receipt.leaves[1], receipt.leaves[0], *receipt.leaves[2:])
    assert findings(replace(receipt, leaves=swapped))[0] == "trace.root"
    assert findings(replace(receipt, signature=bytes(64))) == ["signature.commitment"]
    for number, parts in (
        (2, {"sources": (Place(2, 0), Place(1, 0), b"1234")}),  # of itself
        (2, {"sources": (Place(0, 0), Place(1, 0))}),
        (2, {"sources": (Place(1, 0), Place(0, 0), b"1234")}),
        (2, {"sources": (Place(0, 0), Place(1, 0), b"12")}),
        (3, {"program": bytes(32)}),
    ):
        assert findings(_leaf(receipt, number, **parts))[0] == "trace.places", parts
    lie = replace(receipt.leaves[-1], content=bytes(32))
    assert findings(signed_again(receipt, leaves=(*receipt.leaves[:-1], lie)))[:1] == [
        "outputs.last"
    ]
    other = replace(receipt.commitment, final_state=bytes(32))
    assert findings(signed_again(receipt, commitment=other)) == ["state.final"]


def test_bytes_that_are_no_receipt_are_refused() -> None:
    data = encode_capture(HONEST.receipt)
    for wrong in (b"", data[:-1], data + b"\x00", b"bcai-capture-receipt\x00\x80", data[:30]):
        with pytest.raises(FormatError):
            decode_capture(wrong)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_replay_finds_the_part_with_a_flipped_bit(step: int) -> None:
    wrong = captured(flip_at=step)
    assert findings(wrong.receipt) == []  # it fits together: only computing tells
    backend = ReferenceBackend()
    assert replay_capture(HONEST.receipt, HONEST.given, backend).difference is None
    found = replay_capture(wrong.receipt, wrong.given, backend).difference
    assert found is not None
    assert (found.leaf, found.result) == (2 + step, 0)


def test_a_replay_wants_the_values_of_the_trace() -> None:
    backend = ReferenceBackend()
    with pytest.raises(InputError, match=r"the value of leaf 1 .* is missing"):
        replay_capture(HONEST.receipt, {"0": HONEST.given["0"]}, backend)
    other = {**HONEST.given, "1": flip_bit(HONEST.given["1"])}
    with pytest.raises(InputError, match="leaf 1 is not the one of the trace"):
        replay_capture(HONEST.receipt, other, backend)


HASHES = st.binary(min_size=32, max_size=32)
PLACES = st.builds(Place, st.integers(0, 1 << 40), st.integers(0, 99))
LEAVES = st.one_of(
    st.builds(GivenLeaf, st.just(TYPE), HASHES, st.text(max_size=20)),
    st.builds(
        PartLeaf,
        HASHES,
        st.lists(PLACES | st.binary(min_size=1, max_size=8), max_size=5).map(tuple),
        st.lists(HASHES, max_size=3).map(tuple),
    ),
    st.builds(NamedLeaf, st.text(max_size=20), PLACES, st.just(TYPE), HASHES),
)


@given(LEAVES)
def test_a_leaf_comes_back(leaf: Leaf) -> None:
    assert leaf_of_fields(cbor.decode(encode_leaf(leaf))) == leaf
    assert leaf_fields(leaf)[0] in (0, 1, 2)


def test_a_recorder_keeps_little_more_of_a_result_than_its_hash_and_place() -> None:
    recorder, parts = CaptureRecorder(), 200
    arrays: list[Array] = [np.zeros(4, np.float32) for _ in range(50)]
    tracemalloc.start()
    for number in range(parts):
        for place, each in enumerate(arrays):
            each[:2] = number, place
        recorder.ran(bytes(32), [], arrays)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / (parts * len(arrays)) < 230
