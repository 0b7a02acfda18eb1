"""What a job printed."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from bcai.cluster.gateway.auth import ClientCaller, owned_job
from bcai.cluster.gateway.limits import EVENTS_PAGE, EVENTS_PAGE_MAX
from bcai.cluster.gateway.openapi import After, JobId, problems
from bcai.cluster.gateway.rendering import accepts, json_response
from bcai.cluster.gateway.services import Services, UseServices
from bcai.jobs.job import EventKind, JobEvent
from bcai.wire.jobs import EventList

router = APIRouter(tags=["jobs"])

_KINDS = (EventKind.LOG,)


@router.get(
    "/v1/jobs/{job_id}/logs",
    response_class=Response,
    responses={
        200: {
            "description": "All of the text. With `Accept: application/json`, a page of events.",
            "content": {
                "text/plain": {"schema": {"type": "string"}, "example": "epoch 1 loss 0.31\n"},
                "application/json": {"schema": {"$ref": "#/components/schemas/EventList"}},
            },
        },
        **problems(401, 403, 404, 422),
    },
)
async def get_logs(
    services: UseServices,
    caller: ClientCaller,
    request: Request,
    job_id: JobId,
    follow: Annotated[bool, Query(description="Text only: go on until the job has ended.")] = False,
    after: After = 0,
    limit: Annotated[
        int, Query(ge=1, le=EVENTS_PAGE_MAX, description="JSON only: events on a page.")
    ] = EVENTS_PAGE,
) -> Response:
    """Read what a job printed, as plain text or as a page of events."""
    job = await owned_job(services, caller, job_id)
    if accepts(request, "application/json"):
        events = await services.store.events(job.id, after=after, limit=limit, kinds=_KINDS)
        page = EventList(
            items=events,
            next_after=events[-1].sequence if events else after,
            final=job.state.is_final and len(events) < limit,
        )
        return json_response(page)
    read = _followed if follow else _stored
    return StreamingResponse(read(services, job.id, after), media_type="text/plain; charset=utf-8")


async def _stored(services: Services, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Give out the text that is there."""
    while page := await services.store.events(job_id, after=after, limit=EVENTS_PAGE, kinds=_KINDS):
        yield _text(page)
        after = page[-1].sequence


async def _followed(services: Services, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Give out the text as it comes."""
    async with aclosing(services.changes.follow(job_id, after)) as batches:
        async for batch in batches:
            if batch.skipped:
                yield f"[{batch.skipped} events skipped: read too slowly]\n".encode()
            text = _text([event for event in batch.events if event.kind is EventKind.LOG])
            if text:
                yield text


def _text(events: list[JobEvent]) -> bytes:
    """Join the text of log events."""
    return "".join(str(event.body.get("text", "")) for event in events).encode()
