"""What every route and session of one gateway shares."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

import anyio
from fastapi import Depends
from starlette.requests import HTTPConnection

from bcai.cluster.gateway.admission import NodeCache
from bcai.cluster.gateway.changes import Changes
from bcai.cluster.gateway.inspection import Inspector
from bcai.cluster.gateway.node_registry import NodeRegistry
from bcai.cluster.store.protocol import BlobStore, JobStore
from bcai.proof.keys import SigningKey, own_key
from bcai.settings import Settings

KEY_FILE = "gateway.pem"


@dataclass(frozen=True, slots=True)
class Services:
    """The stores, and what watches them."""

    settings: Settings
    store: JobStore
    blobs: BlobStore
    changes: Changes
    nodes: NodeCache
    signing_key: SigningKey
    registry: NodeRegistry = field(default_factory=NodeRegistry)
    inspector: Inspector = field(default_factory=Inspector)


@asynccontextmanager
async def running_services(
    settings: Settings, store: JobStore, blobs: BlobStore
) -> AsyncGenerator[Services, None]:
    """Start the store and the watch over it; stop both at the end."""
    key = own_key(settings.network_folder / KEY_FILE, os.urandom)
    await store.start()
    try:
        changes = Changes(store)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(changes.run)
            nodes = NodeCache(store, settings.lease_s)
            yield Services(settings, store, blobs, changes, nodes, key)
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await store.stop()


def services_of(connection: HTTPConnection) -> Services:
    """Return the services that serve a request or WebSocket."""
    services = connection.app.state.services
    assert isinstance(services, Services)
    return services


UseServices = Annotated[Services, Depends(services_of)]
