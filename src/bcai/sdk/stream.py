"""A job's events as they happen, over the client WebSocket, across restarts of the gateway."""

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from bcai.base.errors import BcaiError, BusyError, DependencyError, UnreachableError
from bcai.jobs.job import JobEvent
from bcai.sdk.notices import say_of_network
from bcai.sdk.transport import Transport, job_path, read_problem, status_problem, unreachable
from bcai.wire.clients import TO_CLIENT, Failed, Follow, FromClient, Submit, Submitted, Update
from bcai.wire.jobs import EventList, JobView
from bcai.wire.submission import JobSubmission

_MESSAGE_BYTES_MAX = 64 * 1024 * 1024  # a page of events, each with at most a chunk of log text
_PAGE_EVENTS = 1000

Watch = Callable[[Transport, str, int], AsyncGenerator[Update | None, None]]
"""Updates of one connection; None where it was silent for long."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that came together; `job` is set with the last batch, once the job has ended."""

    events: list[JobEvent]
    job: JobView | None = None


async def follow_job(
    transport: Transport, job_id: str, after: int = 0, *, watch: Watch | None = None
) -> AsyncGenerator[Batch, None]:
    """Yield a job's events after a cursor, each once and in order, until the job has ended.

    A connection that breaks is opened again from the cursor; what the gateway skipped because
    this watcher was slow is read from the store. Where all is silent, the job is asked for.
    """
    backoff = transport.backoff()
    while True:
        try:
            async with aclosing((watch or watch_over_socket)(transport, job_id, after)) as updates:
                async for update in updates:
                    backoff.reset()
                    if update is None:
                        job = await transport.get(job_path(job_id), JobView)
                        if job.state.is_final:
                            yield Batch(await _missing_events(transport, job_id, after, None), job)
                            return
                        continue
                    if update.skipped or (update.events and update.events[0].sequence > after + 1):
                        before = update.events[0].sequence if update.events else None
                        missing = await _missing_events(transport, job_id, after, before)
                        after = missing[-1].sequence if missing else after
                        yield Batch(missing)
                    fresh = [event for event in update.events if event.sequence > after]
                    after = fresh[-1].sequence if fresh else after
                    yield Batch(fresh, update.job)
                    if update.job is not None:
                        return
            problem: BcaiError = DependencyError(f"the gateway stopped telling about {job_id}")
        except (UnreachableError, DependencyError, BusyError) as error:
            problem = error
        delay_s = backoff.delay_s()
        if delay_s is None:
            raise problem
        if transport.reached:
            say_of_network("the connection to the network broke; trying again")
        await transport.sleep(delay_s)
        backoff.tries_max = transport.backoff().tries_max  # more patience once it was reached


async def stored_events(
    transport: Transport, job_id: str, after: int
) -> AsyncGenerator[list[JobEvent], None]:
    """Yield the events that are there already, page by page."""
    while True:
        page = await transport.get(
            job_path(job_id, "/events"), EventList, after=after, limit=_PAGE_EVENTS
        )
        if page.items:
            yield page.items
        if page.final or not page.items:
            return
        after = page.next_after


async def submit_over_socket(
    transport: Transport, submission: JobSubmission, idempotency_key: str
) -> JobView:
    """Submit a job over the WebSocket; the key makes a second try harmless."""
    request = Submit(id=uuid.uuid4().hex, job=submission, idempotency_key=idempotency_key)
    backoff = transport.backoff()
    while True:
        try:
            async with aclosing(_converse(transport, request)) as answers:
                async for answer in answers:
                    if isinstance(answer, Submitted):
                        return answer.job
                    if answer is None:
                        break
            problem: BcaiError = DependencyError("the gateway did not answer the submission")
        except (UnreachableError, DependencyError, BusyError) as error:
            problem = error
        delay_s = backoff.delay_s()
        if delay_s is None:
            raise problem
        await transport.sleep(delay_s)


async def _missing_events(
    transport: Transport, job_id: str, after: int, before: int | None
) -> list[JobEvent]:
    """Read the events between two cursors; all that are there if `before` is None."""
    events: list[JobEvent] = []
    async with aclosing(stored_events(transport, job_id, after)) as pages:
        async for page in pages:
            events += [event for event in page if before is None or event.sequence < before]
            if before is not None and page[-1].sequence >= before - 1:
                break
    return events


async def watch_over_socket(
    transport: Transport, job_id: str, after: int
) -> AsyncGenerator[Update | None, None]:
    """Yield a job's updates from one connection, until it ends or breaks."""
    request = Follow(id=uuid.uuid4().hex, job_id=job_id, after=after)
    async with aclosing(_converse(transport, request)) as answers:
        async for answer in answers:
            if not isinstance(answer, Submitted):
                yield answer


async def _converse(
    transport: Transport, request: FromClient
) -> AsyncGenerator[Submitted | Update | None, None]:
    """Send one request over a connection of its own and yield the answers to it.

    None says that nothing came for as long as a request may take.
    """
    endpoint = await transport.find_endpoint()
    try:
        async with connect(
            endpoint.socket_url,
            additional_headers=endpoint.headers,
            max_size=_MESSAGE_BYTES_MAX,
            open_timeout=transport.timeout_s,
            proxy=None if endpoint.is_loopback else True,
        ) as connection:
            transport.reached = True
            await connection.send(request.model_dump_json(exclude_none=True))
            while True:
                answer = await _receive(connection, transport.timeout_s)
                if answer is None:
                    yield None
                    continue
                if isinstance(answer, Failed) and answer.id in {request.id, ""}:
                    raise answer.problem.to_error()  # without id: it could not read the request
                if answer.id == request.id and not isinstance(answer, Failed):
                    yield answer
    except InvalidStatus as error:
        status = error.response.status_code
        described = read_problem(bytes(error.response.body or b""))
        raise (described or status_problem(status, endpoint)) from error
    except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError) as error:
        raise unreachable(endpoint, error) from error


async def _receive(
    connection: ClientConnection, silence_s: float
) -> Submitted | Update | Failed | None:
    text: str | bytes | None = None
    with anyio.move_on_after(silence_s):
        text = await connection.recv()
    if text is None:
        return None
    try:
        return TO_CLIENT.validate_json(text)
    except ValueError as error:
        raise DependencyError(
            "the gateway sent a message that this client cannot read",
            hint="are client and gateway of the same version?",
        ) from error
