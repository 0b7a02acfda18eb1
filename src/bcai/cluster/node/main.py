"""A node's process: reads its settings, measures the machine, then works for its gateway."""

import logging
import os
import signal
import socket
import sys
import time

import anyio
import httpx

from bcai.base.errors import BcaiError, InputError, exit_status
from bcai.base.groups import errors_in
from bcai.base.units import MIB
from bcai.bridge.sandbox.gpu import find_gpus
from bcai.bridge.sandbox.warm import ZygotePolicy, ZygotePool
from bcai.cluster.node.agent import Agent, Identity
from bcai.cluster.node.attempt import Attempt
from bcai.cluster.node.cache import BlobCache
from bcai.cluster.node.capabilities import measure_capabilities
from bcai.cluster.node.connection import Dial, dialler, is_loopback
from bcai.cluster.node.defence import Defender
from bcai.cluster.node.doorbell import Doorbell
from bcai.cluster.node.environment_shelf import Shelf, first_look, keep_stocked
from bcai.cluster.node.folders import fresh_work_folder, node_id, take_folder
from bcai.cluster.node.gpus import GpuPool
from bcai.cluster.node.run_job import KEY_FILE, Workbench, run_job
from bcai.cluster.node.signatures import SignatureGate
from bcai.cluster.node.tidy_evidence import keep_tidy
from bcai.cluster.node.transfer import BlobTransfer
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Outcome
from bcai.proof.keys import Domain, key_id, own_key
from bcai.settings import Settings, read_settings
from bcai.wire.nodes import Summon

HTTP_S = 30.0  # without a byte; a blob may take longer than that

logger = logging.getLogger(__name__)


def main() -> int:
    """Run a node until SIGTERM or SIGINT; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per blob says nothing new
    failures: list[BcaiError] = []
    try:
        anyio.run(serve, read_settings())
    except* BcaiError as group:
        failures += errors_in(group)
    if not failures:
        return 0
    error = failures[0]
    sys.stderr.write(f"bcai node: {error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
    return exit_status(error.code)


async def serve(settings: Settings) -> None:
    """Work for the gateway of the settings until a signal says stop.

    Raises
    ------
    InputError
        The settings lack the gateway's address or the key.
    ConflictError
        Another node works in the same folder.
    AuthError
        The gateway does not accept the key.
    """
    if settings.endpoint is None or settings.api_key is None:
        raise InputError(
            "a node needs the address of a gateway and a key",
            hint="set BCAI_ENDPOINT and BCAI_API_KEY; 'bcai up' starts gateway and node together",
        )
    folder = settings.node_folder
    lock = take_folder(folder)
    most = settings.node.warm_pythons if settings.enhanced_vm.enable_python else 0
    zygotes = ZygotePool(ZygotePolicy(zygotes_max=most))
    try:
        shelf = await anyio.to_thread.run_sync(first_look, folder)
        offers = [each.offer for each in shelf.environments.values()]
        capabilities = await anyio.to_thread.run_sync(measure_capabilities, settings, offers)
        _log_jail(capabilities)
        identity = _identity(settings, capabilities)
        key = settings.api_key.get_secret_value()
        http_url = _scheme(settings.endpoint, "http")
        async with httpx.AsyncClient(
            base_url=http_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=HTTP_S,
            trust_env=not is_loopback(http_url),
        ) as client:
            transfer = BlobTransfer(client)
            bench = Workbench(
                settings=settings,
                capabilities=capabilities,
                cache=BlobCache(
                    folder / "cache", transfer.download, bytes_max=settings.node.cache_mb * MIB
                ),
                transfer=transfer,
                slots=anyio.Semaphore(capabilities.slots),
                threads=anyio.CapacityLimiter(capabilities.slots),
                folder=fresh_work_folder(folder),
                zygotes=zygotes,
                environments=shelf.environments,
                signatures=SignatureGate(folder / "signatures", time.time()),
                gpus=GpuPool(find_gpus() if settings.enhanced_vm.enable_gpu else ()),
            )

            dial = dialler(_scheme(settings.endpoint, "ws") + "/v1/nodes/connect", key)
            defender = Defender(settings, client, transfer)
            await _work(bench, identity, dial, shelf, defender)
    finally:
        zygotes.close()
        os.close(lock)


def _identity(settings: Settings, capabilities: Capabilities) -> Identity:
    """Who the node is, with a proof that it has the key that it signs with."""
    key = own_key(settings.node_folder / KEY_FILE, os.urandom)
    own_id = settings.node.id or node_id(settings.node_folder)
    return Identity(
        node_id=own_id,
        name=settings.node.name or socket.gethostname(),
        capabilities=capabilities,
        signing_key=key_id(key.public),
        key_proof=key.sign(Domain.NODE, own_id.encode()).hex(),
    )


def _log_jail(capabilities: Capabilities) -> None:
    """Say which walls stand, as probed, and which do not."""
    jail = capabilities.jail
    walls = ", ".join(jail.layers) or "none"
    logger.info("jail level %s, %d slots; walls: %s", jail.level, capabilities.slots, walls)
    for wall in jail.missing:
        logger.info("lacking: %s", wall)
    if capabilities.trusted_keys:
        logger.warning("trusted, even without a jail: %s", ", ".join(capabilities.trusted_keys))


async def _work(
    bench: Workbench, identity: Identity, dial: Dial, shelf: Shelf, defender: Defender
) -> None:
    """Take jobs until a signal says stop; environments come and go meanwhile."""
    node, stop, ended = bench.settings.node, anyio.Event(), Doorbell()

    async def run(attempt: Attempt) -> Outcome:
        outcome = await run_job(attempt, bench)  # a job keeps the one that it began with
        ended.ring()
        return outcome

    pinned = defender.pins.disputes().items()
    begun = [Summon(job_id=job_id, dispute_id=dispute_id) for job_id, dispute_id in pinned]
    agent = Agent(identity, dial, run, node.log, defender.defend, begun)

    def restock(found: Shelf) -> None:
        nonlocal bench
        bench = bench.stocked(found.environments)
        agent.offer(bench.capabilities)

    async def watch() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                stop.set()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        group.start_soon(keep_tidy, bench.settings, ended)
        group.start_soon(keep_stocked, bench.settings.node_folder, shelf, restock)
        await agent.serve(stop, grace_s=node.grace_s)
        group.cancel_scope.cancel()


def _scheme(endpoint: str, scheme: str) -> str:
    """Give an address the scheme `http` or `ws`, with the `s` where it had one."""
    given, separator, rest = endpoint.partition("://")
    if not separator or given not in ("http", "https", "ws", "wss"):
        raise InputError(
            f"endpoint: found {endpoint!r}, expected an address such as 'http://127.0.0.1:8080'"
        )
    return f"{scheme}{'s' if given.endswith('s') else ''}://{rest.rstrip('/')}"
