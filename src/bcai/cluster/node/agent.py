"""The node's side of the conversation with a gateway."""

import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from pydantic import ValidationError

from bcai.base.backoff import backoff_s
from bcai.base.errors import UnreachableError
from bcai.base.groups import errors_in
from bcai.bridge.sandbox.level import in_words
from bcai.cluster.node.attempt import Attempt
from bcai.cluster.node.connection import Connection, Dial
from bcai.cluster.node.doorbell import Doorbell
from bcai.cluster.node.outbox import Outbox
from bcai.cluster.node.outcome import failed_here
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Outcome, ReasonCode
from bcai.wire.nodes import (
    TO_NODE,
    Ack,
    Assign,
    Cancel,
    Drop,
    Finished,
    Heartbeat,
    Held,
    Hello,
    Offer,
    Summon,
    ToNode,
    Welcome,
)

ENDED_MAX = 1_000  # attempts remembered, so that an Assign that comes late starts nothing twice
REPORTS_PER_TURN = 64  # then the next attempt's turn: a chatty job must not silence the others
WELCOME_S = 10.0
FLUSH_S = 5.0  # to deliver the last reports when the node stops
RECONNECT_FIRST_S = 0.1
RECONNECT_MOST_S = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the node is and what it offers."""

    node_id: str
    name: str
    capabilities: Capabilities
    signing_key: str = ""
    key_proof: str = ""  # that key's signature of the id


class Agent:
    """Takes assignments, runs each in its own task, and delivers what they report.

    An attempt is held from its Assign until its last report is durable, whatever happens to the
    connection meanwhile. Everything here runs on one event loop; jails report from their threads
    through their outbox.
    """

    def __init__(
        self,
        identity: Identity,
        dial: Dial,
        run: Callable[[Attempt], Awaitable[Outcome]],
        log: Path | None = None,
        defend: Callable[[Summon], Awaitable[None]] | None = None,
        begun: Sequence[Summon] = (),
    ) -> None:
        self._identity = identity
        self._where = f"look at {log} on its machine" if log else "its owner's log says how"
        self._dial = dial
        self._run = run
        self._defend = defend
        self._begun = begun  # disputes that an earlier process of the node was killed in
        self._defended: set[str] = set()  # disputes that are answered at this moment
        self._defences: TaskGroup | None = None  # ends with the node, whatever is still open
        self._attempts: dict[str, Attempt] = {}  # by lock token
        self._ended: deque[str] = deque(maxlen=ENDED_MAX)
        self._outgoing = Doorbell()
        self._offers = Doorbell()
        self._settled = anyio.Event()
        self._stopping = False

    def offer(self, capabilities: Capabilities) -> None:
        """Tell the gateway what the node offers from now on."""
        self._identity = replace(self._identity, capabilities=capabilities)
        self._offers.ring()

    async def serve(self, stop: anyio.Event, *, grace_s: float) -> None:
        """Work until `stop` is set; then let jobs go on for `grace_s`, and hand back the rest.

        Raises
        ------
        AuthError
            The gateway does not accept the key.
        """
        async with anyio.create_task_group() as jobs:
            try:
                async with anyio.create_task_group() as connection:
                    self._defences = connection
                    connection.start_soon(self._keep_connected, jobs)
                    for summon in self._begun:
                        connection.start_soon(self._answer, summon)
                    await stop.wait()
                    await self._wind_down(grace_s)
                    connection.cancel_scope.cancel()
            finally:  # also when the key is refused: no jail may hold us up
                for attempt in list(self._attempts.values()):
                    attempt.drop()

    async def _wind_down(self, grace_s: float) -> None:
        self._stopping = True
        with anyio.move_on_after(grace_s):
            await self._until_idle()
        for attempt in list(self._attempts.values()):
            attempt.evict()
        with anyio.move_on_after(FLUSH_S):
            await self._until_idle()

    async def _until_idle(self) -> None:
        while self._attempts:
            self._settled = anyio.Event()
            await self._settled.wait()

    async def _keep_connected(self, jobs: TaskGroup) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                async with self._dial() as connection:
                    await self._converse(connection, jobs)
            except* UnreachableError as group:
                logger.warning("%s", errors_in(group)[0])
            # A conversation that lasted proves the address right: start over with short waits.
            failures = 1 if time.monotonic() - began > RECONNECT_MOST_S else failures + 1
            jitter = random.random()  # noqa: S311 - spreads load, guards nothing
            await anyio.sleep(
                backoff_s(
                    failures, first_s=RECONNECT_FIRST_S, most_s=RECONNECT_MOST_S, jitter=jitter
                )
            )

    async def _converse(self, connection: Connection, jobs: TaskGroup) -> None:
        """Say hello, then beat, deliver and listen until the connection breaks."""
        identity = self._identity
        hello = Hello(
            node_id=identity.node_id,
            name=identity.name,
            capabilities=identity.capabilities,
            held=self._held(),
            signing_key=identity.signing_key,
            key_proof=identity.key_proof,
        )
        await connection.send(hello.model_dump_json())
        welcome = None
        with anyio.move_on_after(WELCOME_S):
            welcome = _parse(await connection.receive())
        if not isinstance(welcome, Welcome):
            raise UnreachableError(f"expected a welcome from the gateway, found {welcome}")
        logger.info("connected as %s", identity.node_id)
        for attempt in self._attempts.values():
            attempt.outbox.rewind()
        self._outgoing.ring()
        async with anyio.create_task_group() as group:
            group.start_soon(self._beat, connection, welcome.heartbeat_s)
            group.start_soon(self._deliver, connection)
            group.start_soon(self._announce, connection)
            while True:
                message = _parse(await connection.receive())
                if message is not None:
                    self._receive(message, jobs)

    async def _beat(self, connection: Connection, heartbeat_s: float) -> None:
        while True:
            await anyio.sleep(heartbeat_s)
            await connection.send(Heartbeat(held=self._held()).model_dump_json())

    async def _announce(self, connection: Connection) -> None:
        while True:
            await self._offers.wait()
            offer = Offer(capabilities=self._identity.capabilities)
            await connection.send(offer.model_dump_json())

    async def _deliver(self, connection: Connection) -> None:
        while True:
            await self._outgoing.wait()
            for attempt in list(self._attempts.values()):
                reports = attempt.outbox.take_unsent(REPORTS_PER_TURN)
                if reports:
                    self._outgoing.ring()  # there may be more: look again after the others
                for report in reports:
                    await connection.send(report.model_dump_json())

    def _receive(self, message: ToNode, jobs: TaskGroup) -> None:
        if isinstance(message, Assign):
            self._begin(message, jobs)
            return
        if isinstance(message, Summon):
            if self._defences is not None:
                self._defences.start_soon(self._answer, message)
            return
        if isinstance(message, Welcome):
            return
        attempt = self._attempts.get(message.lock_token)
        if attempt is None:
            return
        match message:
            case Cancel():
                attempt.cancel()
            case Ack():
                attempt.outbox.acknowledge(message.number)
                self._settle(attempt)
            case Drop():
                logger.warning("%s is not ours any more", attempt.job_id)
                attempt.drop()
                self._settle(attempt)

    async def _answer(self, summon: Summon) -> None:
        """Defend a result until its dispute is over."""
        if self._defend is None or summon.dispute_id in self._defended or self._stopping:
            return
        self._defended.add(summon.dispute_id)
        logger.warning("the result of %s is disputed", summon.job_id)
        try:
            await self._defend(summon)
        except Exception:  # as for a job: nobody else must suffer
            logger.exception("the result of %s could not be defended", summon.job_id)
        finally:
            self._defended.discard(summon.dispute_id)

    def _begin(self, message: Assign, jobs: TaskGroup) -> None:
        if message.lock_token in self._attempts or message.lock_token in self._ended:
            return
        outbox = Outbox(message.job_id, message.lock_token, self._outgoing.ring)
        attempt = Attempt(message.spec, message.attempt, outbox, message.owner)
        self._attempts[message.lock_token] = attempt
        if self._stopping:
            self._finish(attempt, _STOPPING)
        else:
            jobs.start_soon(self._work, attempt)

    async def _work(self, attempt: Attempt) -> None:
        logger.info("%s attempt %d begins", attempt.job_id, attempt.number)
        try:
            outcome = await self._run(attempt)
        except Exception:  # a process main of sorts: one job's trouble must not end the others
            logger.exception("%s failed inside the node", attempt.job_id)
            outcome = failed_here(ReasonCode.NODE_ERROR, "the node failed", self._where)
        self._finish(attempt, _STOPPING if attempt.is_evicted else outcome)

    def _finish(self, attempt: Attempt, outcome: Outcome) -> None:
        code = outcome.reason.code
        logger.info("%s attempt %d ended: %s", attempt.job_id, attempt.number, code)
        if outcome.jail is not None:
            logger.info("%s ran in %s", attempt.job_id, in_words(outcome.jail))
        attempt.outbox.put(Finished(at=time.time(), outcome=outcome))
        attempt.is_finished = True
        self._settle(attempt)

    def _settle(self, attempt: Attempt) -> None:
        """Forget an attempt that is over."""
        if attempt.is_over:
            self._attempts.pop(attempt.lock_token, None)
            self._ended.append(attempt.lock_token)
            self._settled.set()

    def _held(self) -> list[Held]:
        return [
            Held(job_id=attempt.job_id, lock_token=attempt.lock_token)
            for attempt in self._attempts.values()
            if not attempt.is_dropped
        ]


_STOPPING = failed_here(ReasonCode.NODE_LOST, "the node was shut down before the job had ended")


def _parse(text: str | bytes) -> ToNode | None:
    """Read a message. One that we do not understand is said aloud and skipped."""
    try:
        return TO_NODE.validate_json(text)
    except ValidationError as error:
        logger.error("a message of the gateway does not parse: %s", error)
        return None
