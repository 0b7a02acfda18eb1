"""Files of jobs, by the digest of their content. Who knows a digest may read it."""

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from bcai.base.errors import NotFoundError
from bcai.cluster.gateway.auth import AnyCaller
from bcai.cluster.gateway.limits import BLOB_BYTES_MAX
from bcai.cluster.gateway.openapi import DigestPath, content, problems
from bcai.cluster.gateway.services import UseServices

router = APIRouter(tags=["blobs"])

_PATH = "/v1/blobs/{digest}"
_BINARY = {"type": "string", "format": "binary"}
_OPAQUE = "application/octet-stream"


@router.put(
    _PATH,
    status_code=201,
    response_class=Response,
    responses={
        201: {"description": "Stored, and verified against its digest."},
        200: {"description": "It was here already."},
        **problems(401, 403, 413, 422),
    },
    openapi_extra={"requestBody": {"required": True, "content": {_OPAQUE: {"schema": _BINARY}}}},
)
async def put_blob(
    services: UseServices, _: AnyCaller, request: Request, digest: DigestPath
) -> Response:
    """Upload bytes under their digest."""
    if await services.blobs.size(digest) is not None:
        return Response(status_code=200)
    await services.blobs.put(digest, request.stream(), size_max=BLOB_BYTES_MAX)
    return Response(status_code=201)


@router.head(
    _PATH,
    response_class=Response,
    responses={
        200: {"description": "It is here; `Content-Length` is its size."},
        401: {"description": "The API key is missing or unknown."},
        403: {"description": "The API key may not do this."},
        404: {"description": "It is not here."},
        422: {"description": "Not a content address."},
    },
)
async def head_blob(services: UseServices, _: AnyCaller, digest: DigestPath) -> Response:
    """Ask whether a blob is here, and its size."""
    size = await services.blobs.size(digest)
    if size is None:
        raise _missing(digest)
    return Response(headers={"Content-Length": str(size), "Content-Type": _OPAQUE})


@router.get(
    _PATH,
    response_class=Response,
    responses={
        200: content("The bytes.", **{"application_octet-stream": _BINARY}),
        **problems(401, 403, 404, 422),
    },
)
async def get_blob(services: UseServices, _: AnyCaller, digest: DigestPath) -> Response:
    """Download the bytes of a digest."""
    size = await services.blobs.size(digest)
    if size is None:
        raise _missing(digest)
    headers = {
        "Content-Length": str(size),
        "ETag": f'"{digest}"',
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    return StreamingResponse(services.blobs.read(digest), media_type=_OPAQUE, headers=headers)


def _missing(digest: str) -> NotFoundError:
    return NotFoundError(f"no blob {digest}", hint=f"upload it: PUT /v1/blobs/{digest}")
