"""One client's WebSocket: each request runs by itself, and an error ends only that request."""

from contextlib import aclosing

import anyio
from anyio.abc import TaskGroup
from pydantic import ValidationError
from starlette.websockets import WebSocket

from bcai.base.errors import BusyError, FormatError
from bcai.cluster.gateway.auth import owned_job
from bcai.cluster.gateway.frames import Frames, Gone
from bcai.cluster.gateway.limits import CLIENT_REQUESTS_MAX
from bcai.cluster.gateway.problems import complaint_of, problem_of
from bcai.cluster.gateway.services import Services
from bcai.cluster.gateway.submit import submit
from bcai.cluster.store.protocol import ApiKey
from bcai.wire.clients import (
    FROM_CLIENT,
    CancelJob,
    Failed,
    Follow,
    FromClient,
    Submit,
    Submitted,
    Update,
)
from bcai.wire.jobs import FieldError, JobView


class ClientSession:
    """A client's requests and their answers."""

    def __init__(self, socket: WebSocket, services: Services, caller: ApiKey) -> None:
        self._frames = Frames(socket)
        self._services = services
        self._caller = caller
        self._running = 0

    async def run(self) -> None:
        """Serve until the client leaves."""
        async with anyio.create_task_group() as tasks:
            try:
                while True:
                    await self._take(await self._frames.receive(), tasks)
            except Gone:
                tasks.cancel_scope.cancel()

    async def _take(self, frame: str | bytes, tasks: TaskGroup) -> None:
        """Start on one request."""
        try:
            message = FROM_CLIENT.validate_json(frame)
        except ValidationError as error:
            await self._frames.send(_unreadable(error))
            return
        if self._running >= CLIENT_REQUESTS_MAX:
            busy = BusyError(f"this WebSocket has {CLIENT_REQUESTS_MAX} requests running")
            await self._frames.send(Failed(id=message.id, problem=problem_of(busy)))
            return
        self._running += 1
        tasks.start_soon(self._answer, message)

    async def _answer(self, message: FromClient) -> None:
        """Answer one request."""
        try:
            await self._serve(message)
        except Gone:
            return  # the receiving side notices too, and ends the session
        except Exception as error:  # noqa: BLE001 - as for HTTP: problem_of logs it
            await self._fail(message.id, error)
        finally:
            self._running -= 1

    async def _serve(self, message: FromClient) -> None:
        """Do what a request asks for."""
        match message:
            case Submit():
                job, _ = await submit(
                    self._services, self._caller, message.job, message.idempotency_key
                )
                await self._frames.send(Submitted(id=message.id, job=JobView.of(job)))
            case CancelJob():
                job = await owned_job(self._services, self._caller, message.job_id)
                if not job.state.is_final:
                    job = await self._services.store.request_cancel(job.id)
                await self._frames.send(Submitted(id=message.id, job=JobView.of(job)))
            case Follow():
                await self._follow(message)

    async def _follow(self, message: Follow) -> None:
        """Send a job's events until it has ended."""
        job = await owned_job(self._services, self._caller, message.job_id)
        async with aclosing(self._services.changes.follow(job.id, message.after)) as batches:
            async for batch in batches:
                if not batch.events and batch.job is None:
                    continue  # the WebSocket has its own keep-alive
                update = Update(
                    id=message.id,
                    events=list(batch.events),
                    skipped=batch.skipped,
                    job=JobView.of(batch.job) if batch.job else None,
                )
                await self._frames.send(update)

    async def _fail(self, request_id: str, error: Exception) -> None:
        try:
            await self._frames.send(Failed(id=request_id, problem=problem_of(error)))
        except Gone:
            return


def _unreadable(error: ValidationError) -> Failed:
    """Say what is wrong with a frame; its id is not known."""
    fields = [
        FieldError(
            pointer="".join(f"/{part}" for part in item["loc"])[:200], detail=complaint_of(item)
        )
        for item in error.errors(include_url=False)[:20]
    ]
    problem = problem_of(FormatError("the frame is no request of a client"))
    return Failed(id="", problem=problem.model_copy(update={"errors": fields}))
