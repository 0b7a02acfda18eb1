"""Receipts of captured scripts: what is signed fits together, and a flipped bit is found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.proof.captured_run import KEY, captured
from tests.unit.proof.liars import flip_bit

from bcai.base.errors import FormatError, InputError
from bcai.proof.capture import (
    GivenLeaf,
    Leaf,
    NamedLeaf,
    PartLeaf,
    encode_leaf,
    head_of_leaves,
    leaf_fields,
    leaf_of_fields,
)
from bcai.proof.capture_check import check_capture
from bcai.proof.capture_dispute import first_difference, part_case, part_run, part_trace
from bcai.proof.capture_receipt import CaptureReceipt, decode_capture, encode_capture
from bcai.proof.capture_replay import replay_capture
from bcai.proof.commitment import sign_commitment
from bcai.proof.evidence import EvidenceClass
from bcai.proof.feed import Feeder
from bcai.proof.messages import Side
from bcai.proof.settle import settle
from bcai.proof.side import ReplayingSide
from bcai.proof.step_trace import Place
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.backend import Observer
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import Array, parse_type
from bcai.vm.program import cbor
from bcai.vm.program.program import VerifiedProgram

HONEST = captured()
TYPE = parse_type("float32[3]")


def signed_again(receipt: CaptureReceipt, **parts: Any) -> CaptureReceipt:
    """A receipt with other parts that its node signs for."""
    changed = replace(receipt, **parts)
    at = changed.commitment
    if "commitment" not in parts:
        at = replace(at, trace=head_of_leaves(changed.leaves))
    return replace(changed, commitment=at, signature=sign_commitment(at, KEY))


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


class Negating(ReferenceInterpreter):
    """Gets the sign of one instruction's result wrong."""

    def __init__(self, position: int) -> None:
        super().__init__()
        self.left = position

    def step(
        self, version: int, op: Op, operands: Sequence[Array | None], attributes: Mapping[str, Any]
    ) -> tuple[Array, ...]:
        results = super().step(version, op, operands, attributes)
        self.left -= 1
        return (-results[0],) if self.left == -1 else results


@dataclass
class Liar:
    """Gets one instruction of a part wrong."""

    program: VerifiedProgram
    position: int
    bytes_peak: int = 0

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        return Negating(self.position).run(self.program, values)

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        return Negating(self.position).run(self.program, values, observe)


@pytest.mark.parametrize("position", range(4))
def test_a_dispute_ends_at_one_instruction_of_the_part(position: int) -> None:
    """The liar claims what its wrong instruction leads to; the arbiter executes that one."""
    honest, place = HONEST.receipt, 3
    leaf = honest.leaves[place]
    assert isinstance(leaf, PartLeaf)
    before = _before(honest, place)
    program, single = part_run(honest, place, before)
    liar = Liar(program, position)
    wrong = liar.run(single.fed)
    from bcai.proof.state import content_hash

    claim = replace(leaf, results=tuple(content_hash(each) for each in wrong.values()))
    leaves = (*honest.leaves[:place], claim, *honest.leaves[place + 1 :])
    split = first_difference(honest, signed_again(honest, leaves=leaves))
    assert (split.leaf, split.reason) == (place, "")
    traces = {
        Side.A: part_trace(single.run, program, leaf),
        Side.B: part_trace(single.run, program, claim),
    }
    feeder = Feeder(single.run, program, single.fed)
    honest_executable = ReferenceBackend().compile(program)
    sides = {
        Side.A: ReplayingSide(program, feeder, honest_executable, traces[Side.A], {0: {}}),
        Side.B: ReplayingSide(program, feeder, liar, traces[Side.B], {0: {}}),
    }
    settled = settle(part_case(single.run, program, traces), sides, lambda: 0.0)
    assert settled.verdict.faulty == {Side.B}
    assert settled.verdict.place.startswith(f"instruction {position} (")


def _before(receipt: CaptureReceipt, number: int) -> dict[Place, Array]:
    w, x = HONEST.given["0"], HONEST.given["1"]
    values = {Place(0, 0): w, Place(1, 0): x}
    program, single = part_run(receipt, 2, values)
    results = ReferenceBackend().compile(program).run(single.fed)
    assert number == 3
    return {**values, Place(2, 0): results["o0"]}


def test_where_scripts_part_no_node_is_blamed() -> None:
    honest = HONEST.receipt
    longer = captured(steps=4).receipt
    assert first_difference(honest, longer).reason == "one script has asked for more than the other"
    other = replace(honest.leaves[1], content=bytes(32))
    changed = (honest.leaves[0], other, *honest.leaves[2:])
    split = first_difference(honest, signed_again(honest, leaves=changed))
    assert split.reason == "the scripts gave different values"
    with pytest.raises(InputError, match="nothing to dispute"):
        first_difference(honest, honest)


@given(st.integers(1, 70), st.data())
def test_the_first_leaf_that_differs_is_found_with_few_hashes(count: int, data: Any) -> None:
    leaves: list[Leaf] = [GivenLeaf(TYPE, bytes([n]) * 32, "") for n in range(count)]
    wrong = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    others = [replace(each, origin="x") if n in wrong else each for n, each in enumerate(leaves)]
    one, two = (
        signed_again(HONEST.receipt, leaves=tuple(each), commitment=with_trace(each))
        for each in (leaves, others)
    )
    split = first_difference(one, two)
    assert split.leaf == min(wrong)
    assert split.compared <= 2 * count.bit_length() + 1


def with_trace(leaves: Any) -> Any:
    return replace(HONEST.receipt.commitment, trace=head_of_leaves(leaves))


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
