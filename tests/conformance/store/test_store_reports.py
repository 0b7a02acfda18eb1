"""What nodes report: written once, in order, fenced by the attempt's token."""

import asyncio
import math

import pytest
from tests.conformance.store.store_samples import (
    LEASE_S,
    LOST,
    NODE,
    Clock,
    failure,
    finished,
    log,
    report,
    spec,
    started,
    success,
)

from bcai.base.errors import StaleError
from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import EventKind, Job
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.states import JobState, Move
from bcai.settings import Settings
from bcai.wire.nodes import Log, Metric, Progress, Started

pytestmark = pytest.mark.anyio


async def taken_job(store: JobStore, *, max_retries: int = 3) -> Job:
    job, _ = await store.submit("ann", spec(max_retries=max_retries))
    return await store.assign(job, NODE, lease_s=LEASE_S)


async def test_a_whole_attempt(store: JobStore, clock: Clock) -> None:
    job = await taken_job(store)
    clock.now += 1
    answers = await store.record(
        NODE.id,
        [
            started(job),
            log(job, 2, "binary \0 \x1b[0m é \U0001f600\n"),
            report(job, 3, Metric(at=2.5, step=1, values={"loss": 0.5, "bad": "nan"})),
            report(job, 4, Progress(at=2.6, fraction=0.5)),
        ],
    )
    assert answers == [None] * 4
    running = await store.get(job.id)
    assert (running.state, running.progress, running.started_at) == (
        JobState.RUNNING,
        0.5,
        clock.now,
    )
    assert running.lock_token == job.lock_token
    assert await store.record(NODE.id, [finished(job, 5, success())]) == [None]
    ended = await store.get(job.id)
    assert (ended.state, ended.outcome, ended.progress) == (JobState.SUCCEEDED, success(), 1.0)
    assert ended.attempts[0].reason == success().reason
    events = await store.events(job.id)
    assert [event.sequence for event in events] == list(range(1, 8))
    assert [event.kind for event in events] == [
        EventKind.STATE,
        EventKind.STATE,
        EventKind.STATE,
        EventKind.LOG,
        EventKind.METRIC,
        EventKind.PROGRESS,
        EventKind.STATE,
    ]
    assert events[3].body == {"stream": "stdout", "text": "binary \0 \x1b[0m é \U0001f600\n"}
    assert events[4].body == {"step": 1, "values": {"loss": 0.5, "bad": "nan"}}
    assert {event.attempt for event in events[1:]} == {1}


async def test_resent_reports_change_nothing(store: JobStore) -> None:
    job = await taken_job(store)
    reports = [started(job), log(job, 2, "one\n"), log(job, 3, "two\n")]
    assert await store.record(NODE.id, reports[:2]) == [None, None]
    assert await store.record(NODE.id, [*reports, reports[2]]) == [None] * 4
    end = finished(job, 4, success())
    assert await store.record(NODE.id, [end]) == [None]
    before, events = await store.get(job.id), await store.events(job.id)
    assert await store.record(NODE.id, [*reports, end]) == [None] * 4
    assert await store.get(job.id) == before
    assert await store.events(job.id) == events
    assert [event.body["text"] for event in events if event.kind is EventKind.LOG] == [
        "one\n",
        "two\n",
    ]


async def test_a_lost_acknowledgement_of_a_retry_does_not_touch_the_next_attempt(
    store: JobStore,
) -> None:
    job = await taken_job(store)
    end = finished(job, 2, failure(Move.RETRY))
    assert await store.record(NODE.id, [started(job), end]) == [None, None]
    queued = await store.get(job.id)
    again = await store.assign(queued, NODE, lease_s=LEASE_S)
    assert await store.record(NODE.id, [started(job), end]) == [None, None]
    assert await store.get(job.id) == again
    (answer,) = await store.record(NODE.id, [log(job, 3, "late")])
    assert isinstance(answer, StaleError)
    assert await store.get(job.id) == again


async def test_a_stale_attempt_is_refused(store: JobStore) -> None:
    job = await taken_job(store)
    await store.release(job, LOST, backoff_s=0)
    events = await store.events(job.id)
    answers = await store.record(NODE.id, [started(job), finished(job, 2, success())])
    assert all(isinstance(answer, StaleError) for answer in answers)
    assert await store.events(job.id) == events


async def test_another_node_is_refused(store: JobStore) -> None:
    job = await taken_job(store)
    (answer,) = await store.record("node-2", [started(job)])
    assert isinstance(answer, StaleError)
    assert (await store.get(job.id)).state is JobState.ASSIGNED


async def test_unknown_jobs_and_mixed_batches(store: JobStore) -> None:
    one, two = await taken_job(store), await taken_job(store)
    ghost = report(one, 1, Started(at=1.0)).model_copy(update={"job_id": "job_none"})
    answers = await store.record(
        NODE.id, [started(one), ghost, started(two), log(one, 2, "a"), log(two, 2, "b")]
    )
    assert [isinstance(answer, StaleError) for answer in answers] == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert (await store.events(two.id))[-1].body["text"] == "b"


