"""Views as JSON responses, and which media type a client prefers."""

from collections.abc import Mapping

from blake3 import blake3
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response


def json_response(
    view: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Render a view, without validating it a second time."""
    return Response(
        view.model_dump_json(), status_code=status, media_type="application/json", headers=headers
    )


def tagged_response(request: Request, view: BaseModel) -> Response:
    """Render a view with an entity tag; 304 if the client has it already."""
    body = view.model_dump_json().encode()
    tag = f'"{blake3(body).hexdigest(16)}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    asked = request.headers.get("if-none-match", "")
    known = [part.strip().removeprefix("W/") for part in asked.split(",")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def accepts(request: Request, media_type: str) -> bool:
    """Whether a client names a media type in `Accept`; `*/*` names none."""
    ranges = request.headers.get("accept", "").lower().split(",")
    return any(part.partition(";")[0].strip() == media_type for part in ranges)
