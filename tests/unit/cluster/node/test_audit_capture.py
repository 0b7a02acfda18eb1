"""An audit of a captured script names a lie in its computing, and nobody where scripts differ."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from tests.unit.proof.captured_run import Captured, captured, signed_again

from bcai.base.digest import digest_of
from bcai.base.errors import InputError, NotFoundError, RefusedError
from bcai.cluster.node.audit import AuditReport
from bcai.cluster.node.audit_capture import RanAgain, audit_capture
from bcai.cluster.node.evidence_folder import open_side
from bcai.cluster.node.evidence_shelf import RECEIPT
from bcai.cluster.node.worker_messages import INPUTS
from bcai.jobs.captured import GIVEN
from bcai.jobs.check_captured import check_captured
from bcai.jobs.environment import RanIn
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode
from bcai.jobs.settlement import Lie
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import Move
from bcai.proof.bisection import Case
from bcai.proof.capture import GivenLeaf, PartLeaf
from bcai.proof.capture_dispute import part_of
from bcai.proof.capture_receipt import CaptureReceipt, encode_capture
from bcai.proof.commitment import OutputHash
from bcai.proof.evidence import EvidenceClass
from bcai.proof.messages import Side
from bcai.proof.settle import settle
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.isa.types import Array

HERE = RanIn("default", "3.12.3", "ab12")
SPEC = JobSpec("job", code="", capture=True)
BACKEND = ReferenceBackend()
HONEST = captured(others=())
LYING = captured(others=(), flip_at=1)


def weights(receipt: Captured) -> dict[str, Array]:
    """What left under the name `model`: the last step's, as this run has computed them."""
    w, x = receipt.given["0"], receipt.given["1"]
    program = part_of(receipt.receipt, 2).program
    executable = BACKEND.compile(program)
    for number, leaf in enumerate(receipt.receipt.leaves):
        if isinstance(leaf, PartLeaf):
            w = executable.run({"i0": w, "i1": x, "i2": np.asarray(np.float32(0.05))})["o0"]
            if receipt is LYING and number == 3:
                w = w.copy()
                w.view(np.uint8)[0] ^= 1
    return {"w": w}


def result(
    done: Captured,
    receipt: CaptureReceipt | None = None,
    *,
    given: Mapping[str, Array] | None = None,
    outputs: tuple[tuple[Output, bytes], ...] | None = None,
    has_given: bool = True,
) -> tuple[Outcome, dict[str, bytes]]:
    signed = encode_capture(receipt or done.receipt)
    model, left = save(weights(done)), save(dict(done.given if given is None else given))
    if outputs is None:
        outputs = ((Output("model", "state_dict", digest=digest_of(model)), model),)
    if has_given:
        outputs = (*outputs, (Output(GIVEN, "state_dict", digest=digest_of(left)), left))
    blobs = {digest_of(each): each for each in (signed, *(content for _, content in outputs))}
    return Outcome(
        Move.SUCCEED,
        Reason(ReasonCode.SUCCEEDED, "done"),
        outputs=tuple(each for each, _ in outputs),
        receipt=digest_of(signed),
    ), blobs


def audited(
    done: Captured, again: Captured | None = HONEST, *, ran_in: RanIn | None = HERE, **parts: Any
) -> AuditReport:
    """`again`: what the script does on the challenger's machine; None: it has no jail."""
    outcome, blobs = result(done, **parts)
    outcome = replace(outcome, environment=ran_in)

    def run_again() -> RanAgain:
        if again is None:
            raise RefusedError("no jail here")
        return RanAgain(again.receipt, again.given, HERE)

    return audit_capture("job", SPEC, outcome, blobs, BACKEND, run_again)


def judged(report: AuditReport, folder: Path, done: Captured) -> set[Side]:
    """How the dispute ends that a report leads to; A is the node, from what it keeps."""
    assert report.claim is not None
    assert report.claim.part is not None
    (folder / RECEIPT).write_bytes(encode_capture(done.receipt))
    (folder / INPUTS).write_bytes(save(dict(done.given)))
    part = part_of(done.receipt, report.claim.part)
    heads = {Side.A: part.trace.head, Side.B: report.claim.head}
    sides = {Side.A: open_side(folder, BACKEND, report.claim.part), Side.B: report.claim.side}
    return set(settle(Case(part.run, part.program, heads), sides, lambda: 0.0).verdict.lies)


def test_the_same_trace_settles() -> None:
    report = audited(HONEST)
    assert (report.lie, report.compared, report.is_open) == (None, 3, False)
    assert report.remark == "run again: the script gave the same trace, 3 parts"


def test_a_part_that_came_out_otherwise_is_disputed_and_its_node_loses(tmp_path: Path) -> None:
    report = audited(LYING)
    assert report.lie == Lie("replay.differs", "result 0 of the part at leaf 3 differs")
    assert judged(report, tmp_path, LYING) == {Side.A}


def test_a_lie_is_found_where_the_script_cannot_be_run_again(tmp_path: Path) -> None:
    report = audited(LYING, None)
    assert report.lie is not None
    assert report.claim is not None
    assert report.claim.part == 3
    assert judged(report, tmp_path, LYING) == {Side.A}
    with pytest.raises(RefusedError, match="no jail here"):  # and the truth is not settled so
        audited(HONEST, None)


