"""A node defends its results: it answers what the referee of a dispute asks about them."""

import logging
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import anyio
import httpx
from anyio.abc import Process
from pydantic import BaseModel, ValidationError

from bcai.base.digest import digest_of
from bcai.base.errors import (
    ConflictError,
    DependencyError,
    ForbiddenError,
    NotFoundError,
)
from bcai.cluster.node.defence_frames import ANSWER_LENGTH_BYTES, LENGTH_BYTES
from bcai.cluster.node.evidence_shelf import DISPUTED, EVIDENCE, Pins
from bcai.cluster.node.take_part import WAIT_S, take_part
from bcai.cluster.node.transfer import BlobTransfer, pause
from bcai.jobs.dispute import Party
from bcai.settings import Settings
from bcai.wire.disputes import AnswerMessage, DisputeView
from bcai.wire.nodes import Summon

DEATHS_MAX = 60  # of the process that computes the answers: four minutes of pauses at least

logger = logging.getLogger(__name__)

_REFUSALS = {403: ForbiddenError, 404: NotFoundError, 409: ConflictError}


@dataclass(frozen=True, slots=True)
class Defender:
    """Answers summons, each in a process of its own."""

    settings: Settings
    client: httpx.AsyncClient
    transfer: BlobTransfer

    async def defend(self, summon: Summon) -> None:
        """Take part until the dispute is over; till then the evidence is held."""
        self.pins.add(summon.job_id, summon.dispute_id)
        try:
            await self._defend(summon)
        except (NotFoundError, ForbiddenError):  # the gateway knows of no dispute with this node
            self.pins.remove(summon.job_id)
            raise
        self.pins.remove(summon.job_id)

    @property
    def pins(self) -> Pins:
        """What is in dispute."""
        return Pins(self.settings.node_folder / DISPUTED)

    async def _defend(self, summon: Summon) -> None:
        court = _Gateway(self.client, self.transfer, summon.job_id)
        folder = self.settings.node_folder / EVIDENCE / summon.job_id
        deaths = 0
        while True:
            try:
                view = await self._answer_all(court, folder)
                break
            except _WorkerDiedError:
                deaths += 1
                if deaths == DEATHS_MAX:
                    raise
            await pause(deaths)  # what it lacks, such as memory, may be there again
        if view.ruling is not None:
            lost = Party.NODE in view.ruling.faulty
            log = logger.error if lost else logger.info
            log(
                "the dispute about %s is over, %s: %s",
                summon.job_id, "lost" if lost else "won", view.ruling.text,
            )  # fmt: skip

    async def _answer_all(self, court: "_Gateway", folder: Path) -> DisputeView:
        part = (await court.look(-1, 0.0)).part
        async with _worker(self.settings, folder, part) as process:

            async def answer(question: bytes) -> bytes:
                return await _ask(process, question)

            return await take_part(court, Party.NODE, answer)


class _WorkerDiedError(Exception):
    """The process that computes the answers is gone, as for want of memory."""


@dataclass(frozen=True, slots=True)
class _Gateway:
    """The gateway, as a node reaches it; tried again until it answers, for the clock runs."""

    client: httpx.AsyncClient
    transfer: BlobTransfer
    job_id: str

    async def look(self, after: int, wait_s: float) -> DisputeView:
        query = f"?after={after}&wait_s={wait_s}"
        return await self._send("GET", f"/v1/audits/{self.job_id}/dispute{query}")

    async def answer(self, number: int, answer: bytes) -> DisputeView:
        digest = digest_of(answer)
        await self.transfer.upload(digest, answer)
        message = AnswerMessage(round=number, answer=digest)
        return await self._send("POST", f"/v1/audits/{self.job_id}/dispute/answers", message)

    async def _send(self, method: str, path: str, body: BaseModel | None = None) -> DisputeView:
        failures = 0
        while True:
            try:
                return await self._send_once(method, path, body)
            except DependencyError as error:
                failures += 1
                logger.warning("the dispute about %s waits: %s", self.job_id, error)
            await pause(failures)

    async def _send_once(self, method: str, path: str, body: BaseModel | None) -> DisputeView:
        content = None if body is None else body.model_dump_json().encode()
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self.client.request(
                method, path, content=content, headers=headers, timeout=WAIT_S + 30.0
            )
        except httpx.HTTPError as error:
            raise DependencyError(f"the gateway went away: {error or type(error)}") from error
        if answer.status_code in _REFUSALS:
            raise _REFUSALS[answer.status_code](f"the gateway says: {answer.text[:500]}")
        try:
            return DisputeView.model_validate_json(answer.content)
        except ValidationError as error:
            status = answer.status_code
            raise DependencyError(f"the gateway answered {status}, no dispute") from error


@asynccontextmanager
async def _worker(
    settings: Settings, folder: Path, part: int | None
) -> AsyncGenerator[Process, None]:
    machine = settings.enhanced_vm
    command = (
        *(sys.executable, "-P", "-m", "bcai.cluster.node.defence_worker"),
        *(str(folder), machine.hardware_backend, str(machine.threads or 0)),
        *(() if part is None else (str(part),)),
    )
    async with await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=None) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # it has died by itself
                process.kill()


async def _ask(process: Process, question: bytes) -> bytes:
    """Put one question to the worker. Raises _WorkerDiedError."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await process.stdin.send(len(question).to_bytes(LENGTH_BYTES, "big") + question)
        received = bytearray()
        while len(received) < ANSWER_LENGTH_BYTES:
            received += await process.stdout.receive()
        end = ANSWER_LENGTH_BYTES + int.from_bytes(received[:ANSWER_LENGTH_BYTES], "big")
        while len(received) < end:
            received += await process.stdout.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError, OSError) as error:
        raise _WorkerDiedError("the process that defends the result died") from error
    return bytes(received[ANSWER_LENGTH_BYTES:])
