"""What the OpenAPI description says beyond what the routes' types say."""

import functools
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import bcai
from bcai.cluster.gateway.problems import MEDIA_TYPE
from bcai.wire.jobs import Problem

INFO: dict[str, Any] = {
    "title": "BCAI",
    "summary": "Machine-learning jobs on computers you do not have to trust.",
    "description": (
        "Submit a job, watch it, and fetch its results. Every error is a Problem Details document "
        "(RFC 9457); its `code` is explained in docs/errors.md. WebSockets: `/v1/ws` for clients, "
        "`/v1/nodes/connect` for nodes."
    ),
    "version": bcai.__version__,
    "contact": {"name": "BCAI", "url": "https://github.com/bcai-network/bcai"},
    "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "servers": [{"url": "/", "description": "This gateway."}],
    "openapi_tags": [
        {"name": "jobs", "description": "Submit jobs, watch them, fetch their results."},
        {"name": "blobs", "description": "Files of jobs, by the digest of their content."},
        {"name": "network", "description": "The gateway and the nodes."},
        {"name": "keys", "description": "API keys; for admins."},
    ],
}

_MEANING = {
    401: "The API key is missing or unknown.",
    403: "The API key may not do this, or a policy refuses it.",
    404: "It does not exist, or is not yours.",
    409: "Its state does not allow this.",
    413: "Over a limit.",
    422: "The request is invalid; `errors` names each field.",
    503: "The queue is full; retry later.",
}
_EXAMPLE_JOB = "job_01jd8x6m7q0000000000000000"
_EXAMPLE_DIGEST = "blake3:" + "0" * 64

JobId = Annotated[
    str,
    Path(
        description="A job's id.",
        examples=[_EXAMPLE_JOB],
        json_schema_extra={"pattern": "^job_[0-9a-hjkmnp-tv-z]{26}(-[0-9]{1,2})?$"},
    ),
]
KeyId = Annotated[
    str,
    Path(
        description="A key's id.",
        examples=["key_01jd8x6m7q0000000000000000"],
        max_length=100,
        pattern=r"^[!-~]+$",
    ),
]
DigestPath = Annotated[
    str,
    Path(
        description="A content address: BLAKE3 of the bytes.",
        examples=[_EXAMPLE_DIGEST],
        pattern="^blake3:[0-9a-f]{64}$",
    ),
]
After = Annotated[
    int, Query(ge=0, le=2**53, description="Only events with a sequence above this one.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[!-~]+$",
        description="The same key with the same body gives the same job, however often it is sent.",
    ),
]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document error responses."""
    return {
        status: {
            "description": _MEANING[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def content(description: str, **media_types: dict[str, Any]) -> dict[str, Any]:
    """Document a response whose body is no plain JSON model."""
    return {
        "description": description,
        "content": {name.replace("_", "/", 1): {"schema": s} for name, s in media_types.items()},
    }


def install(app: FastAPI) -> None:
    """Add what FastAPI leaves out of the description."""
    generate = app.openapi

    @functools.cache
    def described() -> dict[str, Any]:
        schema = generate()
        _add_models(schema, Problem)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
        return schema

    app.openapi = described


def _add_models(schema: dict[str, Any], *models: type[BaseModel]) -> None:
    """Add models that only error responses name."""
    _, definitions = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    known = schema["components"]["schemas"]
    for name, definition in definitions["$defs"].items():
        known.setdefault(name, definition)
