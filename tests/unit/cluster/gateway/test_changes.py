"""Watchers of a job: each sees every event once, in order, unless it is far too slow."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import anyio
import pytest

from bcai.base.errors import BcaiError, DependencyError, ResourceError
from bcai.cluster.gateway import changes as changes_module
from bcai.cluster.gateway.changes import Batch, Changes, Feed
from bcai.cluster.gateway.limits import EVENTS_PAGE, LAG_EVENTS_MAX, RECENT_EVENTS_MAX
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import EventKind, Job, JobEvent
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState


class History:
    """The part of a store that watchers read: one job's events, and a bell."""

    def __init__(self, length: int = 0) -> None:
        self.job = Job("job", "me", JobSpec("job", "x"), JobState.RUNNING, 1.0, 1.0, "token")
        self.lines: list[JobEvent] = []
        self.reads = 0
        self.gets_failing = 0
        self.failure: BcaiError = DependencyError("the database is away")
        self.gets_hanging = 0
        self._bell = anyio.Event()
        self.add(length)

    def add(self, count: int, kind: EventKind = EventKind.LOG) -> None:
        for _ in range(count):
            self.lines.append(JobEvent(len(self.lines) + 1, 1.0, 1, kind))
        self._bell.set()
        self._bell = anyio.Event()

    def end(self) -> None:
        self.job = replace(self.job, state=JobState.SUCCEEDED)
        self.add(1, EventKind.STATE)

    async def get(self, job_id: str) -> Job:
        if self.gets_hanging:
            self.gets_hanging -= 1
            await anyio.sleep_forever()
        if self.gets_failing:
            self.gets_failing -= 1
            raise self.failure
        return self.job

    async def events(
        self,
        job_id: str,
        *,
        after: int = 0,
        limit: int = 1000,
        kinds: Sequence[EventKind] | None = None,
    ) -> list[JobEvent]:
        self.reads += 1
        return self.lines[after : after + limit]

    async def wait_for_change(self, timeout_s: float, *, seen: int | None = None) -> int:
        if seen == len(self.lines):
            await self._bell.wait()
        return len(self.lines)


async def everything(changes: Changes, after: int = 0) -> list[Batch]:
    async with aclosing(changes.follow("job", after)) as batches:
        return [batch async for batch in batches]


def sequences(batches: list[Batch]) -> list[int]:
    return [event.sequence for batch in batches for event in batch.events]


def watched(history: History) -> Changes:
    return Changes(cast("JobStore", history))


@pytest.mark.parametrize("length", [0, 1, EVENTS_PAGE, 3 * EVENTS_PAGE + 1, LAG_EVENTS_MAX + 1])
@pytest.mark.parametrize("after", [0, 1, 700])
def test_a_history_is_given_out_whole(length: int, after: int) -> None:
    history = History(length)
    history.end()
    batches = anyio.run(everything, watched(history), after)
    assert sequences(batches) == list(range(after + 1, length + 2))
    assert batches[-1].job is history.job
    assert not any(batch.skipped for batch in batches)


def test_many_watchers_see_what_comes_and_share_the_reading() -> None:
    async def run() -> tuple[list[list[Batch]], History]:
        history = History(3)
        changes = watched(history)
        seen: list[list[Batch]] = []

        async def watch() -> None:
            seen.append(await everything(changes))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(changes.run)
            async with anyio.create_task_group() as watchers:
                for _ in range(50):
                    watchers.start_soon(watch)
                await anyio.wait_all_tasks_blocked()
                before = history.reads
                history.add(10)
                await changes.wait_beyond("job", 12, 3600.0)
                await anyio.wait_all_tasks_blocked()
                assert history.reads - before < 10
                history.end()
            tasks.cancel_scope.cancel()
        return seen, history

    seen, _ = anyio.run(run)
    assert len(seen) == 50
    assert all(sequences(batches) == list(range(1, 15)) for batches in seen)


