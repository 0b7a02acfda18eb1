"""Errors as Problem Details (RFC 9457): what a client reads instead of a traceback."""

import json
import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from bcai.base.errors import AuthError, BcaiError, BusyError, FormatError, InputError
from bcai.base.suggest import did_you_mean
from bcai.base.wording import found_and_expected
from bcai.wire.jobs import FieldError, Problem
from bcai.wire.submission import FileMessage, HardwareMessage, JobSubmission, LimitsMessage

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger("bcai.gateway")
_FOUND_CHARACTERS = 80
_FIELDS = [
    name
    for model in (JobSubmission, HardwareMessage, LimitsMessage, FileMessage)
    for name in model.model_fields
]
_CODES = {400: "input.invalid", 404: "input.not_found", 413: "input.too_large"}


def problem_of(error: Exception) -> Problem:
    """Describe an error; one that nobody foresaw is logged under an id, and only that is told."""
    if isinstance(error, BcaiError):
        return Problem.of(error)
    reference = secrets.token_hex(6)
    _LOG.error("unexpected error %s", reference, exc_info=error)
    return Problem.of(BcaiError(f"unexpected error; the gateway logged it as {reference}"))


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Render a problem."""
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def error_response(error: BcaiError) -> Response:
    """Render a deliberate error, with the headers that its status calls for."""
    headers: dict[str, str] = {}
    if isinstance(error, AuthError) and error.code == AuthError.code:
        headers["WWW-Authenticate"] = 'Bearer realm="bcai"'
    if isinstance(error, BusyError):
        headers["Retry-After"] = "1"
    return problem_response(Problem.of(error), headers)


def status_response(status: int, detail: str, headers: Mapping[str, str] | None) -> Response:
    """Render a bare HTTP status, such as a path that does not exist."""
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=_CODES.get(status, "input.invalid" if status < 500 else "internal"),
    )
    return problem_response(problem, headers)


def validation_problem(request: Request, error: RequestValidationError) -> Problem:
    """Name every field that is wrong: what was found and what was expected."""
    items: list[dict[str, Any]] = list(error.errors())
    fields = [_field_error(item, error.body) for item in items]
    hint = ""
    if any(item["loc"] == ("body",) for item in items):
        content_type = request.headers.get("content-type", "nothing")
        if "json" not in content_type:
            hint = f"send the header 'Content-Type: application/json'; found {content_type[:80]!r}"
    if any(item["type"] == "json_invalid" for item in items):
        return Problem.of(FormatError("the request's body cannot be read as JSON"), errors=fields)
    message = f"{len(fields)} field(s) of the request are wrong"
    return Problem.of(InputError(message, hint=hint), errors=fields)


def complaint_of(item: Mapping[str, Any]) -> str:
    """What pydantic says of one wrong field, in our words."""
    found = _shortened(item.get("input"))
    return found_and_expected(item["type"], str(item["msg"]), found)


def _field_error(item: dict[str, Any], body: object) -> FieldError:
    """Describe one wrong field."""
    place, *path = item["loc"]
    if item["type"] == "json_invalid":
        return FieldError(pointer="", detail=_bad_json(item, str(body)))
    tokens = [str(part).replace("~", "~0").replace("/", "~1")[:200] for part in path]
    pointer = "".join(f"/{token}" for token in tokens)
    detail = complaint_of(item)
    if item["type"] == "extra_forbidden":
        detail += did_you_mean(str(path[-1]), _FIELDS)
    return FieldError(pointer=pointer if place == "body" else f"{place}{pointer}", detail=detail)


def _bad_json(item: dict[str, Any], text: str) -> str:
    """Say where JSON breaks off."""
    before = text[: int(item["loc"][-1])]
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    return f"not JSON: {item['ctx']['error']} at line {line}, column {column}"


def _shortened(value: object) -> str:
    """Show a value, briefly, and whatever it is made of."""
    text = json.dumps(value, default=repr)
    if len(text) <= _FOUND_CHARACTERS:
        return text
    return f"{text[:_FOUND_CHARACTERS]}... ({len(text)} characters)"
