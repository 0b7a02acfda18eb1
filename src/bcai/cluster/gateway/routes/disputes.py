"""Where the two sides of a dispute meet; the referee is in the scheduler."""

from typing import Annotated

import anyio
from fastapi import APIRouter, Query, Response

from bcai.cluster.gateway.auth import NodeCaller
from bcai.cluster.gateway.limits import WAIT_S_MAX
from bcai.cluster.gateway.openapi import JobId, problems
from bcai.cluster.gateway.rendering import json_response
from bcai.cluster.gateway.services import Services, UseServices
from bcai.jobs.dispute import DisputeRecord
from bcai.wire.disputes import AccusationMessage, AnswerMessage, DisputeMessage, DisputeView

router = APIRouter(tags=["network"])


@router.post(
    "/v1/audits/{job_id}/dispute",
    response_model=DisputeView,
    responses=problems(401, 403, 404, 409, 413, 422),
)
async def open_dispute(
    services: UseServices, caller: NodeCaller, job_id: JobId, message: DisputeMessage
) -> Response:
    """Dispute a result. The same once more gives the dispute that goes on."""
    record = await services.store.open_dispute(
        job_id,
        caller,
        size=message.size,
        root=message.root,
        clock_s=services.settings.dispute_clock_s,
        part=message.part,
    )
    return json_response(DisputeView.of(record))


@router.post(
    "/v1/audits/{job_id}/accusation",
    response_model=DisputeView,
    responses=problems(401, 403, 404, 409, 413, 422),
)
async def accuse_node(
    services: UseServices, caller: NodeCaller, job_id: JobId, message: AccusationMessage
) -> Response:
    """Say what else than the trace is not so. Nobody is asked: the referee looks, and rules.

    The same once more gives the dispute that goes on. How it ended stands where a dispute's end
    does, and who accused an honest node has lost it.
    """
    record = await services.store.open_dispute(
        job_id,
        caller,
        clock_s=services.settings.dispute_clock_s,
        accusation=(message.code, message.message),
    )
    return json_response(DisputeView.of(record))


@router.get(
    "/v1/audits/{job_id}/dispute",
    response_model=DisputeView,
    responses=problems(401, 403, 404, 422),
)
async def get_dispute(
    services: UseServices,
    _: NodeCaller,
    job_id: JobId,
    after: Annotated[
        int, Query(ge=-1, le=10_000, description="Wait for a question after this one.")
    ] = -1,
    wait_s: Annotated[
        float, Query(ge=0, le=WAIT_S_MAX, description="Wait so long for it, or for the end.")
    ] = 0.0,
) -> Response:
    """Look at the last dispute about a result."""
    record = await services.store.dispute_of(job_id)
    with anyio.move_on_after(wait_s):
        record = await _beyond(services, record, after)
    return json_response(DisputeView.of(record))


@router.post(
    "/v1/audits/{job_id}/dispute/answers",
    response_model=DisputeView,
    responses=problems(401, 403, 404, 409, 413, 422),
)
async def answer_question(
    services: UseServices, caller: NodeCaller, job_id: JobId, message: AnswerMessage
) -> Response:
    """Answer the present question, for the side whose API key it is. Harmless if repeated."""
    record = await services.store.say(job_id, caller, message.round, message.answer)
    return json_response(DisputeView.of(record))


async def _beyond(services: Services, record: DisputeRecord, after: int) -> DisputeRecord:
    """Return the dispute once it has a later question, or is over."""
    seen = 0
    while record.ruling is None and len(record.rounds) - 1 <= after:
        seen = await services.changes.next_round(seen)
        record = await services.store.dispute_of(record.job_id)
        if services.changes.closing:
            break
    return record