def test_a_lie_is_found_behind_values_that_differ(tmp_path: Path) -> None:
    report = audited(LYING, captured(others=(), scale=2.0))
    assert report.lie is not None
    assert judged(report, tmp_path, LYING) == {Side.A}


def test_whose_own_machine_is_wrong_accuses_and_loses(tmp_path: Path) -> None:
    report = audited(HONEST, LYING)
    assert report.lie is not None
    assert judged(report, tmp_path, HONEST) == {Side.B}


@pytest.mark.parametrize(
    ("again", "says"),
    [
        (captured(others=(), scale=2.0), "the scripts gave different values (leaf 1, a value"),
        (captured(others=(), rate=0.1), "the scripts asked for different operations (leaf 2, a"),
        (captured(others=(), steps=4), "has asked for more than the other (leaf 5, output 'mod"),
    ],
)
def test_where_scripts_differ_nobody_is_blamed(again: Captured, says: str) -> None:
    report = audited(HONEST, again)
    assert (report.lie, report.claim, report.is_open) == (None, None, True)
    assert says in report.remark
    assert "nobody can be blamed" in report.remark
    assert "3 parts came out the same: the computing is right" in report.remark
    unreplayed = audited(HONEST, again, has_given=False)
    assert (unreplayed.lie, unreplayed.is_open) == (None, True)
    assert "nothing was replayed" in unreplayed.remark


@pytest.mark.parametrize("ran_in", [replace(HERE, lock="cd34"), replace(HERE, python="3.11.9")])
def test_with_other_packages_a_script_that_differs_is_no_verdict(ran_in: RanIn) -> None:
    other = captured(others=(), rate=0.1)
    with pytest.raises(InputError, match=r"did otherwise, but in Python 3\.12\.3 with lock"):
        audited(HONEST, other, ran_in=ran_in)
    assert audited(LYING, other, ran_in=ran_in).lie is not None  # a lie in the computing is one
    assert audited(HONEST, ran_in=ran_in).lie is None
    assert audited(HONEST, other, ran_in=replace(HERE, name="science")).is_open


def code(done: Captured, receipt: CaptureReceipt | None = None, **parts: Any) -> str:
    outcome, blobs = result(done, receipt, **parts)
    found = check_captured(parts.pop("job", "job"), SPEC, outcome, blobs)
    assert isinstance(found, Lie), "the lie was not seen"
    return found.code


def test_what_was_delivered_is_what_was_signed_for() -> None:
    wrong = save({"w": np.zeros(3, "f")})
    output = Output("model", "state_dict", digest=digest_of(wrong))
    assert code(HONEST, outputs=((output, wrong),)) == "outputs.delivered"
    assert code(HONEST, outputs=()) == "outputs.names"
    honest = save(weights(HONEST))
    more = ((Output("model", "state_dict", digest=digest_of(honest)), honest),)
    assert code(HONEST, outputs=(*more, (Output("n", "value", 3), b""))) == "outputs.delivered"
    other = {**HONEST.given, "1": HONEST.given["1"] + 1}
    assert code(HONEST, given=other) == "given.delivered"
    assert code(HONEST, given={}) == "given.delivered"


def test_plain_values_and_files_are_held_against_their_bytes() -> None:
    from blake3 import blake3

    table = [
        OutputHash("epoch", "bytes", blake3(b'{"a": 1.5, "b": "x"}').digest()),
        OutputHash("log.txt", "bytes", blake3(b"text").digest()),
    ]
    done = captured(others=table)
    honest = save(weights(HONEST))
    file = Output("log.txt", "file", digest=digest_of(b"text"))
    outputs: tuple[tuple[Output, bytes], ...] = (
        (Output("model", "state_dict", digest=digest_of(honest)), honest),
        (Output("epoch", "value", {"b": "x", "a": 1.5}), b""),
        (file, b"text"),
    )
    outcome, blobs = result(done, outputs=outputs)
    assert not isinstance(check_captured("job", SPEC, outcome, blobs), Lie)
    lie = (Output("epoch", "value", {"b": "x", "a": 2.5}), b"")
    assert code(done, outputs=(outputs[0], lie, outputs[2])) == "outputs.delivered"


def test_who_claims_another_job_or_less_evidence_is_named() -> None:
    at = HONEST.receipt.commitment
    other = signed_again(HONEST.receipt, commitment=replace(at, job_id="other"))
    assert code(HONEST, other) == "receipt.job"
    weaker = replace(at, evidence=EvidenceClass.ATTESTED)
    assert code(HONEST, signed_again(HONEST.receipt, commitment=weaker)) == "evidence.class"
    leaf = HONEST.receipt.leaves[0]
    assert isinstance(leaf, GivenLeaf)
    torn = replace(HONEST.receipt, programs=())
    assert code(HONEST, torn) == "trace.places"
    outcome, blobs = result(HONEST)
    assert outcome.receipt is not None
    no_receipt = check_captured("job", SPEC, outcome, blobs | {outcome.receipt: b"bytes"})
    assert isinstance(no_receipt, Lie)
    assert no_receipt.code == "receipt.format"


def test_without_its_files_nothing_defends_a_part(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=RECEIPT):
        open_side(tmp_path, BACKEND, 2)
