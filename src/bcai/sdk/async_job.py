"""A job in asynchronous code. `job.py` is the synchronous face of it."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal, Self, overload

import anyio
import anyio.to_thread

from bcai.base.errors import InputError
from bcai.jobs.cost import Cost, cost_of, cost_of_job
from bcai.jobs.states import JobState
from bcai.jobs.verify import parse_verify
from bcai.sdk.draft import Draft
from bcai.sdk.events import Event, LogEvent, typed_event
from bcai.sdk.history import History, Metric
from bcai.sdk.notices import say_of_job
from bcai.sdk.outputs import Outputs
from bcai.sdk.result import Result
from bcai.sdk.signing import sign_submission
from bcai.sdk.stream import follow_job, stored_events
from bcai.sdk.transport import Transport, job_path
from bcai.sdk.uploads import upload_files
from bcai.wire.jobs import JobSummary, JobView
from bcai.wire.submission import JobSubmission

CREATED = "CREATED"  # the status of a job that was not submitted yet


class AsyncJob:
    """One job: made here and not yet sent, or known to the network.

    Attributes that tell about the job (`status`, `progress`, `logs`, `metrics`) are what is known
    so far: `refresh()` asks the gateway for the state, `catch_up()` for new logs and metrics, and
    waiting or following keeps all of them current.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        draft: Draft | None = None,
        summary: JobSummary | None = None,
    ) -> None:
        self._transport = transport
        self._draft = draft
        self._summary = summary
        self._blocking_outputs = False
        self._history = History()
        self._result: Result | None = None
        self._submitting = anyio.Lock()
        self._idempotency_key = uuid.uuid4().hex  # a job that is sent twice is still one job

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._summary.id if self._summary else ''} {self.status}>"

    @property
    def id(self) -> str:
        """The id that the network gave.

        Raises
        ------
        InputError
            The job was not submitted yet.
        """
        return self._known().id

    @property
    def name(self) -> str:
        """The job's name."""
        if self._summary is not None:
            return self._summary.name
        return self._draft.submission.name if self._draft else ""

    @property
    def status(self) -> str:
        """Name of the state; CREATED before the job is submitted."""
        return str(self._summary.state) if self._summary else CREATED

    @property
    def progress(self) -> float:
        """How far the job is, from 0 to 100; 100 once it SUCCEEDED."""
        if self._summary is None:
            return 0.0
        if self._summary.state is JobState.SUCCEEDED:
            return 100.0
        return max(self._history.percent, 100 * self._summary.progress)

    @property
    def logs(self) -> str:
        """What the job wrote so far."""
        return self._history.logs

    @property
    def metrics(self) -> list[Metric]:
        """What the job logged so far, as `{"step": 3, "loss": 0.25}`."""
        return self._history.metrics

    @property
    def ended(self) -> bool:
        """Whether the job is known to be in a final state."""
        return self._summary is not None and self._summary.state.is_final

    @property
    def summary(self) -> JobSummary | None:
        """What the gateway last said of the job; None before it is submitted."""
        return self._summary

    def blocking(self) -> Self:
        """Let the result's outputs block while they are fetched, for the synchronous face."""
        self._blocking_outputs = True
        return self

    def estimate(self) -> Cost:
        """What the job costs with the check that it asks for; nothing is sent or asked."""
        if self._draft is not None:
            asked = self._draft.submission
            return cost_of(parse_verify(asked.verify), asked.timeout, captured=asked.capture)
        known = self._known()
        if not isinstance(known, JobView):
            raise InputError("only the job's id is known", hint="call refresh() first")
        return cost_of_job(known.spec)

    async def submit(self) -> Self:
        """Upload the job's files and submit it. A job that was submitted stays as it is."""
        async with self._submitting:
            if self._summary is None:
                self.adopt(await self._send(await self.prepare()))
        return self

    async def prepare(self) -> JobSubmission:
        """Upload the job's files; return the signed submission that names them."""
        if self._draft is None:
            raise InputError("this job was submitted already")
        files = await upload_files(self._transport, self._draft.files)
        fields = self._draft.submission.model_dump(exclude_unset=True)
        whole = JobSubmission.model_validate({**fields, "files": files} if files else fields)
        return await anyio.to_thread.run_sync(sign_submission, whole, self._idempotency_key)

    def adopt(self, summary: JobSummary) -> None:
        """Take in what the gateway says of the job, and pass on its warnings."""
        self._summary = summary
        for warning in summary.warnings:
            say_of_job(warning)

    @overload
    async def execute(self, wait: Literal[True] = True, *, check: bool = True) -> Result: ...
    @overload
    async def execute(self, wait: Literal[False], *, check: bool = True) -> Self: ...
    @overload
    async def execute(
        self, wait: bool = True, *, check: bool = True, **options: bool
    ) -> Result | Self: ...
    async def execute(
        self, wait: bool = True, *, check: bool = True, **options: bool
    ) -> Result | Self:
        """Submit the job and wait for its end.

        Parameters
        ----------
        wait
            False (or `**{"async": True}`): return the job itself once it is durable.
        check
            Raise if the job does not succeed; False: return the result in any case.

        Raises
        ------
        JobFailedError, JobCancelledError, JobTimedOutError
            The job ended without success; `.result` tells all about it.
        """
        wait = wants_wait(wait, options)
        await self.submit()
        return await self.wait(check=check) if wait else self

    async def wait(self, timeout: float | None = None, *, check: bool = True) -> Result:  # noqa: ASYNC109 - as concurrent.futures has it
        """Wait for the job's end and return its result.

        Raises
        ------
        TimeoutError
            It did not end within `timeout` seconds; the job goes on.
        JobFailedError, JobCancelledError, JobTimedOutError
            The job ended without success, and `check` is true.
        """
        with anyio.move_on_after(timeout):
            if not self.ended:
                async with aclosing(self.follow(self._history.after)) as batches:
                    async for _ in batches:
                        pass
            result = await self._final_result()
            if check:
                result.check()
            return result
        raise TimeoutError(f"{self.id} did not end within {timeout} s; it goes on")

    async def result(self, timeout: float | None = None, *, check: bool = True) -> Result:  # noqa: ASYNC109 - as concurrent.futures has it
        """Return the result; the same as `wait`."""
        return await self.wait(timeout, check=check)

    async def refresh(self) -> JobView:
        """Ask the gateway how the job is."""
        view = await self._transport.get(job_path(self.id), JobView)
        self.adopt(view)
        return view

    async def catch_up(self) -> None:
        """Read the logs and metrics that came since."""
        async with aclosing(stored_events(self._transport, self.id, self._history.after)) as pages:
            async for page in pages:
                self._history.absorb(page)

    async def cancel(self) -> None:
        """Cancel the job: at once if it waits, else as soon as its node hears of it."""
        self.adopt(await self._transport.post(job_path(self.id, ":cancel"), JobView))

    async def events(self, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield what happened and happens to the job, until it has ended.

        A connection that breaks is opened again: no event is lost or repeated. Each event has a
        `sequence`, which is the `after` of a later call.
        """
        async with aclosing(self.follow(after)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def stream_logs(self) -> AsyncGenerator[str, None]:
        """Yield the lines that the job writes, from its first to its last."""
        async with aclosing(self.follow_logs()) as batches:
            async for lines in batches:
                for line in lines:
                    yield line

    async def follow_logs(self) -> AsyncGenerator[list[str], None]:
        """Yield log lines as `stream_logs()` does, in the batches in which they come."""
        rest = {"stdout": "", "stderr": ""}
        async with aclosing(self.follow()) as batches:
            async for batch in batches:
                lines: list[str] = []
                for event in batch:
                    if isinstance(event, LogEvent):
                        *whole, rest[event.stream] = (rest[event.stream] + event.text).split("\n")
                        lines += whole
                yield lines
        yield [text for text in rest.values() if text]

    async def follow(self, after: int = 0) -> AsyncGenerator[list[Event], None]:
        """Yield events as `events()` does, in the batches in which they come."""
        async with aclosing(follow_job(self._transport, self.id, after)) as batches:
            async for batch in batches:
                self._history.absorb(batch.events)
                if batch.job is not None:
                    self.adopt(batch.job)
                if batch.events:
                    yield [typed_event(event) for event in batch.events]

    async def _send(self, submission: JobSubmission) -> JobView:
        return await self._transport.post(
            "/v1/jobs",
            JobView,
            body=submission,
            headers={"Idempotency-Key": self._idempotency_key},
        )

    async def _final_result(self) -> Result:
        if self._result is None:
            await self.catch_up()
            view = self._summary if isinstance(self._summary, JobView) else await self.refresh()
            if not view.state.is_final or view.outcome is None:
                view = await self.refresh()
            outcome = view.outcome
            self._result = Result(
                job=view,
                outputs=Outputs(
                    outcome.outputs if outcome else (),
                    self._fetch,
                    blocking=self._blocking_outputs,
                    besides=[outcome.receipt] if outcome and outcome.receipt else [],
                ),
                logs=self._history.logs,
                metrics=tuple(self._history.metrics),
                warnings=_without_repeats(
                    *view.warnings,
                    *(view.outcome.warnings if view.outcome else ()),
                ),
            )
            for warning in self._result.warnings:
                say_of_job(warning)
        return self._result

    async def _fetch(self, digest: str) -> bytes:
        return (await self._transport.request("GET", f"/v1/blobs/{digest}")).content

    def _known(self) -> JobSummary:
        if self._summary is None:
            raise InputError("the job has no id yet", hint="submit it first: job.execute()")
        return self._summary


def wants_wait(wait: bool, options: dict[str, bool]) -> bool:
    """Read `async=True`, which Python takes only as `**{"async": True}`."""
    unknown = sorted(options.keys() - {"async"})
    if unknown:
        raise TypeError(f"execute() got an unexpected keyword argument {unknown[0]!r}")
    return wait and not options.get("async", False)


def _without_repeats(*texts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
