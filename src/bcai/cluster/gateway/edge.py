"""The outermost layer of the gateway: every request passes it, before any route is looked up.

It authenticates, bounds the body, adds the security headers, writes the access log, and turns an
error that nobody foresaw into a 500 with an id.
"""

import logging
import time

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected

from bcai.base.errors import AuthError, BcaiError, TooLargeError
from bcai.base.units import format_size
from bcai.cluster.gateway import limits
from bcai.cluster.gateway.auth import authenticate
from bcai.cluster.gateway.problems import error_response, problem_of, problem_response
from bcai.cluster.gateway.services import services_of
from bcai.cluster.store.protocol import JobStore

PUBLIC = frozenset({"/v1/health", "/openapi.json"})
_BLOBS = "/v1/blobs/"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LOG = logging.getLogger("bcai.gateway")
_ACCESS = logging.getLogger("bcai.gateway.access")


class Edge:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "http":
            await _Exchange(self._app, scope, receive, send).serve()
        elif scope["type"] == "websocket":
            try:
                await self._serve_websocket(scope, receive, send)
            except* ClientDisconnected:
                _LOG.info("the client left before its WebSocket was open")

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let only known callers open a WebSocket, and close it once their key is revoked."""
        headers = Headers(scope=scope)
        scope.setdefault("state", {})
        try:
            store = services_of(HTTPConnection(scope)).store
            scope["state"]["caller"] = await authenticate(headers, store)
        except BcaiError as error:
            response = error_response(error)
            await response(scope, receive, send)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_revoked, headers, store, send, tasks.cancel_scope)
            await self._app(scope, receive, send)
            tasks.cancel_scope.cancel()


async def _until_revoked(
    headers: Headers, store: JobStore, send: Send, session: anyio.CancelScope
) -> None:
    """Close a WebSocket, and end its session, once its key is not accepted any more."""
    while True:
        await anyio.sleep(limits.KEY_LOOK_S)
        try:
            await authenticate(headers, store)
        except AuthError as error:
            await send(
                {"type": "websocket.close", "code": limits.CLOSE_POLICY, "reason": str(error)}
            )
            session.cancel()
        except BcaiError:  # the store is away or full: that says nothing about the key
            continue


class _Exchange:
    """One HTTP request and its response."""

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = Headers(scope=scope)
        self._body_bytes = 0
        self._body_bytes_max = limits.BODY_BYTES_MAX
        self._status = 0
        scope.setdefault("state", {})

    async def serve(self) -> None:
        """Serve it, whatever happens."""
        started_at = time.perf_counter()
        try:
            await self._check()
            await self._app(self._scope, self._receive_bounded, self._send_with_headers)
        except BcaiError as error:
            await self._answer(error_response(error))
        except ClientDisconnect:
            _LOG.info("the client left during its request")
        except Exception as error:  # noqa: BLE001 - the gateway's last line; problem_of logs it
            await self._answer(problem_response(problem_of(error)))
        finally:
            self._log(time.perf_counter() - started_at)

    async def _answer(self, response: Response) -> None:
        """Answer with an error, unless an answer has begun: then the server cuts it off."""
        if self._status:
            _LOG.warning("a response was cut off by an error")
            return
        await response(self._scope, self._receive, self._send_with_headers)

    async def _check(self) -> None:
        """Refuse who may not come in and what is too large, before the body is read."""
        path = self._scope["path"]
        if path.startswith("/v1/") and path not in PUBLIC:
            store = services_of(HTTPConnection(self._scope)).store
            self._scope["state"]["caller"] = await authenticate(self._headers, store)
        if path.startswith(_BLOBS):
            self._body_bytes_max = limits.BLOB_BYTES_MAX
        announced = self._headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._body_bytes_max:
            raise self._too_large()

    async def _receive_bounded(self) -> Message:
        """Pass on the body as long as it is within the limit."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._body_bytes += len(message.get("body", b""))
            if self._body_bytes > self._body_bytes_max:
                raise self._too_large()
        return message

    def _too_large(self) -> TooLargeError:
        limit = format_size(self._body_bytes_max)
        return TooLargeError(f"the request's body is over the limit of {limit}")

    async def _send_with_headers(self, message: Message) -> None:
        """Add the security headers."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)

    def _log(self, seconds: float) -> None:
        """Write one line; never the query or a header, which may hold secrets."""
        caller = self._scope["state"].get("caller")
        _ACCESS.log(
            logging.WARNING if self._status >= 500 else logging.INFO,
            "%s %s %d %.1f ms %s",
            self._scope["method"],
            ascii(self._scope["path"])[1:-1],
            self._status,
            seconds * 1000,
            caller.id if caller else "-",
        )
