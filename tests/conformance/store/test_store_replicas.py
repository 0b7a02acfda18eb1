"""One job that several nodes do: never two on one, held until all have answered, ended once."""

from base64 import b64encode
from dataclasses import replace

import pytest
from blake3 import blake3
from tests.conformance.store.store_samples import CAPABILITIES, LEASE_S, LOST, finished, started

from bcai.base.errors import ConflictError
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.environment import OWN_NAME, Environment
from bcai.jobs.fingerprint import fingerprint_of
from bcai.jobs.job import EventKind, Job
from bcai.jobs.node import Node
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode
from bcai.jobs.read_word import output_table
from bcai.jobs.settlement import Settlement, SettlementState
from bcai.jobs.sign_spec import encode_spec, sign_spec
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState, Move
from bcai.jobs.verify import Policy, Verify
from bcai.proof.commitment import UsageClaim
from bcai.proof.keys import SigningKey
from bcai.proof.python_commitment import PythonCommitment, sign_python
from bcai.proof.python_order import read_order
from bcai.proof.python_receipt import Word, encode_word

pytestmark = pytest.mark.anyio

CLIENT = SigningKey.from_random(b"c" * 32)


def node(number: int, *, threads: int = 2) -> Node:
    own = Environment(OWN_NAME, "3.11.7", {}, "sha256:0")
    machine = {"cpu": "a processor", "threads": str(threads)}
    offered = replace(CAPABILITIES, environments=(own,), machine=machine)
    return Node(f"node-{number}", f"box-{number}", offered, seen_at=0.0, online=True)


BOXES = {number: node(number) for number in range(1, 5)}


async def submitted(store: JobStore, replicas: int = 3) -> Job:
    verify = Verify(Policy.REPLICATED, replicas=replicas)
    spec = sign_spec(
        JobSpec("job", code="1", verify=verify, max_retries=1), CLIENT, nonce="0" * 32, now=1.7e9
    )
    job, is_new = await store.submit("ann", spec)
    assert is_new
    return job


def answer(job: Job, on: Node, loss: float, move: Move = Move.SUCCEED) -> Outcome:
    """What an honest node with a key of its own reports."""
    code = ReasonCode.SUCCEEDED if move is Move.SUCCEED else ReasonCode.EXCEPTION
    outcome = Outcome(
        move, Reason(code, "over"), outputs=(Output("loss", "value", value=loss),), exit_status=0
    )
    content = encode_spec(job.spec)
    order = read_order(content)
    key = SigningKey.from_random(blake3(on.id.encode()).digest())
    said = PythonCommitment(
        job.id.partition("-")[0], blake3(content).digest(), order.code, order.inputs, code.value, 0,
        output_table(outcome), fingerprint_of(job.spec, on.capabilities) or (),
        "A", (), UsageClaim(), key.public, 1.7e9,
    )  # fmt: skip
    word = encode_word(Word(said, sign_python(said, key)))
    return replace(outcome, word=b64encode(word).decode())


async def does(store: JobStore, job_id: str, number: int, loss: float) -> None:
    """Assign a replica to a node, which answers."""
    on = BOXES[number]
    job = await store.assign(await store.get(job_id), on, lease_s=LEASE_S)
    reports = [started(job), finished(job, 2, answer(job, on, loss))]
    assert await store.record(on.id, reports) == [None, None]
    assert await store.record(on.id, reports) == [None, None], "once more changes nothing"


def settlement(job: Job) -> Settlement:
    assert job.settlement is not None
    return job.settlement


async def test_the_job_ends_with_the_last_answer_and_the_majoritys(store: JobStore) -> None:
    job = await submitted(store)
    assert [each.id for each in await store.queued()] == [job.id, f"{job.id}-2", f"{job.id}-3"]
    assert [each.id for each in (await store.list_jobs()).jobs] == [job.id]
    await does(store, job.id, 1, 0.5)
    parked = await store.get(job.id)
    assert (parked.state, parked.outcome, parked.node_id) == (JobState.RUNNING, None, None)
    assert settlement(parked).text == "1 of 3 nodes answered: box-1"
    assert await store.running() == [], "nobody holds it, so that nobody can lose it"
    await does(store, f"{job.id}-3", 3, 0.25)
    await does(store, f"{job.id}-2", 2, 0.25)
    ended = await store.get(job.id)
    assert (ended.state, ended.progress) == (JobState.SUCCEEDED, 1.0)
    assert ended.outcome is not None
    assert [each.value for each in ended.outcome.outputs] == [0.25]
    assert any("the log and the metrics are those of box-1" in x for x in ended.outcome.warnings)
    found = settlement(ended)
    assert found.state is SettlementState.SETTLED
    assert found.text == ("2 of 3 nodes agree: box-2, box-3; box-1 (node-1) differs in 'loss'")
    assert ended.node_id == "node-2"
    states = [e.body["state"] for e in await store.events(job.id, kinds=[EventKind.STATE])]
    assert states == ["QUEUED", "ASSIGNED", "RUNNING", "SUCCEEDED"]
    assert await store.audits_due() == [], "no challenger is asked"


