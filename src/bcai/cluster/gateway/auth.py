"""Who calls, and what they may do. Jobs of others do not exist for a client."""

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from bcai.base.errors import AuthError, ForbiddenError, NotFoundError
from bcai.cluster.gateway.services import Services
from bcai.cluster.store.protocol import ApiKey, JobStore, Role
from bcai.jobs.job import Job

_JOB_ID = re.compile(r"job_[0-9a-hjkmnp-tv-z]{26}(-[0-9]{1,2})?")  # of a replica, with its number
_SECRET = re.compile(r"[\x21-\x7e]{1,200}")
_SCHEME = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="An API key, `bcai_...`.")


async def authenticate(headers: Headers, store: JobStore) -> ApiKey:
    """Return the key that a request carries.

    Raises
    ------
    AuthError
        There is none, or it is unknown or revoked.
    """
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _SECRET.fullmatch(secret):
        raise AuthError(
            "no API key was sent",
            hint="send the header 'Authorization: Bearer <key>'; "
            "bcai and the SDK take the key from BCAI_API_KEY",
        )
    key = await store.find_key(secret)
    if key is None:
        raise AuthError(
            "the API key is unknown or revoked", hint="ask the network's owner for a key"
        )
    return key


def caller_of(connection: HTTPConnection) -> ApiKey:
    """Return the key that the edge has found for this request."""
    key = connection.state.caller
    assert isinstance(key, ApiKey)
    return key


def require(connection: HTTPConnection, *roles: Role) -> ApiKey:
    """Return the caller if its role is one of these; an admin may do everything."""
    key = caller_of(connection)
    if key.role is not Role.ADMIN and key.role not in roles:
        allowed = " or ".join([*roles, Role.ADMIN])
        raise ForbiddenError(
            f"the API key {key.name!r} is for the role {key.role}; this needs {allowed}"
        )
    return key


def _requiring(*roles: Role) -> Callable[..., ApiKey]:
    """Make a dependency that also tells OpenAPI about the key."""

    def check(connection: HTTPConnection, _: Annotated[object, Depends(_SCHEME)]) -> ApiKey:
        return require(connection, *roles)

    return check


AnyCaller = Annotated[ApiKey, Depends(_requiring(Role.CLIENT, Role.NODE))]
NodeCaller = Annotated[ApiKey, Depends(_requiring(Role.NODE))]
ClientCaller = Annotated[ApiKey, Depends(_requiring(Role.CLIENT))]
AdminCaller = Annotated[ApiKey, Depends(_requiring())]


async def owned_job(services: Services, caller: ApiKey, job_id: str) -> Job:
    """Return a job that the caller may see.

    Raises
    ------
    NotFoundError
        There is none, or it is someone else's: the two look the same.
    """
    if _JOB_ID.fullmatch(job_id):
        job = await services.store.get(job_id)
        if caller.role is Role.ADMIN or job.owner == caller.id:
            return job
    raise NotFoundError(f"no job {job_id[:80]!r}", hint="`bcai jobs list` shows your jobs")
