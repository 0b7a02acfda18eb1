"""What the edge does with a WebSocket whose key is revoked while it is open."""

from types import SimpleNamespace
from typing import cast

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from bcai.base.errors import DependencyError, ResourceError
from bcai.cluster.gateway import limits
from bcai.cluster.gateway.admission import NodeCache
from bcai.cluster.gateway.changes import Changes
from bcai.cluster.gateway.edge import Edge
from bcai.cluster.gateway.services import Services
from bcai.cluster.store.protocol import ApiKey, BlobStore, JobStore, Role
from bcai.proof.keys import SigningKey
from bcai.settings import Settings


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


@pytest.mark.anyio
async def test_a_websocket_ends_soon_after_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEY_LOOK_S", 0.0)
    store = cast("JobStore", Keys(looks=3))
    services = Services(
        Settings(),
        store,
        cast("BlobStore", None),
        Changes(store),
        NodeCache(store, 1.0),
        SigningKey.from_random(bytes(32)),
    )
    sent: list[Message] = []

    async def session(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep_forever()

    async def receive() -> Message:
        raise AssertionError("the session reads nothing")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "app": SimpleNamespace(state=SimpleNamespace(services=services)),
        "headers": [(b"authorization", b"Bearer bcai_secret")],
    }
    with anyio.fail_after(60):
        await Edge(session)(scope, receive, send)
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1008)]