async def test_no_node_is_taken_twice_nor_one_of_another_kind(store: JobStore) -> None:
    job = await submitted(store)
    second = await store.get(f"{job.id}-2")
    await store.assign(job, BOXES[1], lease_s=LEASE_S)
    for wrong in (BOXES[1], node(2, threads=4)):
        with pytest.raises(ConflictError, match="beside its other replicas"):
            await store.assign(second, wrong, lease_s=LEASE_S)
    await store.assign(second, BOXES[2], lease_s=LEASE_S)
    third = (await store.get(f"{job.id}-3")).replica
    assert third is not None
    assert third.taken == ("node-1", "node-2")
    assert third.fingerprint == fingerprint_of(job.spec, BOXES[1].capabilities)


async def test_a_replica_that_is_lost_runs_again_and_a_group_on_no_node_chooses_anew(
    store: JobStore,
) -> None:
    job = await submitted(store, 2)
    held = await store.assign(job, BOXES[1], lease_s=LEASE_S)
    again = await store.release(held, LOST, backoff_s=0.0)
    assert again.replica is not None
    assert again.replica.fingerprint is None
    await does(store, job.id, 2, 0.5)
    second = await store.assign(await store.get(f"{job.id}-2"), BOXES[1], lease_s=LEASE_S)
    lost = await store.release(second, LOST, backoff_s=0.0)
    assert lost.replica is not None
    assert lost.replica.fingerprint is not None, "one has answered there"
    await does(store, f"{job.id}-2", 3, 0.5)
    assert settlement(await store.get(job.id)).text == "2 nodes agree: box-2, box-3"


@pytest.mark.parametrize("loss", [0.5, 0.25, 0.125, None])
async def test_a_further_node_decides_between_two(store: JobStore, loss: float | None) -> None:
    job = await submitted(store, 2)
    await does(store, job.id, 1, 0.5)
    await does(store, f"{job.id}-2", 2, 0.25)
    assert (await store.get(job.id)).state is JobState.RUNNING
    assert [each.id for each in await store.queued()] == [f"{job.id}-3"]
    if loss is None:  # the scheduler finds no such node
        none = Outcome(Move.FAIL, Reason(ReasonCode.WAITING_REPLICAS, "there is none"))
        await store.finish(await store.get(f"{job.id}-3"), none)
    else:
        await does(store, f"{job.id}-3", 3, loss)
    ended = await store.get(job.id)
    assert ended.state is JobState.SUCCEEDED
    decided = loss in (0.5, 0.25)
    expected = SettlementState.SETTLED if decided else SettlementState.DISPUTED
    assert settlement(ended).state is expected
    assert ended.outcome is not None
    assert ended.outcome.outputs[0].value == (loss if decided else 0.5)
    if loss is None:
        assert "a further node gave no answer: there is none" in settlement(ended).text


async def test_a_node_that_signs_something_else_has_no_answer(store: JobStore) -> None:
    job = await submitted(store, 2)
    await does(store, job.id, 1, 0.5)
    second = await store.assign(await store.get(f"{job.id}-2"), BOXES[2], lease_s=LEASE_S)
    forged = replace(answer(second, BOXES[2], 0.25), outputs=answer(job, BOXES[1], 0.5).outputs)
    await store.record("node-2", [started(second), finished(second, 2, forged)])
    assert "what is signed is not what is reported" in settlement(await store.get(job.id)).text
    await does(store, f"{job.id}-3", 3, 0.5)
    assert settlement(await store.get(job.id)).state is SettlementState.SETTLED


async def test_the_first_nodes_failure_does_not_fail_the_job(store: JobStore) -> None:
    job = await submitted(store)
    held = await store.assign(job, BOXES[1], lease_s=LEASE_S)
    failed = answer(held, BOXES[1], 0.5, Move.FAIL)
    assert await store.record("node-1", [finished(held, 1, failed)]) == [None], "before it began"
    for number in (2, 3):
        await does(store, f"{job.id}-{number}", number, 0.25)
    ended = await store.get(job.id)
    assert ended.state is JobState.SUCCEEDED
    assert settlement(ended).state is SettlementState.SETTLED


@pytest.mark.parametrize("which", ["", "-2"])
async def test_cancelling_one_cancels_the_group(store: JobStore, which: str) -> None:
    job = await submitted(store)
    await does(store, job.id, 1, 0.5)
    held = await store.assign(await store.get(f"{job.id}-2"), BOXES[2], lease_s=LEASE_S)
    await store.request_cancel(job.id + which)
    assert (await store.get(job.id)).state is JobState.CANCELLED
    assert (await store.get(f"{job.id}-3")).state is JobState.CANCELLED
    assert (await store.get(held.id)).cancel_requested
    late = answer(held, BOXES[2], 0.5)
    assert await store.record("node-2", [started(held), finished(held, 2, late)]) == [None, None]
    assert (await store.get(held.id)).state is JobState.CANCELLED
    assert (await store.get(job.id)).state is JobState.CANCELLED
