"""A job's life in every store: submit, list, assign, release, finish, cancel."""

import asyncio
from contextlib import suppress

import pytest
from tests.conformance.store.store_samples import LEASE_S, LOST, NODE, Clock, failure, spec, started

from bcai.base.errors import (
    BusyError,
    ConflictError,
    FormatError,
    InputError,
    NotFoundError,
    StaleError,
)
from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import EventKind
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.states import JobState, Move
from bcai.settings import Settings

pytestmark = pytest.mark.anyio


async def states(store: JobStore, job_id: str) -> list[str]:
    events = await store.events(job_id, kinds=[EventKind.STATE])
    return [str(event.body["state"]) for event in events]


async def test_submitted_job_is_there_with_its_warnings(store: JobStore, clock: Clock) -> None:
    job, new = await store.submit("ann", spec(), warnings=["careful", "slow"])
    assert new
    assert await store.get(job.id) == job
    assert (job.state, job.owner, job.spec, job.created_at) == (
        JobState.QUEUED,
        "ann",
        spec(),
        clock.now,
    )
    events = await store.events(job.id)
    assert [event.sequence for event in events] == [1, 2, 3]
    assert [event.body.get("text") for event in events[1:]] == ["careful", "slow"]
    assert await states(store, job.id) == ["QUEUED"]


async def test_unknown_job(store: JobStore) -> None:
    with pytest.raises(NotFoundError):
        await store.get("job_none")
    with pytest.raises(NotFoundError):
        await store.events("job_none")
    with pytest.raises(NotFoundError):
        await store.request_cancel("job_none")


async def test_idempotency_key_returns_the_first_job(store: JobStore) -> None:
    first, _ = await store.submit("ann", spec(), idempotency_key="k")
    again, new = await store.submit("ann", spec(), idempotency_key="k")
    assert (again, new) == (first, False)
    other, new = await store.submit("bob", spec(), idempotency_key="k")
    assert new
    assert other.id != first.id
    with pytest.raises(ConflictError):
        await store.submit("ann", spec("other"), idempotency_key="k")


async def test_one_idempotency_key_at_once_makes_one_job(
    store: JobStore, settings: Settings
) -> None:
    second = open_store(settings)
    await second.start()
    both = [store, second] * 10
    answers = await asyncio.gather(
        *(each.submit("ann", spec(), idempotency_key="k") for each in both)
    )
    await second.stop()
    assert len({job.id for job, _ in answers}) == 1
    assert [new for _, new in answers].count(True) == 1


async def test_full_queue_turns_jobs_away_until_one_leaves(settings: Settings) -> None:
    store = open_store(settings.model_copy(update={"queue_max": 3}))
    await store.start()
    jobs = [(await store.submit("ann", spec()))[0] for _ in range(3)]
    with pytest.raises(BusyError):
        await store.submit("ann", spec())
    await store.request_cancel(jobs[0].id)
    await store.submit("ann", spec())
    await store.stop()


async def test_pages_are_newest_first_and_complete(store: JobStore, clock: Clock) -> None:
    ids: list[str] = []
    for place in range(7):
        clock.now += place % 2  # some at the same moment
        ids.append((await store.submit("ann" if place % 3 else "bob", spec()))[0].id)
    seen: list[str] = []
    cursor = None
    for _ in range(4):
        page = await store.list_jobs(limit=2, cursor=cursor)
        seen += [job.id for job in page.jobs]
        cursor = page.next_cursor
    assert cursor is None
    assert sorted(seen) == sorted(ids)
    times = [(await store.get(job_id)).created_at for job_id in seen]
    assert times == sorted(times, reverse=True)
    assert {job.owner for job in (await store.list_jobs(owner="bob")).jobs} == {"bob"}
    assert (await store.list_jobs(state=JobState.RUNNING)).jobs == ()
    with pytest.raises(FormatError):
        await store.list_jobs(cursor="nonsense")


async def test_ten_thousand_jobs_page_by_page(store: JobStore, clock: Clock) -> None:
    count = 10_000
    for _ in range(0, count, 1000):
        clock.now += 1
        await asyncio.gather(*(store.submit("ann", spec()) for _ in range(1000)))
    seen: set[str] = set()
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await store.list_jobs(owner="ann", limit=1000, cursor=cursor)
        assert seen.isdisjoint(job.id for job in page.jobs)
        seen |= {job.id for job in page.jobs}
        cursor, pages = page.next_cursor, pages + 1
    assert (len(seen), pages) == (count, 10)


async def test_assign_gives_a_token_and_an_attempt(store: JobStore, clock: Clock) -> None:
    job, _ = await store.submit("ann", spec())
    await store.set_waiting(job, Reason(ReasonCode.WAITING_CAPACITY, "all slots are taken"))
    assert (await store.get(job.id)).waiting is not None
    taken = await store.assign(job, NODE, lease_s=LEASE_S)
    assert taken.state is JobState.ASSIGNED
    assert taken.waiting is None
    assert taken.lock_token != job.lock_token
    assert (taken.node_id, taken.lease_until) == (NODE.id, clock.now + LEASE_S)
    assert [(each.number, each.node_name) for each in taken.attempts] == [(1, NODE.name)]
    assert await store.get(job.id) == taken
    assert await store.running() == [taken]
    assert await store.assigned_to(NODE.id) == [taken]
    assert await store.assigned_to("other") == []
    assert await store.queued() == []


async def test_a_stale_token_changes_nothing(store: JobStore) -> None:
    job, _ = await store.submit("ann", spec())
    taken = await store.assign(job, NODE, lease_s=LEASE_S)
    events = await store.events(job.id)
    with pytest.raises(StaleError):
        await store.assign(job, NODE, lease_s=LEASE_S)
    with pytest.raises(StaleError):
        await store.release(job, LOST, backoff_s=1)
    with pytest.raises(StaleError):
        await store.finish(job, failure())
    with pytest.raises(StaleError):
        await store.set_waiting(job, None)
    with pytest.raises(ConflictError):
        await store.assign(taken, NODE, lease_s=LEASE_S)
    assert await store.get(job.id) == taken
    assert await store.events(job.id) == events


