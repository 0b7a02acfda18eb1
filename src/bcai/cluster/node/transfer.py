"""Blobs over HTTP, between this node and its gateway, with retries."""

import random
from collections.abc import AsyncGenerator

import anyio
import httpx

from bcai.base.backoff import backoff_s
from bcai.base.errors import BcaiError, DependencyError, NotFoundError, UnreachableError

TRIES_MAX = 8  # of a download: with the waits below 10 to 20 seconds, and nothing is lost by it
UPLOADS_MAX = 600  # an hour: what a job leaves may have taken days, and waits for a gateway
FIRST_WAIT_S = 0.2
WAIT_S_MAX = 8.0
CHUNK_BYTES = 1024 * 1024


class BlobTransfer:
    """Reads and writes the gateway's blobs."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def download(self, digest: str) -> AsyncGenerator[bytes, None]:
        """Stream a blob once, unverified.

        Raises
        ------
        NotFoundError
            The gateway does not have it.
        DependencyError
            The gateway failed or went away.
        """
        try:
            async with self._client.stream("GET", _path(digest)) as answer:
                if not answer.is_success:
                    raise _failure(answer, digest)
                async for chunk in answer.aiter_bytes(CHUNK_BYTES):
                    yield chunk
        except httpx.HTTPError as error:
            raise _unreachable(error, digest) from error

    async def upload(self, digest: str, content: bytes) -> None:
        """Store a blob, trying again while the gateway is away or fails.

        Raises
        ------
        DependencyError, NotFoundError
            The gateway refused it, or still fails after all tries.
        """
        failures = 0
        while True:
            try:
                return await self._upload_once(digest, content)
            except UnreachableError:
                failures += 1
                if failures == UPLOADS_MAX:
                    raise
            await pause(failures)

    async def _upload_once(self, digest: str, content: bytes) -> None:
        try:
            answer = await self._client.put(_path(digest), content=content)
        except httpx.HTTPError as error:
            raise _unreachable(error, digest) from error
        if not answer.is_success:
            raise _failure(answer, digest)


async def pause(failures: int) -> None:
    """Wait before the next try."""
    jitter = random.random()  # noqa: S311 - spreads load, guards nothing
    await anyio.sleep(backoff_s(failures, first_s=FIRST_WAIT_S, most_s=WAIT_S_MAX, jitter=jitter))


def _path(digest: str) -> str:
    return f"/v1/blobs/{digest}"


def _failure(answer: httpx.Response, digest: str) -> BcaiError:
    if answer.status_code == 404:
        return NotFoundError(f"the gateway does not have {digest}")
    kind = UnreachableError if answer.is_server_error else DependencyError
    return kind(f"the gateway answered {answer.status_code} for {digest}")


def _unreachable(error: httpx.HTTPError, digest: str) -> UnreachableError:
    return UnreachableError(f"the gateway went away during {digest}: {error or type(error)}")
