"""One round of the scheduler at a time, on a real store."""

import anyio
import pytest
from tests.conformance.scheduler.round_samples import Clock, schedule, see_node, submit

from bcai.cluster.scheduler.main import one_round
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.states import JobState
from bcai.settings import Settings
from bcai.wire.nodes import Report, Started

pytestmark = pytest.mark.anyio


async def test_the_oldest_job_is_assigned_first_and_the_next_learns_its_position(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see_node(store, "laptop")
    first, second = await submit(store), await submit(store)
    await schedule(settings, store, clock)
    assert (await store.get(first.id)).state is JobState.ASSIGNED
    await schedule(settings, store, clock)
    waiting = (await store.get(second.id)).waiting
    assert waiting is not None
    assert waiting.code is ReasonCode.WAITING_CAPACITY
    assert "position 1" in waiting.message


async def test_a_job_that_fits_nowhere_blocks_nobody(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see_node(store, "laptop")
    giants = [await submit(store, cpu_count=512) for _ in range(120)]
    small = await submit(store)
    await schedule(settings, store, clock)
    assert (await store.get(small.id)).state is JobState.ASSIGNED
    waiting = (await store.get(giants[0].id)).waiting
    assert waiting is not None
    assert "512" in waiting.message


async def test_without_a_node_a_job_says_so_and_is_assigned_when_one_comes(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    job = await submit(store)
    await schedule(settings, store, clock)
    waiting = (await store.get(job.id)).waiting
    assert waiting is not None
    assert waiting.code is ReasonCode.WAITING_NO_NODE
    await see_node(store, "laptop")
    await schedule(settings, store, clock)
    assert (await store.get(job.id)).state is JobState.ASSIGNED


@pytest.mark.parametrize("has_started", [False, True])
async def test_a_silent_node_loses_its_job_which_rests_and_runs_elsewhere(
    settings: Settings, store: JobStore, clock: Clock, has_started: bool
) -> None:
    await see_node(store, "laptop")
    job = await submit(store)
    await schedule(settings, store, clock)
    held = await store.get(job.id)
    if has_started:
        body = Started(at=clock.now)
        report = Report(job_id=job.id, lock_token=held.lock_token, number=1, body=body)
        assert await store.record("node-laptop", [report]) == [None]
    clock.now += settings.lease_s + 1
    await see_node(store, "desktop")
    await schedule(settings, store, clock)
    lost = await store.get(job.id)
    assert lost.state is JobState.QUEUED
    assert lost.attempts[0].reason is not None
    assert lost.attempts[0].reason.code is ReasonCode.NODE_LOST
    assert "laptop" in lost.attempts[0].reason.message
    assert lost.waiting is not None
    assert lost.waiting.code is ReasonCode.WAITING_BACKOFF
    clock.now += 2
    await schedule(settings, store, clock)
    again = await store.get(job.id)
    assert (again.state, again.node_id) == (JobState.ASSIGNED, "node-desktop")


async def test_a_heartbeat_keeps_the_job(settings: Settings, store: JobStore, clock: Clock) -> None:
    await see_node(store, "laptop")
    job = await submit(store)
    await schedule(settings, store, clock)
    held = await store.get(job.id)
    for _ in range(5):
        clock.now += settings.lease_s - 1
        await see_node(store, "laptop", held=[(held.id, held.lock_token)])
        await schedule(settings, store, clock)
    assert (await store.get(job.id)).state is JobState.ASSIGNED


async def test_without_retries_a_lost_job_fails(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see_node(store, "laptop")
    job = await submit(store, max_retries=0)
    await schedule(settings, store, clock)
    clock.now += settings.lease_s + 1
    await schedule(settings, store, clock)
    failed = await store.get(job.id)
    assert failed.state is JobState.FAILED
    assert failed.outcome is not None
    assert failed.outcome.reason.code is ReasonCode.NODE_LOST


async def test_a_job_that_was_cancelled_is_not_tried_again(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see_node(store, "laptop")
    job = await submit(store)
    await schedule(settings, store, clock)
    await store.request_cancel(job.id)
    clock.now += settings.lease_s + 1
    await schedule(settings, store, clock)
    assert (await store.get(job.id)).state is JobState.CANCELLED


async def test_several_schedulers_assign_each_job_once(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see_node(store, "laptop", slots=50)
    jobs = [await submit(store) for _ in range(20)]
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(schedule, settings, store, clock)
    for job in jobs:
        current = await store.get(job.id)
        assert current.state is JobState.ASSIGNED
        assert len(current.attempts) == 1


async def test_a_patient_round_takes_no_job_from_its_node(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await see_node(store, "laptop")
    job = await submit(store)
    await schedule(settings, store, clock)
    clock.now += settings.lease_s + 1
    await one_round(settings, store, now=clock.now, thorough=True, patient=True)
    assert (await store.get(job.id)).state is JobState.ASSIGNED
    await schedule(settings, store, clock)
    assert (await store.get(job.id)).state is JobState.QUEUED
