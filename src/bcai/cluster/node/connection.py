"""The WebSocket to the gateway: dialled, and its failures in our own words."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from bcai.base.errors import AuthError, UnreachableError

MESSAGE_BYTES_MAX = 32 * 1024 * 1024  # an Assign with a 1 MiB script and 10,000 long paths fits
REFUSED = (401, 403)


class Connection(Protocol):
    """What the agent needs of a WebSocket. Both methods raise UnreachableError once it is gone."""

    async def send(self, text: str) -> None:
        """Send one message; waits while the other side does not read."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next message."""
        ...


Dial = Callable[[], AbstractAsyncContextManager[Connection]]


class _WebSocket:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise UnreachableError(f"the connection broke: {error}") from error

    async def receive(self) -> str | bytes:
        try:
            return await self._socket.recv()
        except ConnectionClosed as error:
            raise UnreachableError(f"the connection broke: {error}") from error


def dialler(url: str, api_key: str) -> Dial:
    """Make the function that connects to a gateway; what it returns is entered once.

    It raises `UnreachableError` where nobody answers, `AuthError` where the key is refused.
    """

    @asynccontextmanager
    async def dial() -> AsyncGenerator[Connection, None]:
        try:
            socket = await connect(
                url,
                additional_headers={"Authorization": f"Bearer {api_key}"},
                max_size=MESSAGE_BYTES_MAX,
                proxy=None if is_loopback(url) else True,
            )
        except InvalidStatus as error:
            raise _refusal(url, error.response.status_code) from error
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise UnreachableError(f"no connection to {url}: {error}") from error
        async with socket:
            yield _WebSocket(socket)

    return dial


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine: no proxy leads there."""
    host = url.partition("://")[2].rpartition("@")[2]
    return host.startswith(("127.", "localhost", "[::1]"))


def _refusal(url: str, status: int) -> AuthError | UnreachableError:
    if status in REFUSED:
        return AuthError(
            f"the gateway refuses this node's key (HTTP {status})",
            hint="make a key with the role 'node' and set BCAI_API_KEY",
        )
    return UnreachableError(f"{url} answers HTTP {status}")
