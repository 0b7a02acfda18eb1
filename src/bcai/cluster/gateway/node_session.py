"""One node's WebSocket: reports become durable and are acknowledged; work goes out."""

import logging

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic import ValidationError
from starlette.websockets import WebSocket

from bcai.base.errors import BcaiError, ForbiddenError, StaleError
from bcai.base.wording import as_expected
from bcai.cluster.gateway.frames import Frames, Gone
from bcai.cluster.gateway.handed_in import signing_key_of, vetted
from bcai.cluster.gateway.limits import (
    CLOSE_POLICY,
    HELLO_S_MAX,
    REPORTS_BATCH_MAX,
    REPORTS_WAITING_MAX,
)
from bcai.cluster.gateway.services import Services
from bcai.cluster.store.protocol import ApiKey
from bcai.jobs.states import JobState
from bcai.wire.nodes import (
    FROM_NODE,
    Ack,
    Assign,
    Cancel,
    Drop,
    FromNode,
    Heartbeat,
    Held,
    Hello,
    Offer,
    Report,
    Summon,
    Welcome,
)

CLOSE_INTERNAL = 1011
CLOSE_SUPERSEDED = 4001
_LOG = logging.getLogger("bcai.gateway.nodes")


async def serve_node(socket: WebSocket, services: Services, caller: ApiKey) -> None:
    """Serve a node from its Hello until it leaves, or connects anew."""
    frames = Frames(socket)
    try:
        hello = None
        with anyio.move_on_after(HELLO_S_MAX):
            hello = await _receive(frames)
        if isinstance(hello, Hello):
            await NodeSession(frames, services, hello, caller.id).run()
        else:
            await frames.close(CLOSE_POLICY, "expected a hello first")
    except Gone:
        return


async def _receive(frames: Frames) -> FromNode:
    """Return the next message; a node that speaks another language is sent away."""
    try:
        return FROM_NODE.validate_json(await frames.receive())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"no message of a node: {place}: {as_expected(first['msg'])}"
        _LOG.warning("%s", reason)
        await frames.close(CLOSE_POLICY, reason)
        raise Gone from None


