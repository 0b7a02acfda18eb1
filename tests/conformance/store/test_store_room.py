"""What a node has free is what it offers less what its jobs have; the store gives out no more."""

from asyncio import gather
from dataclasses import replace

import pytest
from tests.conformance.store.store_samples import (
    CAPABILITIES,
    LEASE_S,
    LOST,
    Clock,
    finished,
    success,
)

from bcai.base.errors import ConflictError
from bcai.base.units import GIB
from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import Job
from bcai.jobs.node import Claim, Node
from bcai.jobs.outcome import Outcome
from bcai.jobs.spec import Hardware, JobSpec, Limits
from bcai.jobs.states import Move
from bcai.settings import Settings

pytestmark = pytest.mark.anyio

SMALL = Node(
    "node-1",
    "laptop",
    replace(CAPABILITIES, memory_bytes=8 * GIB, cpu_count=4, slots=3),
    seen_at=0.0,
    online=True,
)
FREE = Claim()


async def submitted(store: JobStore, memory_bytes: int = 3 * GIB, **hardware: int) -> Job:
    spec = JobSpec(
        "job",
        code="1",
        limits=Limits(memory_bytes=memory_bytes),
        hardware=Hardware(memory_bytes=memory_bytes, **hardware),
    )
    job, _ = await store.submit("ann", spec)
    return job


async def seen(store: JobStore, node: Node = SMALL) -> Node:
    await store.node_seen(node.id, name=node.name, capabilities=node.capabilities, lease_s=LEASE_S)
    (known,) = await store.nodes(online_within_s=LEASE_S)
    return known


@pytest.mark.parametrize(
    ("asked", "fit"),
    [
        ({"memory_bytes": 3 * GIB}, 2),
        ({"memory_bytes": GIB}, 3),  # slots
        ({"memory_bytes": GIB, "cpu_count": 3}, 1),
        ({"memory_bytes": GIB, "gpu_count": 1}, 1),
    ],
)
async def test_a_node_gets_no_more_than_it_has_room_for(
    store: JobStore, asked: dict[str, int], fit: int
) -> None:
    await seen(store)
    jobs = [await submitted(store, **asked) for _ in range(fit + 1)]
    for job in jobs[:fit]:
        await store.assign(job, SMALL, lease_s=LEASE_S)
    with pytest.raises(ConflictError, match="has not free"):
        await store.assign(jobs[fit], SMALL, lease_s=LEASE_S)
    assert await store.get(jobs[fit].id) == jobs[fit], "nothing of it was kept"


async def test_what_is_taken_is_told_with_the_node(store: JobStore) -> None:
    assert (await seen(store)).taken == FREE
    job = await submitted(store, 3 * GIB, cpu_count=2, gpu_count=1)
    await store.assign(job, SMALL, lease_s=LEASE_S)
    assert (await seen(store)).taken == Claim(3 * GIB, 2, 1, 1)


async def test_what_nobody_asked_for_counts_as_the_node_lowers_it(store: JobStore) -> None:
    capped = replace(SMALL.capabilities, job_memory_bytes_max=GIB)
    await seen(store, replace(SMALL, capabilities=capped))
    job, _ = await store.submit("ann", JobSpec("job", code="1", hardware=Hardware(gpu_count=2)))
    await store.assign(job, replace(SMALL, capabilities=capped), lease_s=LEASE_S)
    assert (await seen(store, replace(SMALL, capabilities=capped))).taken == Claim(GIB, 1, 0, 1)


@pytest.mark.parametrize("end", ["succeeds", "fails", "is cancelled", "is lost", "times out"])
async def test_every_end_gives_back_what_a_job_had(store: JobStore, end: str) -> None:
    await seen(store)
    held = await store.assign(await submitted(store), SMALL, lease_s=LEASE_S)
    match end:
        case "succeeds":
            await store.record(SMALL.id, [finished(held, 1, success())])
        case "fails":
            await store.finish(held, Outcome(Move.FAIL, LOST))
        case "is cancelled":
            await store.request_cancel(held.id)
            assert (await seen(store)).taken != FREE, "its node has not stopped it yet"
            await store.record(SMALL.id, [finished(held, 1, Outcome(Move.CANCEL, LOST))])
        case "is lost":
            await store.release(held, LOST, backoff_s=0.0)
        case _:
            await store.finish(held, Outcome(Move.TIME_OUT, LOST))
    assert (await seen(store)).taken == FREE
    large = await submitted(store, 8 * GIB, cpu_count=4, gpu_count=1)
    await store.assign(large, SMALL, lease_s=LEASE_S)


async def test_two_schedulers_at_once_give_out_no_more_than_there_is(
    settings: Settings, store: JobStore, clock: Clock
) -> None:
    await seen(store)
    second = open_store(settings, clock=clock)
    await second.start()
    jobs = [await submitted(store) for _ in range(8)]
    answers = await gather(
        *(
            each.assign(job, SMALL, lease_s=LEASE_S)
            for job, each in zip(jobs, [store, second] * 4, strict=True)
        ),
        return_exceptions=True,
    )
    await second.stop()
    assert sum(isinstance(each, Job) for each in answers) == 2
    assert all(isinstance(each, Job | ConflictError) for each in answers)
    assert (await seen(store)).taken.memory_bytes == 6 * GIB


async def test_jobs_that_ask_for_too_much_are_left_out(store: JobStore) -> None:
    small, large = await submitted(store, GIB), await submitted(store, 5 * GIB)
    wide = await submitted(store, GIB, cpu_count=3)
    graphic = await submitted(store, GIB, gpu_count=1)
    room = Claim(2 * GIB, 2, 0, 1)
    assert [job.id for job in await store.queued(room=room)] == [small.id]
    everyone = {small.id, large.id, wide.id, graphic.id}
    assert {job.id for job in await store.queued()} == everyone
