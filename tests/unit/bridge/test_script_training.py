"""The two ends of a script's training that need no jail: what is asked where, and the limits."""

import json
import os
import socket
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from bcai.base.errors import InputError
from bcai.bridge.guest import surroundings
from bcai.bridge.guest.training import NodeTrainer
from bcai.bridge.sandbox.jail import Metric, Progress
from bcai.bridge.sandbox.level import JailReport
from bcai.bridge.sandbox.trainer import Answer
from bcai.bridge.sandbox.training_asked import AskedTraining

MIB = 1 << 20
AT_A, AT_C = JailReport("A"), JailReport("C")


@dataclass
class FakeTrainer:
    """Takes note; answers what it is told to."""

    memory_bytes: int = 0
    begun: list[tuple[int, float, int]] = field(default_factory=list[tuple[int, float, int]])
    answers: list[Answer] = field(default_factory=list[Answer])

    def begin(self, files: Sequence[int], wall_s: float, memory_bytes: int) -> None:
        self.begun.append((len(files), wall_s, memory_bytes))
        self.memory_bytes = memory_bytes

    def events(self) -> Iterator[Metric | Progress]:
        yield Progress(0.5)

    def answer(self) -> Answer | None:
        return self.answers.pop() if self.answers else None

    def end(self) -> None:
        self.memory_bytes = 0


@pytest.fixture
def channel() -> Generator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.setblocking(False)
        yield ours, theirs


def said(script: socket.socket) -> str:
    return json.loads(script.recv(60_000))["message"]


def test_a_training_has_what_the_script_leaves(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    trainer = FakeTrainer()
    asked = AskedTraining(channel[0], trainer, 1600 * MIB)
    assert not asked.leaves_less_than(1600 * MIB)
    asked.ask([0, 0, 0, 0], AT_A, 7.0, 300 * MIB)
    assert trainer.begun == [(4, 7.0, 1200 * MIB)]
    assert not asked.leaves_less_than(400 * MIB)
    assert asked.leaves_less_than(400 * MIB + 1)
    asked.end()
    assert not asked.leaves_less_than(1600 * MIB)


@pytest.mark.parametrize(
    ("files", "report", "used", "sentence"),
    [
        (4, AT_C, 0, "nothing can be trained from within this job"),
        (4, AT_A, 1600 * MIB, "the script has taken all of its memory"),
        (3, AT_A, 0, "found 3 files, expected 4"),
    ],
)
def test_what_cannot_begin_is_answered(
    channel: tuple[socket.socket, socket.socket],
    files: int,
    report: JailReport,
    used: int,
    sentence: str,
) -> None:
    trainer = FakeTrainer()
    asked = AskedTraining(channel[0], trainer, 1600 * MIB)
    asked.ask([0] * files, report, 7.0, used)
    assert sentence in said(channel[1])
    assert not trainer.begun


def test_a_second_question_is_answered_at_once_and_never_waits(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    trainer = FakeTrainer()
    asked = AskedTraining(channel[0], trainer, 1600 * MIB)
    for _ in range(5000):  # nobody reads the answers
        asked.ask([0, 0, 0, 0], AT_A, 7.0, 0)
    assert len(trainer.begun) == 1
    assert said(channel[1]).startswith("a job has one training")


def test_the_end_goes_to_the_script_with_its_files(
    channel: tuple[socket.socket, socket.socket],
) -> None:
    file = os.memfd_create("state")
    trainer = FakeTrainer(answers=[Answer(b'{"kind": "trained"}', (file,))])
    asked = AskedTraining(channel[0], trainer, 1600 * MIB)
    assert list(asked.serve()) == [Progress(0.5)]
    text, files, _, _ = socket.recv_fds(channel[1], 4096, 3)
    assert json.loads(text) == {"kind": "trained"}
    assert len(files) == 1
    os.close(files[0])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)  # ours is closed


@pytest.mark.parametrize("level", ["C", "none"])
def test_without_a_disk_of_its_own_a_job_cannot_ask(
    monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    trainer = NodeTrainer(3)
    monkeypatch.setattr(surroundings, "_level", level)
    with pytest.raises(InputError, match=f"needs a jail of level A or B.*level {level}"):
        trainer.check()
    monkeypatch.setattr(surroundings, "_level", "B")
    trainer.check()