async def test_two_stores_assign_a_job_once(store: JobStore, settings: Settings) -> None:
    second = open_store(settings)
    await second.start()
    job, _ = await store.submit("ann", spec())
    answers = await asyncio.gather(
        *(each.assign(job, NODE, lease_s=LEASE_S) for each in [store, second] * 5),
        return_exceptions=True,
    )
    await second.stop()
    assert sum(not isinstance(answer, StaleError) for answer in answers) == 1


async def test_lost_attempts_are_retried_then_fail_with_every_reason(
    store: JobStore, clock: Clock
) -> None:
    job, _ = await store.submit("ann", spec(max_retries=2))
    for number in (1, 2, 3):
        assert await store.queued() == [job]
        taken = await store.assign(job, NODE, lease_s=LEASE_S)
        await store.record(NODE.id, [started(taken)])
        reason = Reason(ReasonCode.NODE_LOST, f"lost for the {number}. time", "buy a new one")
        job = await store.release(taken, reason, backoff_s=5.0)
        if number < 3:
            assert (job.state, job.not_before) == (JobState.QUEUED, clock.now + 5.0)
            assert (job.node_id, job.lease_until, job.started_at) == (None, None, None)
    assert job.state is JobState.FAILED
    assert job.outcome is not None
    assert job.outcome.reason.code is ReasonCode.NODE_LOST
    for number in (1, 2, 3):
        assert f"lost for the {number}. time" in job.outcome.reason.message
    assert job.outcome.reason.hint == "buy a new one"
    assert [attempt.ended_at for attempt in job.attempts] == [clock.now] * 3
    tries = ["QUEUED", "ASSIGNED", "RUNNING"] * 3
    assert await states(store, job.id) == [*tries, "FAILED"]


async def test_queued_prefers_jobs_whose_back_off_is_over(store: JobStore, clock: Clock) -> None:
    late, _ = await store.submit("ann", spec())
    taken = await store.assign(late, NODE, lease_s=LEASE_S)
    late = await store.release(taken, LOST, backoff_s=60.0)
    clock.now += 1
    ready, _ = await store.submit("ann", spec())
    assert [job.id for job in await store.queued(limit=1)] == [ready.id]
    assert [job.id for job in await store.queued()] == [late.id, ready.id]


async def test_scheduler_times_a_job_out(store: JobStore, clock: Clock) -> None:
    job, _ = await store.submit("ann", spec())
    taken = await store.assign(job, NODE, lease_s=LEASE_S)
    ended = await store.finish(taken, failure(Move.TIME_OUT))
    assert (ended.state, ended.finished_at) == (JobState.TIMED_OUT, clock.now)
    assert ended.outcome == failure(Move.TIME_OUT)
    assert ended.lock_token != taken.lock_token
    assert ended.attempts[0].reason == failure(Move.TIME_OUT).reason


async def test_scheduler_fails_a_job_that_waits(store: JobStore) -> None:
    job, _ = await store.submit("ann", spec())
    ended = await store.finish(job, failure())
    assert ended.state is JobState.FAILED
    assert ended.attempts == ()


async def test_cancel_a_job_that_waits(store: JobStore, clock: Clock) -> None:
    job, _ = await store.submit("ann", spec())
    ended = await store.request_cancel(job.id)
    assert (ended.state, ended.finished_at) == (JobState.CANCELLED, clock.now)
    assert ended.outcome is not None
    assert await store.request_cancel(job.id) == ended
    with pytest.raises(StaleError):
        await store.assign(job, NODE, lease_s=LEASE_S)
    assert await states(store, job.id) == ["QUEUED", "CANCELLED"]


async def test_cancel_a_job_on_a_node_marks_it(store: JobStore) -> None:
    job, _ = await store.submit("ann", spec())
    taken = await store.assign(job, NODE, lease_s=LEASE_S)
    marked = await store.request_cancel(job.id)
    assert (marked.state, marked.cancel_requested) == (JobState.ASSIGNED, True)
    assert marked.lock_token == taken.lock_token
    assert await store.request_cancel(job.id) == marked
    ended = await store.release(taken, LOST, backoff_s=1)
    assert ended.state is JobState.CANCELLED
    assert ended.outcome is not None
    assert ended.outcome.reason.code is ReasonCode.CANCELLED


async def test_events_are_read_from_a_cursor(store: JobStore) -> None:
    job, _ = await store.submit("ann", spec(), warnings=[str(place) for place in range(5)])
    first = await store.events(job.id, limit=4)
    rest = await store.events(job.id, after=first[-1].sequence)
    assert [event.sequence for event in first + rest] == [1, 2, 3, 4, 5, 6]
    assert await store.events(job.id, after=6) == []
    notes = await store.events(job.id, kinds=[EventKind.NOTE, EventKind.LOG])
    assert len(notes) == 5


@pytest.mark.parametrize("job_id", ["\0", "\ud800", "'; DROP TABLE jobs; --", "é" * 10_000])
async def test_ids_that_nobody_gave_out(store: JobStore, job_id: str) -> None:
    with pytest.raises(InputError):
        await store.get(job_id)
    with pytest.raises(InputError):
        await store.request_cancel(job_id)


async def test_a_cursor_beyond_all_numbers(store: JobStore) -> None:
    job, _ = await store.submit("ann", spec())
    with suppress(InputError):  # a database may know larger numbers than the other
        assert await store.events(job.id, after=2**70) == []
