"""A whole network on this machine: `bcai up`, and the one that a client starts when it needs it."""

import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from bcai.base.errors import BcaiError, DependencyError
from bcai.base.groups import errors_in
from bcai.cluster.gateway.address import address_of
from bcai.cluster.network.child import Child, log_tail
from bcai.cluster.network.commands import gateway_command, node_commands, scheduler_command
from bcai.cluster.network.events import NetworkEvent, Tell, tell_people, tell_programs
from bcai.cluster.network.gateway_client import GatewayClient
from bcai.cluster.network.identity import (
    NetworkIdentity,
    read_identity,
    register_keys,
    take_network_lock,
    write_identity,
    write_private,
)
from bcai.cluster.network.idle import until_idle
from bcai.cluster.network.port import listen
from bcai.cluster.store.open import open_store
from bcai.proof.keys import key_id, own_key
from bcai.settings import Settings

READY_S_MAX = 90.0  # four interpreters start, on a slow and busy machine
READY_LOOK_S = 0.05
STARTS_MAX = 3  # a gateway that dies as often before it ever answered has a reason
GRACE_S = 10.0  # beyond a node's own grace
ENDPOINT_FILE = "endpoint.json"


@dataclass(frozen=True, slots=True)
class _Network:
    """The parts of a network that is starting or up."""

    settings: Settings
    tell: Tell
    url: str
    key: str
    client: GatewayClient
    gateway: Child
    scheduler: Child
    nodes: Sequence[Child]

    @property
    def endpoint_file(self) -> Path:
        return self.settings.network_folder / ENDPOINT_FILE


def run_network(
    settings: Settings, *, nodes: int = 1, idle_s: float | None = None, as_json: bool = False
) -> None:
    """Run a network in the foreground until SIGTERM, SIGINT or SIGHUP.

    It prints its address and where its key is. GPU jobs fall back to the CPU, aloud.

    Parameters
    ----------
    nodes
        How many nodes; they share the machine's cores.
    idle_s
        Stop when nobody has used the network for as long and no job is unfinished; None: never.
    as_json
        Print events as JSON lines.

    Raises
    ------
    ConflictError
        A network runs in this home already.
    ResourceError
        The port is taken.
    DependencyError
        The gateway does not start; the message ends with its log.
    """
    # One that a client starts for itself, and that ends with it, waits for nobody to join.
    nodes_max = settings.nodes_max if idle_s is None else nodes
    settings = settings.model_copy(update={"gpu_fallback": True, "nodes_max": nodes_max})
    tell = tell_programs if as_json else tell_people
    folder = settings.network_folder
    lock = take_network_lock(folder)
    try:
        identity = read_identity(folder)
        with listen(settings.host, settings.port, preferred=identity.port) as listener:
            write_identity(folder, identity, port=listener.getsockname()[1])
            # A loop of its own: its threads are gone before we fork.
            anyio.run(_register, settings, identity)
            network = _assemble(_trusting(settings, tell), identity, listener, nodes, tell)
            failures: list[BcaiError] = []
            try:
                anyio.run(_serve, network, idle_s)
            except* BcaiError as group:
                failures += errors_in(group)
            if failures:
                raise failures[0]
    finally:
        os.close(lock)
    tell(NetworkEvent("stopped", "stopped"))


async def _serve(network: _Network, idle_s: float | None) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as stops:

        async def watch_signals() -> None:
            async for number in stops:
                network.tell(NetworkEvent("stopping", f"stopping ({number.name})"))
                running.cancel_scope.cancel()
                return

        async with anyio.create_task_group() as children:
            for child in (network.gateway, network.scheduler, *network.nodes):
                children.start_soon(child.keep_alive)
            try:
                async with anyio.create_task_group() as running:
                    running.start_soon(watch_signals)
                    await _run(network, idle_s)
                    running.cancel_scope.cancel()
            finally:
                with anyio.CancelScope(shield=True):
                    await _stop(network)
                    await network.client.close()


