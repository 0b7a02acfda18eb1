"""How a job ended, and its outputs."""

import json
import mimetypes
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Response
from starlette.responses import StreamingResponse

from bcai.base.errors import ConflictError, NotFoundError
from bcai.cluster.gateway.auth import ClientCaller, owned_job
from bcai.cluster.gateway.openapi import JobId, content, problems
from bcai.cluster.gateway.problems import problem_response
from bcai.cluster.gateway.rendering import json_response
from bcai.cluster.gateway.services import UseServices
from bcai.jobs.job import Job
from bcai.jobs.outcome import Output
from bcai.wire.jobs import Problem, ResultView

router = APIRouter(tags=["jobs"])

_OPAQUE = "application/octet-stream"
# A file's type is guessed from its name, and only these are said: nothing that a browser would run.
_FILE_TYPES = frozenset(
    {"application/json", "image/gif", "image/jpeg", "image/png", "text/csv", "text/plain"}
)
_BINARY = {"type": "string", "format": "binary"}


@router.get(
    "/v1/jobs/{job_id}/results",
    response_model=ResultView,
    responses=problems(401, 403, 404, 409, 422),
)
async def get_results(services: UseServices, caller: ClientCaller, job_id: JobId) -> Response:
    """Say how a job ended; 409 while it has not."""
    job = await owned_job(services, caller, job_id)
    if job.outcome is None:
        return _not_ended(job)
    view = ResultView(
        job_id=job.id,
        state=job.state,
        outcome=job.outcome,
        attempts=job.attempts,
        warnings=job.warnings,
        settlement=job.settlement,
    )
    return json_response(view)


@router.get(
    "/v1/jobs/{job_id}/outputs/{name:path}",
    response_class=Response,
    responses={
        200: content(
            "A plain value as JSON; arrays and state dicts as safetensors; files as they are.",
            **{"application_json": {}, "application_octet-stream": _BINARY},
            **{name.replace("/", "_", 1): _BINARY for name in sorted(_FILE_TYPES)[1:]},
        ),
        **problems(401, 403, 404, 409, 422),
    },
)
async def get_output(
    services: UseServices,
    caller: ClientCaller,
    job_id: JobId,
    name: Annotated[str, Path(description="The output's name.", examples=["loss"])],
) -> Response:
    """Fetch one output of a job that has ended."""
    job = await owned_job(services, caller, job_id)
    if job.outcome is None:
        return _not_ended(job)
    for output in job.outcome.outputs:
        if output.name == name:
            return await _render(services, output)
    names = ", ".join(output.name for output in job.outcome.outputs[:20])
    raise NotFoundError(f"the job has no output {name[:80]!r}", hint=f"it has: {names or 'none'}")


async def _render(services: UseServices, output: Output) -> Response:
    """Send an output's value or its blob."""
    if output.digest is None:
        return Response(json.dumps(output.value), media_type="application/json")
    size = await services.blobs.size(output.digest)
    if size is None:
        raise NotFoundError(f"the content of output {output.name!r} is not here any more")
    file_name = output.name.rpartition("/")[2]
    media_type = _OPAQUE
    if output.kind != "file":
        file_name += ".safetensors"
    elif (guess := mimetypes.guess_type(file_name)[0]) in _FILE_TYPES:
        media_type = guess or _OPAQUE
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file_name, safe='')}",
        "ETag": f'"{output.digest}"',
    }
    return StreamingResponse(
        services.blobs.read(output.digest), media_type=media_type, headers=headers
    )


def _not_ended(job: Job) -> Response:
    """Refuse with the job's state."""
    hint = f"GET /v1/jobs/{job.id}/events?wait_s=30 waits for news"
    error = ConflictError(f"the job is {job.state}; it has results once it has ended", hint=hint)
    return problem_response(Problem.of(error, state=job.state))
