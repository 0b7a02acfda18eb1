"""The law of every store: whatever comes in whatever order, it does what a plain model does."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeGuard

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
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

from bcai.base.errors import ConflictError, StaleError
from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import EventKind, Job
from bcai.jobs.outcome import Outcome
from bcai.jobs.states import MOVES, JobState, Move
from bcai.settings import Settings
from bcai.wire.nodes import Progress, Report

HELD = (JobState.ASSIGNED, JobState.RUNNING)


@dataclass
class Model:
    """What a job must be, worked out without a database."""

    snapshots: list[Job]  # as the store returned it at each change of hands, oldest first
    max_retries: int
    state: JobState = JobState.QUEUED
    attempts: int = 0
    cancel: bool = False
    history: list[JobState] = field(default_factory=lambda: [JobState.QUEUED])
    lines: list[str] = field(default_factory=list[str])
    recorded: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])

    def move(self, move: Move) -> None:
        self.state = MOVES[self.state, move]
        self.history.append(self.state)

    def end(self, move: Move) -> None:
        if move is Move.RETRY and self.cancel:
            move = Move.CANCEL
        elif move is Move.RETRY and self.attempts > self.max_retries:
            move = Move.FAIL
        self.move(move)


class StoreMachine(RuleBasedStateMachine):
    """Random submits, assigns, reports, releases, ends and cancels, current and stale."""

    def __init__(self, portal: BlockingPortal, store: JobStore, clock: Clock) -> None:
        super().__init__()
        self.portal, self.store, self.clock = portal, store, clock
        self.models: list[Model] = []

    def pick(self, data: st.DataObject) -> tuple[Model, Job, bool]:
        """Choose a job and what somebody last heard of it; True if that is still current."""
        model = data.draw(st.sampled_from(self.models))
        # Mostly the newest, or hardly a job would ever get anywhere.
        age = data.draw(st.sampled_from([0, 0, 0, 0, 1, 2]))
        place = max(len(model.snapshots) - 1 - age, 0)
        return model, model.snapshots[place], place == len(model.snapshots) - 1

    def attempt(self, act: Callable[[], Awaitable[Job]]) -> Job | ConflictError:
        try:
            return self.portal.call(act)
        except ConflictError as error:
            return error

    def expect(
        self, answer: Job | ConflictError, *, current: bool, allowed: bool
    ) -> TypeGuard[Job]:
        """Check that what was allowed was done, and that a stale token was called stale."""
        if allowed:
            assert isinstance(answer, Job)
            return True
        assert isinstance(answer, ConflictError)
        assert isinstance(answer, StaleError) == (not current)
        return False

    @rule(max_retries=st.integers(0, 2))
    def submit(self, max_retries: int) -> None:
        self.clock.now += 0.25
        job, new = self.call_submit(max_retries)
        assert new
        self.models.append(Model([job], max_retries))

    def call_submit(self, max_retries: int) -> tuple[Job, bool]:
        return self.portal.call(self.store.submit, "ann", spec(max_retries=max_retries))

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        model, job, current = self.pick(data)
        taken = self.attempt(lambda: self.store.assign(job, NODE, lease_s=LEASE_S))
        allowed = current and model.state is JobState.QUEUED
        if self.expect(taken, current=current, allowed=allowed):
            model.attempts += 1
            model.move(Move.ASSIGN)
            model.snapshots.append(taken)
        self.check(model)

    @precondition(lambda self: self.models)
    @rule(
        data=st.data(),
        number=st.integers(1, 6),
        kind=st.sampled_from(["start", "start", "log", "progress", "succeed", "fail", "retry"]),
    )
    def report(self, data: st.DataObject, number: int, kind: str) -> None:
        model, job, current = self.pick(data)
        attempt = len(job.attempts)
        sent = make_report(job, number, kind)
        (answer,) = self.portal.call(self.store.record, NODE.id, [sent])
        is_attempt = job.state in HELD  # the token of a job that waits opens nothing
        known = is_attempt and (attempt, number) in model.recorded
        fresh = is_attempt and current and model.state in HELD and not known
        assert (answer is None) == (known or fresh)
        if fresh:
            self.apply(model, sent, (attempt, number), kind)
        self.check(model)

    def apply(self, model: Model, sent: Report, key: tuple[int, int], kind: str) -> None:
        if kind == "start" and model.state is JobState.RUNNING:
            return
        model.recorded.add(key)
        if kind == "start":
            model.move(Move.START)
        elif kind == "log":
            model.lines.append(f"{sent.number}\n")
        elif kind in ("succeed", "fail", "retry"):
            move = Move(kind)
            impossible = (model.state, move) not in MOVES
            model.end(Move.RETRY if impossible else move)
            model.snapshots.append(self.portal.call(self.store.get, sent.job_id))

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        model, job, current = self.pick(data)
        freed = self.attempt(lambda: self.store.release(job, LOST, backoff_s=0))
        if self.expect(freed, current=current, allowed=current and model.state in HELD):
            model.end(Move.RETRY)
            model.snapshots.append(freed)
        self.check(model)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), move=st.sampled_from([Move.TIME_OUT, Move.FAIL]))
    def finish(self, data: st.DataObject, move: Move) -> None:
        model, job, current = self.pick(data)
        ended = self.attempt(lambda: self.store.finish(job, failure(move)))
        allowed = current and (model.state, move) in MOVES
        if self.expect(ended, current=current, allowed=allowed):
            model.end(move)
            model.snapshots.append(ended)
        self.check(model)

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        model, job, _ = self.pick(data)
        marked = self.portal.call(self.store.request_cancel, job.id)
        if model.state is JobState.QUEUED:
            model.move(Move.CANCEL)
            model.cancel = True
            model.snapshots.append(marked)
        elif model.state in HELD:
            model.cancel = True
        self.check(model)

    def check(self, model: Model) -> None:
        job = self.portal.call(self.store.get, model.snapshots[0].id)
        events = self.portal.call(self.store.events, job.id)
        assert job.state is model.state
        assert len(job.attempts) == model.attempts
        assert job.cancel_requested == model.cancel
        assert job.lock_token == model.snapshots[-1].lock_token
        assert (job.outcome is not None) == job.state.is_final == (job.finished_at is not None)
        assert (job.lease_until is not None) == (job.state in HELD)
        assert all(attempt.ended_at for attempt in job.attempts[:-1])
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        told = [event.body["state"] for event in events if event.kind is EventKind.STATE]
        assert told == model.history
        lines = [event.body["text"] for event in events if event.kind is EventKind.LOG]
        assert lines == model.lines

    def teardown(self) -> None:
        """No job is lost: each is listed once, and stands where its state says."""
        ids = {model.snapshots[0].id: model.state for model in self.models}
        listed = self.portal.call(lambda: self.store.list_jobs(limit=1000)).jobs
        found = [(job.id, job.state) for job in listed if job.id in ids]
        assert sorted(found) == sorted(ids.items())
        running = {job.id for job in self.portal.call(self.store.running)}
        queued = {job.id for job in self.portal.call(self.store.queued, 1000)}
        for job_id, state in ids.items():
            assert (job_id in running) == (state in HELD)
            assert (job_id in queued) == (state is JobState.QUEUED)
            if not state.is_final:  # leave none behind: the next example shares the database
                self.portal.call(self.end, job_id)

    async def end(self, job_id: str) -> None:
        job = await self.store.request_cancel(job_id)
        if not job.state.is_final:
            await self.store.release(job, LOST, backoff_s=0)


def make_report(job: Job, number: int, kind: str) -> Report:
    ends: dict[str, Outcome] = {
        "succeed": success(),
        "fail": failure(),
        "retry": failure(Move.RETRY),
    }
    if kind == "start":
        return started(job, number)
    if kind == "log":
        return log(job, number, f"{number}\n")
    if kind == "progress":
        return report(job, number, Progress(at=1.0, fraction=0.5))
    return finished(job, number, ends[kind])


@contextmanager
def opened(settings: Settings, clock: Clock) -> Generator[tuple[BlockingPortal, JobStore]]:
    with start_blocking_portal("asyncio") as portal:
        store = open_store(settings, clock=clock)
        portal.call(store.start)
        try:
            yield portal, store
        finally:
            portal.call(store.stop)


@pytest.mark.timeout(600)
def test_store_follows_the_model(settings: Settings, clock: Clock) -> None:
    with opened(settings, clock) as (portal, store):

        class Machine(StoreMachine):
            def __init__(self) -> None:
                super().__init__(portal, store, clock)

        run_state_machine_as_test(
            Machine,
            settings=hypothesis_settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],  # the machine may be busy
            ),
        )
