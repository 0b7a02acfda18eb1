"""A job's history: by pages, by long poll, or as Server-Sent Events."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import TypeAdapter
from starlette.responses import StreamingResponse

from bcai.cluster.gateway.auth import ClientCaller, owned_job
from bcai.cluster.gateway.limits import EVENTS_PAGE, EVENTS_PAGE_MAX, WAIT_S_MAX
from bcai.cluster.gateway.openapi import After, JobId, problems
from bcai.cluster.gateway.rendering import accepts, json_response
from bcai.cluster.gateway.services import Services, UseServices
from bcai.jobs.job import JobEvent
from bcai.wire.jobs import EventList, JobView

router = APIRouter(tags=["jobs"])

EVENT_STREAM = "text/event-stream"
_EVENT: TypeAdapter[JobEvent] = TypeAdapter(JobEvent)


@router.get(
    "/v1/jobs/{job_id}/events",
    response_model=EventList,
    responses={
        200: {
            "description": "A page as JSON. With `Accept: text/event-stream`, all events until "
            "the job has ended: `id` is the sequence, `event` the kind; the last, `end`, holds "
            "the job.",
            "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
        },
        **problems(401, 403, 404, 422),
    },
)
async def list_events(
    services: UseServices,
    caller: ClientCaller,
    request: Request,
    job_id: JobId,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=EVENTS_PAGE_MAX)] = EVENTS_PAGE,
    wait_s: Annotated[
        float, Query(ge=0, le=WAIT_S_MAX, description="Wait so long for the first event.")
    ] = 0.0,
    last_event_id: Annotated[
        str,
        Header(
            alias="Last-Event-ID",
            pattern="^[0-9]{0,15}$",
            description="Where an event stream goes on; `after` is used if it is not sent.",
        ),
    ] = "",
) -> Response:
    """Read a job's events, oldest first."""
    job = await owned_job(services, caller, job_id)
    if accepts(request, EVENT_STREAM):
        cursor = int(last_event_id) if last_event_id else after
        return StreamingResponse(
            _stream(services, job.id, cursor),
            media_type=EVENT_STREAM,
            headers={"X-Accel-Buffering": "no"},
        )
    events = await services.store.events(job.id, after=after, limit=limit)
    if wait_s and not events and not job.state.is_final:
        await services.changes.wait_beyond(job.id, after, wait_s)
        job = await services.store.get(job.id)  # before the events: none may follow a final state
        events = await services.store.events(job.id, after=after, limit=limit)
    page = EventList(
        items=events,
        next_after=events[-1].sequence if events else after,
        final=job.state.is_final and len(events) < limit,
    )
    return json_response(page)


async def _stream(services: Services, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Server-Sent Events, https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    async with aclosing(services.changes.follow(job_id, after)) as batches:
        async for batch in batches:
            if batch.skipped:
                yield _frame("skipped", b'{"skipped":%d}' % batch.skipped)
            for event in batch.events:
                yield _frame(event.kind, _EVENT.dump_json(event), event.sequence)
            if batch.job is not None:
                yield _frame("end", JobView.of(batch.job).model_dump_json().encode())
            elif not batch.events:
                yield b": still here\n\n"


def _frame(kind: str, data: bytes, sequence: int | None = None) -> bytes:
    """One event; JSON holds no line break, so one data line is enough."""
    cursor = b"" if sequence is None else b"id: %d\n" % sequence
    return b"%bevent: %b\ndata: %b\n\n" % (cursor, kind.encode(), data)