async def test_reports_after_the_end_are_refused(store: JobStore) -> None:
    job = await taken_job(store)
    answers = await store.record(
        NODE.id, [started(job), finished(job, 2, success()), log(job, 3, "ghost")]
    )
    assert [isinstance(answer, StaleError) for answer in answers] == [False, False, True]
    assert (await store.events(job.id))[-1].body["state"] == "SUCCEEDED"


async def test_retries_back_off_exponentially_then_fail(store: JobStore, clock: Clock) -> None:
    job, _ = await store.submit("ann", spec(max_retries=9))
    delays: list[float] = []
    for _ in range(9):
        job = await store.assign(await store.get(job.id), NODE, lease_s=LEASE_S)
        await store.record(
            NODE.id, [started(job), finished(job, 2, failure(Move.RETRY, "disk on fire"))]
        )
        job = await store.get(job.id)
        assert job.state is JobState.QUEUED
        assert job.progress == 0.0
        delays.append(job.not_before - clock.now)
    assert delays == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    job = await store.assign(job, NODE, lease_s=LEASE_S)
    await store.record(NODE.id, [finished(job, 1, failure(Move.RETRY, "the last straw"))])
    job = await store.get(job.id)
    assert job.state is JobState.FAILED
    assert job.outcome is not None
    assert job.outcome.move is Move.FAIL
    assert job.outcome.reason.message.count("disk on fire") == 9
    assert "the last straw" in job.outcome.reason.message


async def test_a_users_own_failure_is_not_retried(store: JobStore) -> None:
    job = await taken_job(store)
    await store.record(NODE.id, [started(job), finished(job, 2, failure())])
    ended = await store.get(job.id)
    assert (ended.state, ended.outcome) == (JobState.FAILED, failure())


async def test_cancelled_attempt_is_not_retried(store: JobStore) -> None:
    job = await taken_job(store)
    await store.record(NODE.id, [started(job)])
    await store.request_cancel(job.id)
    await store.record(NODE.id, [finished(job, 2, failure(Move.RETRY))])
    assert (await store.get(job.id)).state is JobState.CANCELLED


async def test_success_without_a_start_is_the_nodes_error(store: JobStore) -> None:
    job = await taken_job(store)
    assert await store.record(NODE.id, [finished(job, 1, success())]) == [None]
    again = await store.get(job.id)
    assert again.state is JobState.QUEUED
    assert again.attempts[0].reason is not None
    assert again.attempts[0].reason.code is ReasonCode.NODE_ERROR


async def test_numbers_that_are_no_numbers_are_kept_as_texts(store: JobStore, clock: Clock) -> None:
    job = await taken_job(store)
    values: dict[str, float] = {"a": math.inf, "b": -math.inf, "c": math.nan}
    answers = await store.record(
        NODE.id,
        [
            started(job),
            report(job, 2, Metric.model_construct(at=math.nan, step=None, values=values)),
            report(job, 3, Log(at=math.inf, stream="stderr", text="x")),
        ],
    )
    assert answers == [None] * 3
    metric, line = (await store.events(job.id))[-2:]
    assert metric.body["values"] == {"a": "inf", "b": "-inf", "c": "nan"}
    assert metric.at == line.at == clock.now


async def test_two_stores_record_the_same_jobs_in_opposite_orders(
    store: JobStore, settings: Settings
) -> None:
    second = open_store(settings)
    await second.start()
    jobs = [await taken_job(store) for _ in range(6)]
    for turn in range(1, 20, 2):
        forth = [log(job, turn, "forth") for job in jobs]
        back = [log(job, turn + 1, "back") for job in reversed(jobs)]
        answers = await asyncio.gather(store.record(NODE.id, forth), second.record(NODE.id, back))
        assert answers == [[None] * 6] * 2
    await second.stop()
    for job in jobs:
        assert [event.sequence for event in await store.events(job.id)] == list(range(1, 23))


async def test_a_report_that_cannot_be_stored_ends_its_own_job_only(store: JobStore) -> None:
    poisoned, healthy = await taken_job(store), await taken_job(store)
    poison = started(poisoned, 2).model_copy(update={"number": 2**70})
    reports = [started(poisoned), poison, started(healthy), log(healthy, 2, "fine\n")]
    answers = await store.record(NODE.id, reports)
    assert [answer is None for answer in answers] == [False, False, True, True]
    assert await store.record(NODE.id, [poison, log(healthy, 3, "still\n")])
    ended = await store.get(poisoned.id)
    assert ended.state is JobState.FAILED
    assert ended.outcome is not None
    assert ended.outcome.reason.code is ReasonCode.NODE_ERROR
    assert "cannot be stored" in ended.outcome.reason.message
    assert (await store.get(healthy.id)).state is JobState.RUNNING
    assert len(await store.events(healthy.id, kinds=[EventKind.LOG])) == 2
