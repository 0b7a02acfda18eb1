"""A node goes on defending its result, whatever happens to the process that computes answers."""

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio.lowlevel
import httpx
import pytest
from tests.unit.cluster.node.test_evidence_shelf import SMALL, files_of

from bcai.cluster.node import defence
from bcai.cluster.node.defence import Defender
from bcai.cluster.node.evidence_shelf import EVIDENCE, ROWS, keep_job
from bcai.cluster.node.transfer import BlobTransfer
from bcai.jobs.dispute import DisputeRecord, Party, Ruling, Said, answered, asked
from bcai.proof.message_codec import decode_reply, encode_message
from bcai.proof.messages import AskSteps, Reply
from bcai.proof.side import ReplayingSide
from bcai.settings import Settings
from bcai.wire.disputes import AnswerMessage, DisputeView
from bcai.wire.nodes import Summon

pytestmark = pytest.mark.anyio

JOB = "job_1"
STEPS = encode_message(AskSteps(0)).hex()
TRUTH = ReplayingSide(
    SMALL.program, SMALL.feeder(), SMALL.compiled(), SMALL.trace(), {0: SMALL.state}
).step_roots(0)


class Gateway:
    """One dispute with one question, over once the node has answered; `disturb` sees each look."""

    def __init__(self, disturb: Callable[[int], Awaitable[None]]) -> None:
        begun = DisputeRecord("dispute_1", JOB, "n", "box", "ann", "k", 3, "ab" * 32, 0.0, 60.0)
        self._record = asked(begun, STEPS, 0.0)
        self._disturb = disturb
        self._looks = 0
        self._blobs: dict[str, bytes] = {}

    async def handle(self, request: httpx.Request) -> httpx.Response:
        match request.method:
            case "PUT":
                self._blobs[request.url.path.rpartition("/")[2]] = request.content
                return httpx.Response(201)
            case "POST":
                said = AnswerMessage.model_validate_json(request.content)
                there = answered(self._record, Party.NODE, said.round, Said(1.0, said.answer))
                ruling = Ruling((Party.CHALLENGER,), "nodes", "it lied", "ann", 1.0)
                self._record = replace(there, ruling=ruling)
            case _:
                await self._disturb(self._looks)
                self._looks += 1
        return httpx.Response(200, text=DisputeView.of(self._record).model_dump_json())

    @property
    def answer(self) -> Reply:
        said = self._record.rounds[0].node
        assert said is not None
        assert said.answer is not None
        return decode_reply(self._blobs[said.answer])


async def defended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disturb: Callable[[int], Awaitable[None]]
) -> Reply:
    """What a node answers."""

    async def pause(failures: int) -> None:
        del failures

    monkeypatch.setattr(defence, "pause", pause)
    settings = Settings(home=tmp_path)
    keep_job(settings.node_folder / EVIDENCE / JOB, files_of(tmp_path / "work", SMALL))
    gateway = Gateway(disturb)
    transport = httpx.MockTransport(gateway.handle)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        defender = Defender(settings, client, BlobTransfer(client))
        await defender.defend(Summon(job_id=JOB, dispute_id="dispute_1"))
    return gateway.answer


def children() -> list[int]:
    """Processes of ours, until they are reaped."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def worker() -> int:
    """The process that computes answers."""
    (pid,) = (
        pid for pid in children() if b"defence_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return pid


async def test_a_worker_that_is_killed_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []

    async def disturb(look: int) -> None:
        if look in (1, 3):  # the first look of each worker tells it what is disputed
            pid = worker()
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            while pid in children():
                await anyio.lowlevel.checkpoint()
            for _ in range(100):
                await anyio.lowlevel.checkpoint()

    assert await defended(tmp_path, monkeypatch, disturb) == TRUTH
    assert len(killed) == 2


async def test_a_disk_that_fails_for_a_moment_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "node" / EVIDENCE / JOB / ROWS

    async def disturb(look: int) -> None:
        if look == 0:  # a folder in place of the file: it is there, and no byte of it can be read
            rows.rename(rows.with_suffix(".safe"))
            rows.mkdir()
        if look == 2:
            rows.rmdir()
            rows.with_suffix(".safe").rename(rows)

    assert await defended(tmp_path, monkeypatch, disturb) == TRUTH