class NodeSession:
    """A connected node."""

    def __init__(self, frames: Frames, services: Services, hello: Hello, key_id: str) -> None:
        self._frames = frames
        self._services = services
        self._hello = hello
        self._key_id = key_id
        self._node_id = hello.node_id
        self._known = {held.lock_token for held in hello.held}  # attempts that the node has
        self._cancelled: set[str] = set()  # attempts that it was told to cancel
        self._summoned: set[str] = set()  # disputes that it was told of
        self._signing_key: str | None = None  # once it is proved
        self._scope = anyio.CancelScope()
        self._superseded = False

    def supersede(self) -> None:
        """End this session: the node has a newer one."""
        self._superseded = True
        self._scope.cancel()

    async def run(self) -> None:
        """Serve the node until it leaves or is superseded."""
        try:
            with self._scope:
                await self._serve()
        except* ForbiddenError as errors:
            await self._frames.close(CLOSE_POLICY, str(errors.exceptions[0]))
        except* BcaiError as errors:
            # Nothing of what failed was acknowledged: the node connects and sends it again.
            _LOG.warning("node %s: %s", ascii(self._node_id), errors.exceptions[0])
            await self._frames.close(CLOSE_INTERNAL, "the store failed; try again")
        finally:
            self._services.registry.leave(self._node_id, self)
        if self._superseded:
            await self._frames.close(CLOSE_SUPERSEDED, "the node has a newer connection")

    async def _serve(self) -> None:
        """Greet, then receive, record and dispatch in parallel."""
        settings = self._services.settings
        self._signing_key = signing_key_of(self._hello)
        stale = await self._services.store.node_seen(
            self._node_id,
            name=self._hello.name,
            capabilities=self._hello.capabilities,
            key_id=self._key_id,
            held=_pairs(self._hello.held),
            lease_s=settings.lease_s,
            signing_key=self._signing_key,
        )
        self._services.registry.enter(self._node_id, self)  # not before its key is known as right
        self._services.nodes.forget()
        welcome = Welcome(heartbeat_s=settings.heartbeat_s, lease_s=settings.lease_s)
        await self._frames.send(welcome)
        await self._drop(stale)
        reports, inbox = anyio.create_memory_object_stream[Report](REPORTS_WAITING_MAX)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive_all, reports)
            tasks.start_soon(self._record_all, inbox)
            tasks.start_soon(self._dispatch_all)

    async def _receive_all(self, reports: MemoryObjectSendStream[Report]) -> None:
        """Take what the node says; a full queue holds it back."""
        try:
            while True:
                message = await _receive(self._frames)
                if isinstance(message, Report):
                    await reports.send(message)
                elif isinstance(message, Heartbeat):
                    await self._beat(message)
                elif isinstance(message, Offer):
                    await self._offer(message)
        except Gone:
            self._scope.cancel()

    async def _beat(self, heartbeat: Heartbeat) -> None:
        """Renew presence and leases."""
        stale = await self._services.store.node_seen(
            self._node_id,
            held=_pairs(heartbeat.held),
            lease_s=self._services.settings.lease_s,
        )
        await self._drop(stale)

    async def _offer(self, offer: Offer) -> None:
        """Note what the node offers now."""
        await self._services.store.node_seen(
            self._node_id,
            capabilities=offer.capabilities,
            lease_s=self._services.settings.lease_s,
        )
        self._services.nodes.forget()

    async def _record_all(self, inbox: MemoryObjectReceiveStream[Report]) -> None:
        """Make reports durable, as many at a time as have come."""
        try:
            async for first in inbox:
                batch = [first]
                while len(batch) < REPORTS_BATCH_MAX and inbox.statistics().current_buffer_used:
                    batch.append(inbox.receive_nowait())
                batch = [
                    await vetted(each, self._signing_key, self._services.blobs) for each in batch
                ]
                answers = await self._services.store.record(self._node_id, batch)
                await self._acknowledge(batch, answers)
        except Gone:
            self._scope.cancel()

    async def _acknowledge(self, batch: list[Report], answers: list[StaleError | None]) -> None:
        """Tell the node what is durable, and which attempts are not its own any more."""
        durable: dict[tuple[str, str], int] = {}
        stale: dict[tuple[str, str], None] = {}
        for report, answer in zip(batch, answers, strict=True):
            pair = (report.job_id, report.lock_token)
            if answer is None:
                durable[pair] = max(report.number, durable.get(pair, 0))
            else:
                stale[pair] = None
        for (job_id, lock_token), number in durable.items():
            await self._frames.send(Ack(job_id=job_id, lock_token=lock_token, number=number))
        await self._drop(list(stale))

    async def _drop(self, pairs: list[tuple[str, str]]) -> None:
        """Tell the node to forget stale attempts."""
        for job_id, lock_token in pairs:
            await self._frames.send(Drop(job_id=job_id, lock_token=lock_token))

    async def _dispatch_all(self) -> None:
        """Send work and cancel requests, whenever the store has changed."""
        try:
            seen = 0
            while True:
                seen = await self._services.changes.next_round(seen)
                await self._dispatch()
                await self._summon()
        except Gone:
            self._scope.cancel()

    async def _dispatch(self) -> None:
        """Send what the node does not know yet.

        A RUNNING job that the node does not hold is not sent again: its reports were numbered, and
        a second run of the same attempt would number others alike. Its lease runs out instead.
        """
        jobs = await self._services.store.assigned_to(self._node_id)
        current = {job.lock_token for job in jobs}
        self._known &= current
        self._cancelled &= current
        for job in jobs:
            token = job.lock_token
            if token not in self._known and job.state is JobState.ASSIGNED:
                self._known.add(token)
                number = job.attempts[-1].number
                await self._frames.send(
                    Assign(
                        job_id=job.id,
                        attempt=number,
                        lock_token=token,
                        spec=job.spec,
                        owner=job.owner,
                    )
                )
            if job.cancel_requested and token in self._known and token not in self._cancelled:
                self._cancelled.add(token)
                await self._frames.send(Cancel(job_id=job.id, lock_token=token))

    async def _summon(self) -> None:
        """Tell the node of disputes about its results, once."""
        for record in await self._services.store.open_disputes(self._node_id):
            if record.rounds and record.id not in self._summoned:
                self._summoned.add(record.id)
                await self._frames.send(Summon(job_id=record.job_id, dispute_id=record.id))


def _pairs(held: list[Held]) -> list[tuple[str, str]]:
    """What the store calls a held attempt."""
    return [(one.job_id, one.lock_token) for one in held]
