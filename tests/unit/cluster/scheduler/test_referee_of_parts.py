"""A dispute about a part of a captured script, through the referee: from its leaf alone."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from tests.unit.cluster.scheduler.scheduler_samples import NOW, make_job
from tests.unit.proof.test_capture_dispute import BACKEND, HONEST, FaultyBackend, claimed

from bcai.base.digest import digest_of
from bcai.cluster.scheduler.referee import Referee
from bcai.cluster.store.protocol import BlobStore, JobStore
from bcai.jobs.dispute import DisputeRecord, Party, Ruling, Said, answered
from bcai.jobs.job import Job
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.states import Move
from bcai.proof.capture_dispute import Part, inputs_of, part_of
from bcai.proof.capture_receipt import CaptureReceipt, encode_capture
from bcai.proof.message_codec import decode_request, encode_message
from bcai.proof.side import ReplayingSide
from bcai.proof.state import content_hash
from bcai.vm.compiler.backend import Backend

pytestmark = pytest.mark.anyio

LEAF = 3
FAULTY = FaultyBackend(1)
INPUTS = inputs_of(HONEST.receipt, HONEST.given, BACKEND, LEAF)
TRUTH = part_of(HONEST.receipt, LEAF)
WRONG = tuple(content_hash(each) for each in FAULTY.compile(TRUTH.program).run(INPUTS).values())


@dataclass
class Shelves:
    """As much of the stores as a referee reads."""

    job: Job
    content: dict[str, bytes] = field(default_factory=dict[str, bytes])

    async def get(self, job_id: str) -> Job:
        assert job_id == self.job.id
        return self.job

    async def size(self, digest: str) -> int | None:
        found = self.content.get(digest)
        return None if found is None else len(found)

    async def read(self, digest: str) -> AsyncIterator[bytes]:
        yield self.content[digest]

    def put(self, content: bytes) -> str:
        self.content[digest_of(content)] = content
        return digest_of(content)


def handed_in(receipt: CaptureReceipt) -> Shelves:
    job = make_job()
    shelves = Shelves(replace(job, spec=replace(job.spec, capture=True)))
    outcome = Outcome(
        Move.SUCCEED,
        Reason(ReasonCode.SUCCEEDED, "done"),
        receipt=shelves.put(encode_capture(receipt)),
    )
    shelves.job = replace(shelves.job, outcome=outcome)
    return shelves


def opened(shelves: Shelves, claim: Part, part: int | None) -> DisputeRecord:
    head = claim.trace.head
    return DisputeRecord(
        "dispute_1", shelves.job.id, "n", "box", "ann", "key_2", head.size, head.root.hex(), NOW,
        60.0, part=part,
    )  # fmt: skip


async def heard(
    shelves: Shelves, record: DisputeRecord, node: ReplayingSide, challenger: ReplayingSide
) -> Ruling:
    """Let both sides answer to the end; each question goes to a referee that knows nothing."""
    for now in range(200):
        referee = Referee(cast("JobStore", shelves), cast("BlobStore", shelves))
        after = await referee.next(record, NOW + now)
        assert after is not None
        if after.ruling is not None:
            return after.ruling
        record, number = after, len(after.rounds) - 1
        question = decode_request(bytes.fromhex(after.rounds[-1].question))
        for party, side in ((Party.NODE, node), (Party.CHALLENGER, challenger)):
            said = Said(NOW + now, shelves.put(encode_message(side.answer(question))))
            record = answered(record, party, number, said)
    raise AssertionError("it does not end")


def side(part: Part, backend: Any = BACKEND) -> ReplayingSide:
    return part.side(INPUTS, cast("Backend", backend))


async def test_a_node_that_lies_is_named_with_part_and_instruction() -> None:
    lying = claimed(HONEST.receipt, LEAF, WRONG)
    shelves = handed_in(lying)
    record = opened(shelves, TRUTH, LEAF)
    ruling = await heard(shelves, record, side(part_of(lying, LEAF), FAULTY), side(TRUTH))
    assert (ruling.faulty, ruling.code, ruling.part) == ((Party.NODE,), "result", LEAF)
    assert ruling.place.startswith("instruction 1 (")
    assert (ruling.instruction, ruling.step, ruling.checkpoint) == (1, None, None)
    assert ruling.text.startswith(f"the part at leaf {LEAF}: instruction 1 (")
    assert ruling.operands


async def test_an_honest_node_survives_who_lies_about_it() -> None:
    shelves = handed_in(HONEST.receipt)
    claim = replace(TRUTH, results=WRONG)
    ruling = await heard(shelves, opened(shelves, claim, LEAF), side(TRUTH), side(claim, FAULTY))
    assert (ruling.faulty, ruling.code) == ((Party.CHALLENGER,), "result")


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (None, "part: missing; a captured script's result is disputed part by part"),
        (0, "leaf 0: expected a part"),
        (99, "leaf 99: expected a part"),
    ],
)
async def test_who_disputes_what_is_no_part_loses(part: int | None, says: str) -> None:
    shelves = handed_in(HONEST.receipt)
    claim = replace(TRUTH, results=WRONG)
    ruling = await heard(shelves, opened(shelves, claim, part), side(TRUTH), side(claim))
    assert (ruling.faulty, ruling.code) == ((Party.CHALLENGER,), "dispute.void")
    assert says in ruling.message


async def test_who_disputes_the_truth_with_itself_loses() -> None:
    shelves = handed_in(HONEST.receipt)
    ruling = await heard(shelves, opened(shelves, TRUTH, LEAF), side(TRUTH), side(TRUTH))
    assert (ruling.faulty, ruling.code) == ((Party.CHALLENGER,), "dispute.void")


async def test_a_receipt_that_does_not_fit_together_is_its_nodes_lie() -> None:
    shelves = handed_in(replace(HONEST.receipt, programs=()))
    ruling = await heard(shelves, opened(shelves, TRUTH, LEAF), side(TRUTH), side(TRUTH))
    assert (ruling.faulty, ruling.code) == ((Party.NODE,), "receipt.format")
