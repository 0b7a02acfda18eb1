"""Disputes about captured scripts: the first leaf that differs, and the instruction inside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.proof.captured_run import captured, signed_again

from bcai.base.errors import FormatError, InputError
from bcai.proof.bisection import Case
from bcai.proof.capture import GivenLeaf, Leaf, NamedLeaf, PartLeaf, head_of_leaves
from bcai.proof.capture_dispute import Part, first_difference, inputs_of, part_of
from bcai.proof.capture_receipt import CaptureReceipt
from bcai.proof.capture_replay import replay_capture
from bcai.proof.messages import Side
from bcai.proof.settle import Settled, settle
from bcai.proof.single_run import single_run
from bcai.proof.state import content_hash
from bcai.proof.step_trace import Place
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.backend import Observer
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import Array, parse_type
from bcai.vm.program.program import VerifiedProgram

HONEST = captured()
TYPE = parse_type("float32[3]")
HASHES = st.binary(min_size=32, max_size=32)
BACKEND = ReferenceBackend()


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
class Faulty:
    """A program one of whose instructions comes out wrong."""

    program: VerifiedProgram
    position: int
    bytes_peak: int = 0

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        return Negating(self.position).run(self.program, values)

    def run_traced(self, values: Mapping[str, Array], observe: Observer) -> dict[str, Array]:
        return Negating(self.position).run(self.program, values, observe)


@dataclass
class FaultyBackend(ReferenceBackend):
    """Computes all programs so."""

    position: int

    def compile(self, program: VerifiedProgram, *, python: Any = None) -> Any:
        del python
        return Faulty(program, self.position)


def claimed(receipt: CaptureReceipt, number: int, results: Sequence[bytes]) -> CaptureReceipt:
    """The receipt of a node that says so of a part, and signs it."""
    leaf = receipt.leaves[number]
    assert isinstance(leaf, PartLeaf)
    wrong = replace(leaf, results=tuple(results))
    leaves = (*receipt.leaves[:number], wrong, *receipt.leaves[number + 1 :])
    return signed_again(receipt, leaves=leaves)


def dispute(truth: Part, claim: Part, inputs: Mapping[str, Array], backend: Any) -> Settled:
    """A is right; B defends its claim with what its backend computes."""
    assert truth.run == claim.run
    case = Case(truth.run, truth.program, {Side.A: truth.trace.head, Side.B: claim.trace.head})
    sides = {Side.A: truth.side(inputs, BACKEND), Side.B: claim.side(inputs, backend)}
    return settle(case, sides, lambda: 0.0)


@pytest.mark.parametrize("position", range(4))
def test_a_dispute_ends_at_one_instruction_of_the_part(position: int) -> None:
    """The liar claims what its wrong instruction leads to; the arbiter executes that one."""
    honest, number = HONEST.receipt, 3
    inputs = inputs_of(honest, HONEST.given, BACKEND, number)
    truth = part_of(honest, number)
    assert truth.run == single_run(truth.program, inputs).run
    backend = FaultyBackend(position)
    wrong = backend.compile(truth.program).run(inputs)
    lying = claimed(honest, number, [content_hash(each) for each in wrong.values()])
    split = first_difference(honest, lying)
    assert (split.leaf, split.reason) == (number, "")
    settled = dispute(truth, part_of(lying, number), inputs, backend)
    assert settled.verdict.faulty == {Side.B}
    assert settled.verdict.lies[Side.B].code == "result"
    assert settled.verdict.place.startswith(f"instruction {position} (")


@settings(max_examples=25)
@given(st.integers(1, 5), st.data())
def test_any_single_altered_result_ends_at_its_part(steps: int, data: Any) -> None:
    honest = captured(steps=steps)
    number: int = data.draw(st.integers(2, 1 + steps))
    leaf = honest.receipt.leaves[number]
    assert isinstance(leaf, PartLeaf)
    place: int = data.draw(st.integers(0, len(leaf.results) - 1))
    results = list(leaf.results)
    results[place] = bytes([results[place][0] ^ data.draw(st.integers(1, 255))]) + bytes(31)
    lying = claimed(honest.receipt, number, results)

    found = replay_capture(lying, honest.given, BACKEND).difference
    assert found is not None
    assert (found.leaf, found.result) == (number, place)
    assert found.results == leaf.results
    assert first_difference(honest.receipt, lying).leaf == number
    claim = part_of(lying, number)
    truth = replace(claim, results=found.results)
    assert truth == part_of(honest.receipt, number)
    verdict = dispute(truth, claim, found.inputs, BACKEND).verdict
    assert verdict.faulty == {Side.B}


def test_an_operand_may_be_any_result_of_an_earlier_part() -> None:
    leaf = HONEST.receipt.leaves[3]
    assert isinstance(leaf, PartLeaf)
    loss = replace(leaf, sources=(*leaf.sources[:2], Place(2, 1)))  # as the learning rate
    leaves = (*HONEST.receipt.leaves[:3], loss, *HONEST.receipt.leaves[4:])
    receipt = replace(HONEST.receipt, leaves=leaves)
    part = part_of(receipt, 3)
    inputs = inputs_of(receipt, HONEST.given, BACKEND, 3)
    assert part.run == single_run(part.program, inputs).run


def test_an_honest_part_survives_who_accuses_it() -> None:
    truth = part_of(HONEST.receipt, 4)
    inputs = inputs_of(HONEST.receipt, HONEST.given, BACKEND, 4)
    backend = FaultyBackend(2)
    wrong = backend.compile(truth.program).run(inputs)
    claim = replace(truth, results=tuple(map(content_hash, wrong.values())))
    assert dispute(truth, claim, inputs, backend).verdict.faulty == {Side.B}
    made_up = replace(truth, results=(bytes(32), bytes(32)))
    assert dispute(truth, made_up, inputs, BACKEND).verdict.faulty == {Side.B}


@pytest.mark.parametrize("number", [-1, 0, 5, 99])
def test_only_parts_are_disputed(number: int) -> None:
    with pytest.raises(InputError, match=f"leaf {number}: expected a part"):
        part_of(HONEST.receipt, number)
    with pytest.raises(InputError, match=f"leaf {number}: expected a part"):
        inputs_of(HONEST.receipt, HONEST.given, BACKEND, number)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"program": bytes(32)}, "its program is not enclosed"),
        ({"sources": ()}, "does not have its program's inputs and outputs"),
        ({"results": (bytes(32),)}, "does not have its program's inputs and outputs"),
        ({"sources": (Place(0, 1), Place(1, 0), b"1234")}, "leaf 0: it has no result 1"),
        ({"sources": (Place(9, 0), Place(1, 0), b"1234")}, "leaf 9: it has no result 0"),
        ({"sources": (Place(0, 0), Place(1, 0), b"12")}, "a number of 2 bytes"),
    ],
)
def test_a_part_that_does_not_fit_together_is_no_part(parts: dict[str, Any], says: str) -> None:
    leaves = list(HONEST.receipt.leaves)
    leaf = leaves[2]
    assert isinstance(leaf, PartLeaf)
    leaves[2] = replace(leaf, **parts)
    with pytest.raises(FormatError, match=says):
        part_of(replace(HONEST.receipt, leaves=tuple(leaves)), 2)


def test_where_scripts_part_no_node_is_blamed() -> None:
    honest = HONEST.receipt
    longer = captured(steps=4).receipt
    assert first_difference(honest, longer).reason == "one script has asked for more than the other"
    other = replace(honest.leaves[1], content=bytes(32))
    changed = (honest.leaves[0], other, *honest.leaves[2:])
    split = first_difference(honest, signed_again(honest, leaves=changed))
    assert split.reason == "the scripts gave different values"
    leaf = honest.leaves[2]
    assert isinstance(leaf, PartLeaf)
    otherwise = replace(leaf, sources=(*leaf.sources[:2], b"1234"))
    split = first_difference(
        honest, signed_again(honest, leaves=(*honest.leaves[:2], otherwise, *honest.leaves[3:]))
    )
    assert split.reason == "the scripts asked for different operations"
    named = honest.leaves[-1]
    assert isinstance(named, NamedLeaf)
    renamed = replace(named, name="model.v")
    split = first_difference(honest, signed_again(honest, leaves=(*honest.leaves[:-1], renamed)))
    assert split.reason == "the outputs differ"
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
