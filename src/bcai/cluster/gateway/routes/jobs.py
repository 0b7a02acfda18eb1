"""Submit, list, show and cancel jobs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from bcai.cluster.gateway import page_token
from bcai.cluster.gateway.auth import ClientCaller, owned_job
from bcai.cluster.gateway.limits import PAGE_SIZE, PAGE_SIZE_MAX
from bcai.cluster.gateway.openapi import IdempotencyKey, JobId, problems
from bcai.cluster.gateway.rendering import json_response, tagged_response
from bcai.cluster.gateway.services import UseServices
from bcai.cluster.gateway.submit import submit
from bcai.cluster.store.protocol import Role
from bcai.jobs.states import JobState
from bcai.wire.jobs import JobList, JobSummary, JobView
from bcai.wire.submission import JobSubmission

router = APIRouter(tags=["jobs"])

_LOCATION = {"Location": {"description": "The job's path.", "schema": {"type": "string"}}}
_REPLAYED = {"Idempotent-Replayed": {"description": "Always `true`.", "schema": {"type": "string"}}}


@router.post(
    "/v1/jobs",
    status_code=201,
    response_model=JobView,
    response_description="The job is durable and waits for a node.",
    responses={
        201: {"headers": _LOCATION},
        200: {
            "model": JobView,
            "description": "This idempotency key made this job before.",
            "headers": _LOCATION | _REPLAYED,
        },
        **problems(401, 403, 409, 413, 422, 503),
    },
)
async def submit_job(
    services: UseServices,
    caller: ClientCaller,
    submission: JobSubmission,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a job. It is acknowledged only once it is durable."""
    job, is_new = await submit(services, caller, submission, idempotency_key)
    headers = {"Location": f"/v1/jobs/{job.id}"}
    if not is_new:
        headers["Idempotent-Replayed"] = "true"
    return json_response(JobView.of(job), status=201 if is_new else 200, headers=headers)


@router.get("/v1/jobs", response_model=JobList, responses=problems(401, 403, 422))
async def list_jobs(
    services: UseServices,
    caller: ClientCaller,
    page_size: Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)] = PAGE_SIZE,
    page_token_: Annotated[
        str | None,
        Query(
            alias="page_token",
            max_length=500,
            description="The `next_page_token` of the page before.",
        ),
    ] = None,
    state: JobState | None = None,
) -> Response:
    """List your jobs, newest first; an admin sees everybody's."""
    owner = None if caller.role is Role.ADMIN else caller.id
    listing = f"jobs of {owner} that are {state}"
    cursor = None if page_token_ is None else page_token.unseal(page_token_, listing)
    page = await services.store.list_jobs(owner=owner, state=state, limit=page_size, cursor=cursor)
    token = None if page.next_cursor is None else page_token.seal(page.next_cursor, listing)
    items = [JobSummary.of(job) for job in page.jobs]
    return json_response(JobList(items=items, next_page_token=token))


@router.get(
    "/v1/jobs/{job_id}",
    response_model=JobView,
    responses={
        200: {
            "headers": {
                "ETag": {
                    "description": "Send it back as `If-None-Match`.",
                    "schema": {"type": "string"},
                }
            }
        },
        304: {"description": "Not changed since the `If-None-Match` that was sent."},
        **problems(401, 403, 404, 422),
    },
)
async def get_job(
    services: UseServices, caller: ClientCaller, request: Request, job_id: JobId
) -> Response:
    """Show one job."""
    return tagged_response(request, JobView.of(await owned_job(services, caller, job_id)))


@router.post(
    "/v1/jobs/{job_id}:cancel",
    response_model=JobView,
    response_description="The job, which is CANCELLED, will be soon, or had ended before.",
    responses=problems(401, 403, 404, 422),
)
async def cancel_job(services: UseServices, caller: ClientCaller, job_id: JobId) -> Response:
    """Cancel a job. Harmless if it was cancelled or has ended."""
    job = await owned_job(services, caller, job_id)
    if not job.state.is_final:
        job = await services.store.request_cancel(job.id)
    return json_response(JobView.of(job))
