"""API keys, for admins."""

import secrets

from fastapi import APIRouter, Response

from bcai.base.errors import ConflictError
from bcai.cluster.gateway.auth import AdminCaller
from bcai.cluster.gateway.openapi import KeyId, problems
from bcai.cluster.gateway.rendering import json_response
from bcai.cluster.gateway.services import UseServices
from bcai.cluster.store.protocol import ApiKey, Role
from bcai.wire.keys import KeyCreated, KeyList, KeyRequest, KeyView

router = APIRouter(tags=["keys"])


def new_secret() -> str:
    """Make an API key's secret: 256 random bits."""
    return "bcai_" + secrets.token_urlsafe(32)


@router.get("/v1/keys", response_model=KeyList, responses=problems(401, 403))
async def list_keys(services: UseServices, _: AdminCaller) -> Response:
    """List all keys, revoked ones too."""
    keys = await services.store.list_keys()
    return json_response(KeyList(items=[_view(key) for key in keys]))


@router.post(
    "/v1/keys",
    status_code=201,
    response_model=KeyCreated,
    response_description="The key, with its secret: shown this once.",
    responses=problems(401, 403, 413, 422),
)
async def create_key(services: UseServices, _: AdminCaller, wanted: KeyRequest) -> Response:
    """Make a key. Keep its secret: it is not stored here."""
    secret = new_secret()
    key = await services.store.add_key(wanted.name, Role(wanted.role), secret)
    created = KeyCreated(**_view(key).model_dump(), secret=secret)
    return json_response(created, status=201)


@router.delete(
    "/v1/keys/{key_id}",
    response_model=KeyView,
    response_description="The key, which nobody can use any more.",
    responses=problems(401, 403, 404, 409, 422),
)
async def revoke_key(services: UseServices, caller: AdminCaller, key_id: KeyId) -> Response:
    """Revoke a key, at once and for good."""
    if key_id == caller.id:
        raise ConflictError("a key cannot revoke itself", hint="use another admin's key")
    return json_response(_view(await services.store.revoke_key(key_id)))


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        role=key.role.value,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )
