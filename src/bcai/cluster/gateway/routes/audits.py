"""What challengers ask and say."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from bcai.base.errors import NotFoundError
from bcai.cluster.gateway.auth import NodeCaller
from bcai.cluster.gateway.limits import PAGE_SIZE_MAX
from bcai.cluster.gateway.openapi import JobId, problems
from bcai.cluster.gateway.rendering import json_response
from bcai.cluster.gateway.services import UseServices
from bcai.cluster.gateway.vouched import check_agreement
from bcai.wire.audits import AuditList, VerdictMessage
from bcai.wire.jobs import JobView

router = APIRouter(tags=["network"])


@router.get("/v1/audits", response_model=AuditList, responses=problems(401, 403, 422))
async def list_audits(
    services: UseServices,
    _: NodeCaller,
    limit: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = 20,
) -> Response:
    """List jobs whose result waits for its audit, oldest first."""
    jobs = await services.store.audits_due(limit)
    return json_response(AuditList(items=[JobView.of(job) for job in jobs]))


@router.get("/v1/audits/{job_id}", response_model=JobView, responses=problems(401, 403, 404, 422))
async def get_audited(services: UseServices, _: NodeCaller, job_id: JobId) -> Response:
    """Look at one job whose result is checked, wherever that stands: to do it again."""
    job = await services.store.get(job_id)
    if job.settlement is None:
        raise NotFoundError(f"no result of a job {job_id[:80]!r} is checked")
    return json_response(JobView.of(job))


@router.post(
    "/v1/audits/{job_id}",
    response_model=JobView,
    response_description="The job with its settlement.",
    responses=problems(401, 403, 404, 409, 413, 422),
)
async def settle_job(
    services: UseServices, caller: NodeCaller, job_id: JobId, verdict: VerdictMessage
) -> Response:
    """Settle a result about which nobody lied. Harmless if repeated; refused for one's own work.

    Who agrees signs for it, and stands in the settlement with that. More may sign, later.

    That a node lied is not taken at one side's word: see `/v1/audits/{job_id}/dispute` where its
    trace differs, and `/v1/audits/{job_id}/accusation` for all else.
    """
    job = await services.store.get(job_id)
    signed = verdict.agreement
    vouched = await check_agreement(signed, job, services.blobs) if verdict.agrees else None
    settled = await services.store.settle(
        job_id, caller, verdict.message, agrees=verdict.agrees, vouched=vouched
    )
    return json_response(JobView.of(settled))