def _trusting(settings: Settings, tell: Tell) -> Settings:
    """Let our own nodes trust the user whose network this is, by what their key has signed."""
    try:
        user = key_id(own_key(settings.client_key_file, os.urandom).public)
    except (OSError, BcaiError) as error:
        tell(NetworkEvent("untrusted", f"no job can be trusted here: no key of yours: {error}"))
        return settings
    trusted = tuple(dict.fromkeys((*settings.node.trusted_keys, user)))
    node = settings.node.model_copy(update={"trusted_keys": trusted})
    return settings.model_copy(update={"node": node})


async def _register(settings: Settings, identity: NetworkIdentity) -> None:
    """Bring the database up to date and our keys into it, before anybody else opens it."""
    store = open_store(settings)
    await store.start()
    try:
        place = f"{socket.gethostname()}:{settings.home.absolute()}"
        await register_keys(store, identity, place=place)
    finally:
        with anyio.CancelScope(shield=True):
            await store.stop()


def _assemble(
    settings: Settings,
    identity: NetworkIdentity,
    listener: socket.socket,
    nodes: int,
    tell: Tell,
) -> _Network:
    url = address_of(listener)
    return _Network(
        settings=settings,
        tell=tell,
        url=url,
        key=identity.admin_key,
        client=GatewayClient(url, identity.admin_key),
        gateway=Child(gateway_command(settings, listener), tell),
        scheduler=Child(scheduler_command(settings), tell),
        nodes=[
            Child(command, tell)
            for command in node_commands(settings, url, identity.node_key, nodes)
        ],
    )


async def _run(network: _Network, idle_s: float | None) -> None:
    """Wait until everything answers, say so, and stay until it is time to go."""
    await _until_ready(network)
    write_private(
        network.endpoint_file,
        {"url": network.url, "api_key": network.key, "pid": os.getpid()},
    )
    network.tell(
        NetworkEvent(
            "ready",
            f"the network is up at {network.url}; its key is in {network.endpoint_file}",
            {
                "url": network.url,
                "endpoint_file": str(network.endpoint_file),
                "pid": os.getpid(),
                "nodes": len(network.nodes),
            },
        )
    )
    if idle_s is None:
        await anyio.sleep_forever()
    else:
        users_lock = network.settings.network_folder / "users.lock"
        await until_idle(users_lock, idle_s, network.client.has_work)
        text = f"stopping: nobody has used it for {idle_s:g} s"
        network.tell(NetworkEvent("stopping", text))


async def _until_ready(network: _Network) -> None:
    """Wait for the gateway, then for the nodes: a job sent now finds out at once if it fits."""
    until = time.monotonic() + READY_S_MAX
    while not await network.client.is_well():
        if network.gateway.starts > STARTS_MAX or time.monotonic() > until:
            raise DependencyError(
                "the gateway does not start; the end of its log:\n" + log_tail(network.gateway.log),
                hint=f"the logs are in {network.gateway.log.parent}",
            )
        await anyio.sleep(READY_LOOK_S)
    while await network.client.nodes_online() < len(network.nodes):
        if time.monotonic() > until or any(node.starts > STARTS_MAX for node in network.nodes):
            text = f"a node does not start; its log: {network.nodes[-1].log}"
            network.tell(NetworkEvent("ended", text))
            return
        await anyio.sleep(READY_LOOK_S)


async def _stop(network: _Network) -> None:
    """Stop everything in order: nodes hand back their jobs while the gateway still listens.

    The scheduler goes first, or it would give those jobs to a node that is about to stop.
    """
    network.endpoint_file.unlink(missing_ok=True)
    await network.scheduler.stop(GRACE_S)
    grace_s = network.settings.node.grace_s + GRACE_S
    async with anyio.create_task_group() as group:
        for node in network.nodes:
            group.start_soon(node.stop, grace_s)
    await network.gateway.stop(GRACE_S)
