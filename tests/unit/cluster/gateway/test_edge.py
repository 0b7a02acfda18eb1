"""What the edge does with a WebSocket whose key is revoked while it is open."""

from types import SimpleNamespace
from typing import cast

import anyio
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected

from bcai.base.errors import DependencyError, ResourceError
from bcai.cluster.gateway import limits
from bcai.cluster.gateway.admission import NodeCache
from bcai.cluster.gateway.changes import Changes
from bcai.cluster.gateway.edge import Edge
from bcai.cluster.gateway.services import Services
from bcai.cluster.store.protocol import ApiKey, BlobStore, JobStore, Role
from bcai.proof.keys import SigningKey
from bcai.settings import Settings

pytestmark = pytest.mark.anyio


class Keys:
    """A store that knows one key, for as many looks as it is told; two more fail."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.failures = iter([None, ResourceError("full"), DependencyError("away")])

    async def find_key(self, secret: str) -> ApiKey | None:
        failure = next(self.failures, None)
        if failure is not None:
            raise failure
        self.looks -= 1
        return ApiKey("key_1", "laptop", Role.CLIENT, 0.0) if self.looks >= 0 else None


async def served(session: ASGIApp, send: Send, looks: int) -> None:
    """Serve one WebSocket, whose key is known for so many looks."""
    store = cast("JobStore", Keys(looks))
    services = Services(
        Settings(),
        store,
        cast("BlobStore", None),
        Changes(store),
        NodeCache(store, 1.0),
        SigningKey.from_random(bytes(32)),
    )

    async def receive() -> Message:
        raise AssertionError("the session reads nothing")

    scope: Scope = {
        "type": "websocket",
        "app": SimpleNamespace(state=SimpleNamespace(services=services)),
        "headers": [(b"authorization", b"Bearer bcai_secret")],
        "extensions": {"websocket.http.response": {}},
    }
    with anyio.fail_after(60):
        await Edge(session)(scope, receive, send)


async def test_a_websocket_ends_soon_after_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEY_LOOK_S", 0.0)
    sent: list[Message] = []

    async def session(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep_forever()

    async def send(message: Message) -> None:
        sent.append(message)

    await served(session, send, looks=3)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]


@pytest.mark.parametrize("looks", [1, 0])
async def test_a_client_that_leaves_at_once_is_no_error(looks: int) -> None:
    """Before its WebSocket is accepted, or refused."""
    tried: list[str] = []

    async def session(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async def send(message: Message) -> None:
        tried.append(message["type"])
        raise ClientDisconnected

    await served(session, send, looks)
    assert tried == ["websocket.accept" if looks else "websocket.http.response.start"]
