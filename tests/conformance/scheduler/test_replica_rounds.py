"""Rounds over a job that several nodes do: each goes to another, and nobody waits for no node."""

from dataclasses import replace

import pytest
from tests.conformance.scheduler.round_samples import Clock, schedule, submit
from tests.conformance.store.test_store_replicas import BOXES, answer, settlement, submitted

from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import Job
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.settlement import SettlementState
from bcai.jobs.states import JobState
from bcai.settings import Settings
from bcai.wire.nodes import Finished, Report, Started

pytestmark = pytest.mark.anyio


async def see(store: JobStore, *numbers: int) -> None:
    for number in numbers:
        box = BOXES[number]
        offered = replace(box.capabilities, slots=1)
        await store.node_seen(box.id, name=box.name, capabilities=offered, lease_s=10.0)


async def reports(store: JobStore, job: Job, loss: float) -> None:
    box = next(each for each in BOXES.values() if each.id == job.node_id)
    bodies = [Started(at=1.0), Finished(at=2.0, outcome=answer(job, box, loss))]
    told = [
        Report(job_id=job.id, lock_token=job.lock_token, number=number, body=body)
        for number, body in enumerate(bodies, start=1)
    ]
    assert await store.record(box.id, told) == [None, None]


async def test_each_replica_goes_to_another_node(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see(store, 1, 2, 3)
    job = await submitted(store)
    for _ in range(3):
        await schedule(settings, store, clock)
    group = [await store.get(name) for name in (job.id, f"{job.id}-2", f"{job.id}-3")]
    assert {each.state for each in group} == {JobState.ASSIGNED}
    assert {each.node_id for each in group} == {"node-1", "node-2", "node-3"}


async def test_too_few_nodes_are_waited_for_by_name(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see(store, 1, 2)
    job = await submitted(store)
    await schedule(settings, store, clock)
    waiting = (await store.get(job.id)).waiting
    assert waiting is not None
    assert waiting.code is ReasonCode.WAITING_REPLICAS
    assert "replicated:3 needs 3 nodes of one fingerprint, and 2 are online (box-1, box-2:" in (
        waiting.message
    )
    await see(store, 3)
    await schedule(settings, store, clock)
    assert (await store.get(job.id)).state is JobState.ASSIGNED


async def test_a_replicated_job_has_one_place_in_line(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see(store, 1, 2, 3)
    await submitted(store)
    for _ in range(3):
        await schedule(settings, store, clock)
    waiting, behind = await submitted(store), await submit(store)
    await schedule(settings, store, clock)
    for job_id, position in ((waiting.id, 1), (f"{waiting.id}-3", 1), (behind.id, 2)):
        told = (await store.get(job_id)).waiting
        assert told is not None
        assert told.message.startswith(f"position {position}; ")


async def test_without_a_further_node_two_that_differ_are_disputed(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see(store, 1, 2)
    job = await submitted(store, 2)
    for _ in range(2):
        await schedule(settings, store, clock)
    await reports(store, await store.get(job.id), 0.5)
    await reports(store, await store.get(f"{job.id}-2"), 0.25)
    assert (await store.get(job.id)).state is JobState.RUNNING
    await schedule(settings, store, clock)
    ended = await store.get(job.id)
    assert ended.state is JobState.SUCCEEDED
    assert settlement(ended).state is SettlementState.DISPUTED
    assert "a further node gave no answer: needs another node of its group's" in (
        settlement(ended).text
    )
