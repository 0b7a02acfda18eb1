"""Text frames on a WebSocket: one sender at a time, and a departure is no error."""

import anyio
from pydantic import BaseModel
from starlette.websockets import WebSocket, WebSocketDisconnect

_REASON_BYTES_MAX = 120  # RFC 6455, 5.5: a control frame holds 125 bytes


class Gone(Exception):  # noqa: N818 - an event, no error
    """The other side has left."""


class Frames:
    """One WebSocket, whose two directions run in parallel."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._sending = anyio.Lock()

    async def receive(self) -> str | bytes:
        """Return the next frame's text; raises Gone."""
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise Gone
        text = message.get("text")
        return message.get("bytes", b"") if text is None else text

    async def send(self, message: BaseModel) -> None:
        """Send one message; waits while the other side does not read. Raises Gone."""
        text = message.model_dump_json()
        async with self._sending:
            try:
                await self._socket.send_text(text)
            except (WebSocketDisconnect, RuntimeError):  # the latter: closed by our own side
                raise Gone from None

    async def close(self, code: int, reason: str) -> None:
        """Close it with a reason, if it is still open."""
        try:
            await self._socket.close(
                code, reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")
            )
        except (WebSocketDisconnect, RuntimeError):
            return
