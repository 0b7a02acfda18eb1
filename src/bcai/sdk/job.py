"""A job in synchronous code: the thin face of `AsyncJob`."""

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Literal, Self, TypeVar, overload

from bcai.jobs.cost import Cost
from bcai.sdk.async_job import AsyncJob, wants_wait
from bcai.sdk.events import Event
from bcai.sdk.history import Metric
from bcai.sdk.portal import portal
from bcai.sdk.result import Result
from bcai.wire.jobs import JobSummary, JobView

__all__ = ["AsyncJob", "Job", "Result"]

Value = TypeVar("Value")


class Job:
    """One job. What it tells is current: `status`, `progress`, `logs`, `metrics` ask the gateway.

    Made by `SDK.create_job` and not sent before `execute()` or `submit()`.
    """

    def __init__(self, job: AsyncJob) -> None:
        self._job = job

    def __repr__(self) -> str:
        return repr(self._job).replace("AsyncJob", "Job")

    @property
    def id(self) -> str:
        """The id that the network gave. Raises InputError before the job is submitted."""
        return self._job.id

    @property
    def name(self) -> str:
        """The job's name."""
        return self._job.name

    @property
    def status(self) -> str:
        """Name of the state: CREATED, QUEUED, ASSIGNED, RUNNING, SUCCEEDED, FAILED, ..."""
        self._refresh()
        return self._job.status

    @property
    def progress(self) -> float:
        """How far the job is, from 0 to 100."""
        self._refresh()
        return self._job.progress

    @property
    def logs(self) -> str:
        """What the job wrote so far."""
        self._catch_up()
        return self._job.logs

    @property
    def metrics(self) -> list[Metric]:
        """What the job logged so far, as `{"step": 3, "loss": 0.25}`."""
        self._catch_up()
        return self._job.metrics

    @property
    def summary(self) -> JobSummary | None:
        """What the gateway last said of the job; None before it is submitted."""
        return self._job.summary

    def estimate(self) -> Cost:
        """What the job costs with the check that it asks for; nothing is sent.

        `runs` is how often it is done, as expected; `text` says it in words.
        """
        if self._job.summary is not None and not isinstance(self._job.summary, JobView):
            self.refresh()
        return self._job.estimate()

    def submit(self) -> Self:
        """Upload the job's files and submit it. A job that was submitted stays as it is."""
        portal().run(self._job.submit())
        return self

    @overload
    def execute(self, wait: Literal[True] = True, *, check: bool = True) -> Result: ...
    @overload
    def execute(self, wait: Literal[False], *, check: bool = True) -> Self: ...
    @overload
    def execute(
        self, wait: bool = True, *, check: bool = True, **options: bool
    ) -> Result | Self: ...
    def execute(self, wait: bool = True, *, check: bool = True, **options: bool) -> Result | Self:
        """Submit the job and wait for its end.

        Parameters
        ----------
        wait
            False (or `**{"async": True}`): return this job once it is durable; ask for `status`,
            `progress` and `logs`, and call `wait()` or `result()` later.
        check
            Raise if the job does not succeed; False: return the result in any case.

        Raises
        ------
        JobFailedError, JobCancelledError, JobTimedOutError
            The job ended without success; `.result` tells all about it.
        """
        wait = wants_wait(wait, options)
        self.submit()
        return self.wait(check=check) if wait else self

    def wait(self, timeout: float | None = None, *, check: bool = True) -> Result:
        """Wait for the job's end and return its result.

        Raises
        ------
        TimeoutError
            It did not end within `timeout` seconds; the job goes on.
        JobFailedError, JobCancelledError, JobTimedOutError
            The job ended without success, and `check` is true.
        """
        return portal().run(self._job.wait(timeout, check=check))

    def result(self, timeout: float | None = None, *, check: bool = True) -> Result:
        """Return the result; the same as `wait`."""
        return self.wait(timeout, check=check)

    def refresh(self) -> JobView:
        """Ask the gateway how the job is."""
        return portal().run(self._job.refresh())

    def cancel(self) -> None:
        """Cancel the job: at once if it waits, else as soon as its node hears of it."""
        portal().run(self._job.cancel())

    def events(self, after: int = 0) -> Iterator[Event]:
        """Yield what happened and happens to the job, until it has ended.

        A connection that breaks is opened again: no event is lost or repeated. Each event has a
        `sequence`, which is the `after` of a later call.
        """
        for batch in _iterate(self._job.follow(after)):
            yield from batch

    def stream_logs(self) -> Iterator[str]:
        """Yield the lines that the job writes, from its first to its last."""
        for lines in _iterate(self._job.follow_logs()):
            yield from lines

    def _refresh(self) -> None:
        if self._job.summary is not None and not self._job.ended:
            self.refresh()

    def _catch_up(self) -> None:
        if self._job.summary is not None:
            portal().run(self._job.catch_up())


def _iterate(values: AsyncGenerator[list[Value], None]) -> Iterator[list[Value]]:
    """Draw from an asynchronous generator, and close it with this one."""
    try:
        while (batch := portal().run(_next(values))) is not None:
            yield batch
    finally:
        with contextlib.suppress(RuntimeError):  # Python exits, and the loop is gone already
            portal().run(_close(values))


async def _next(values: AsyncGenerator[Value, None]) -> Value | None:
    return await anext(values, None)


async def _close(values: AsyncGenerator[Value, None]) -> None:
    await values.aclose()