def test_a_watcher_that_does_not_read_is_told_how_much_it_missed() -> None:
    async def run() -> None:
        history = History(1)
        changes = watched(history)
        read: list[Batch] = []

        async def read_one(batches: AsyncGenerator[Batch, None]) -> None:
            read.append(await anext(batches))

        async with aclosing(changes.follow("job", 1)) as batches:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read_one, batches)
                await anyio.wait_all_tasks_blocked()  # now it waits for what is new
                history.add(1)
                await changes.wait_beyond("job", 1, 3600.0)
            history.add(LAG_EVENTS_MAX + RECENT_EVENTS_MAX)
            await changes.wait_beyond("job", 2, 3600.0)
            await read_one(batches)
        live, late = read
        assert [event.sequence for event in live.events] == [2]
        assert late.skipped == LAG_EVENTS_MAX
        assert late.events[0].sequence == 2 + late.skipped + 1

    anyio.run(run)


def test_a_cursor_beyond_the_end_spoils_nothing_for_others() -> None:
    async def run() -> list[Batch]:
        history = History(5)
        changes = watched(history)
        seen: list[list[Batch]] = []

        async def watch(after: int) -> None:
            batches = await everything(changes, after)
            if after == 0:
                seen.append(batches)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(changes.run)
            async with anyio.create_task_group() as watchers:
                watchers.start_soon(watch, 10**9)
                await anyio.wait_all_tasks_blocked()
                watchers.start_soon(watch, 0)
                await anyio.wait_all_tasks_blocked()
                history.end()
            tasks.cancel_scope.cancel()
        return seen[0]

    assert sequences(anyio.run(run)) == [1, 2, 3, 4, 5, 6]


def test_the_end_is_seen_though_the_store_was_away_when_it_came() -> None:
    async def run() -> Feed:
        history = History(1)
        feed = Feed(cast("JobStore", history), history.job, 0)
        history.end()
        history.gets_failing = 1
        with pytest.raises(DependencyError):
            await feed.refresh()
        await feed.refresh()
        return feed

    feed = anyio.run(run)
    assert feed.ended
    assert feed.job.state is JobState.SUCCEEDED


@pytest.mark.parametrize("failure", [DependencyError("it is away"), ResourceError("it is full")])
def test_watchers_are_served_again_after_the_store_has_failed(
    failure: BcaiError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "CHANGE_S_MAX", 0.0)

    async def run() -> list[Batch]:
        history = History(1)
        history.failure = failure
        changes = watched(history)
        seen: list[list[Batch]] = []

        async def watch() -> None:
            seen.append(await everything(changes))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(changes.run)
            async with anyio.create_task_group() as watchers:
                watchers.start_soon(watch)
                await anyio.wait_all_tasks_blocked()
                history.gets_failing = 1
                history.end()
                await anyio.wait_all_tasks_blocked()
                history.add(0)  # the next change
            tasks.cancel_scope.cancel()
        return seen[0]

    assert sequences(anyio.run(run)) == [1, 2]


def test_a_watcher_that_leaves_while_it_reads_hides_nothing_from_others() -> None:
    async def run() -> tuple[list[int], Feed]:
        history = History(1)
        feed = Feed(cast("JobStore", history), history.job, 1)
        woken: list[int] = []

        async def watch() -> None:
            await feed.wait()
            woken.append(feed.latest)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            history.end()
            history.gets_hanging = 1
            with anyio.CancelScope() as leaving:
                async with anyio.create_task_group() as reading:
                    reading.start_soon(feed.refresh)
                    await anyio.wait_all_tasks_blocked()
                    leaving.cancel()
            await feed.refresh()
        return woken, feed

    woken, feed = anyio.run(run)
    assert woken == [2]
    assert feed.ended


def test_a_gateway_that_stops_ends_every_watch() -> None:
    async def run() -> None:
        changes = watched(History(1))
        async with anyio.create_task_group() as watchers:
            watchers.start_soon(everything, changes)
            watchers.start_soon(changes.wait_beyond, "job", 1, 3600.0)
            await anyio.wait_all_tasks_blocked()
            changes.close()

    anyio.run(run)
