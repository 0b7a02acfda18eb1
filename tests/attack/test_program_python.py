"""A program's process that lies to its node: it gets no more than the code of any other job."""

import fcntl
import json
import mmap
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcai.base.errors import RefusedError
from bcai.bridge.sandbox.inputs import sealed_tensors
from bcai.bridge.sandbox.jail import Cause, JailEvent, JailExit, JailRequest, LogText
from bcai.bridge.sandbox.level import JailReport
from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.sandbox.warm import ZygotePolicy, ZygotePool
from bcai.bridge.tensor_views import arrays_of, map_file
from bcai.cluster.node.ask_node import VERIFIED, NodePython, around_code
from bcai.cluster.node.program_python import ProgramPython
from bcai.cluster.node.run_program import REPORT
from bcai.settings import EnhancedVmSettings, Settings

from .jails import LIMITS

DOUBLE: dict[str, Any] = {
    "code": "print('in the jail')\ny = inputs[0] * 2\n",
    "outputs": "y: float64[3]",
    "sandbox": "high",
    "gpu": False,
}


@dataclass
class Node:
    """The node's side, asked as a program's process would."""

    python: ProgramPython
    node: socket.socket
    process: socket.socket
    log: list[str] = field(default_factory=list[str])

    def ask(self, text: bytes, *files: int, seconds: float = 60.0) -> JailExit | None:
        deadline = time.monotonic() + seconds
        return self.python.answer(self.node, text, files, deadline)

    def admit(
        self, sandbox: str = "high", gpu: object = False, peak: object = 0
    ) -> JailExit | None:
        question = {"kind": "admit", "wishes": [[sandbox, gpu]], "bytes_peak": peak}
        return self.ask(json.dumps(question).encode())

    def run(self, tensors: int | None = None, **wish: Any) -> JailExit | None:
        with memory(json.dumps(DOUBLE | wish).encode()) as asked:
            if tensors is not None:
                return self.ask(b'{"kind": "run"}', asked, tensors)
            with sealed_tensors({"0": np.arange(3.0)}) as file:
                return self.ask(b'{"kind": "run"}', asked, file)

    def answer(self) -> dict[str, Any]:
        text, files, _, _ = socket.recv_fds(self.process, 4096, 2)
        assert json.loads(text)["kind"] == "done"
        assert fcntl.fcntl(files[0], fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
        return arrays_of(map_file(files[0]))


class memory:  # noqa: N801 - reads as the call that it is
    """A memory file with some bytes."""

    def __init__(self, content: bytes) -> None:
        self.file = os.memfd_create("asked", os.MFD_ALLOW_SEALING)
        os.write(self.file, content)

    def __enter__(self) -> int:
        return self.file

    def __exit__(self, *_: object) -> None:
        os.close(self.file)


@pytest.fixture
def node(tmp_path: Path) -> Generator[Node]:
    report = probe_jail()
    if report.level not in ("A", "B"):
        pytest.skip("no jail on this machine: " + "; ".join(report.missing))
    log: list[str] = []

    def take(event: JailEvent) -> None:
        assert isinstance(event, LogText)
        log.append(event.text)

    request = JailRequest(tmp_path, "program.bcai", None, (), LIMITS, tenant="ada")
    zygotes = ZygotePool(ZygotePolicy(zygotes_max=0))
    python = ProgramPython(request, take, threading.Event(), zygotes, Settings())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Node(python, ours, theirs, log)


def test_an_honest_question_is_answered(node: Node) -> None:
    assert node.admit() is None
    assert json.loads(node.process.recv(4096))["kind"] == "admitted"
    assert node.run() is None
    assert node.answer()["y"].tolist() == [0, 2, 4]
    assert node.log == ["in the jail\n"]
    report = node.python.restate(JailReport("program", (VERIFIED, "process of its own")))
    assert report.layers[0] == "verified program around Python code"
    assert report.layers[-1].startswith(f"Python code in a jail of level {probe_jail().level}: ")
    assert node.python.restate(report) == report
    used = node.python.add_usage(JailExit(Cause.EXITED, "", report))
    assert used.cpu_s > 0
    assert used.log_bytes == len("in the jail\n")


@pytest.mark.parametrize(
    "wish",
    [{"sandbox": "trusted"}, {"gpu": True}],
)
def test_what_was_never_admitted_is_refused_all_the_same(node: Node, wish: dict[str, Any]) -> None:
    assert node.admit() is None
    with pytest.raises(RefusedError, match="PythonExecute: "):
        node.run(**wish)
    with pytest.raises(RefusedError, match="PythonExecute: "):
        node.admit(**wish)
    assert not node.log


@pytest.mark.parametrize(
    "wish",
    [
        {"sandbox": "none"},
        {"sandbox": ["high"]},
        {"gpu": "false"},
        {"code": 1},
        {"code": "\ud800"},
        {"code": "#" * ((1 << 20) + 1)},
        {"code": "#" * (9 << 20)},
        {"outputs": "y: float64[3], y: float64[3]"},
        {"outputs": "../../etc/passwd: float64[3]"},
        {"outputs": None},
    ],
)
def test_a_wish_that_is_none_ends_the_job(node: Node, wish: dict[str, Any]) -> None:
    ended = node.run(**wish)
    assert ended is not None
    assert ended.cause is Cause.JAIL_ERROR
    assert "asked for what it may not" in ended.message
    assert not node.log


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"run",
        b'{"kind": "run"}',  # without its files
        b'{"kind": "shell"}',
        b'{"kind": "admit"}',
        b'{"kind": "admit", "wishes": [["high"]], "bytes_peak": 0}',
        b'{"kind": "admit", "wishes": [["high", false]], "bytes_peak": -1}',
        b'{"kind": "admit", "wishes": [["high", false]], "bytes_peak": 1e3}',
        json.dumps({"kind": "admit", "wishes": [["high", False]] * 100, "bytes_peak": 0}).encode(),
    ],
)
def test_a_question_that_is_none_ends_the_job(node: Node, text: bytes) -> None:
    ended = node.ask(text)
    assert ended is not None
    assert ended.cause is Cause.JAIL_ERROR


def test_tensors_that_could_still_be_changed_are_refused(node: Node) -> None:
    with sealed_tensors({"0": np.arange(3.0)}) as file:
        content = os.pread(file, 1 << 16, 0)
    with memory(content) as file, mmap.mmap(file, 0):
        ended = node.run(file)
        assert ended is not None
        assert "cannot be sealed" in ended.message
    for make in _false_files(content):
        file = make()
        try:
            ended = node.run(file)
        finally:
            os.close(file)
        assert ended is not None
        assert ended.cause is Cause.JAIL_ERROR
    assert not node.log


def _false_files(content: bytes) -> list[Callable[[], int]]:
    def on_disk() -> int:
        file = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR)
        os.write(file, content)
        return file

    def too_large() -> int:
        file = os.memfd_create("large", os.MFD_ALLOW_SEALING)
        os.write(file, content)
        os.ftruncate(file, LIMITS.memory_bytes + 1)
        return file

    def cut_off() -> int:
        file = os.memfd_create("cut", os.MFD_ALLOW_SEALING)
        os.write(file, content[:-1])
        return file

    return [on_disk, too_large, cut_off, lambda: os.open("/proc/self/mem", os.O_RDONLY)]


def test_the_jail_has_what_is_left_of_the_jobs_limits(node: Node) -> None:
    assert node.admit(peak=LIMITS.memory_bytes - (256 << 20)) is None
    ended = node.run(code="y = bytearray(1 << 30)")
    assert ended is not None
    assert ended.cause is Cause.MEMORY
    ended = node.ask(b"{}")
    narrow = node.admit(peak=LIMITS.memory_bytes)
    assert narrow is not None
    assert narrow.cause is Cause.MEMORY
    assert "leaves too little for its Python code" in narrow.message


def test_the_jail_ends_with_the_jobs_time(node: Node) -> None:
    with (
        sealed_tensors({}) as file,
        memory(json.dumps(DOUBLE | {"code": "while True: pass"}).encode()) as asked,
    ):
        ended = node.ask(b'{"kind": "run"}', asked, file, seconds=1.0)
    assert ended is not None
    assert ended.cause is Cause.WALL_TIME
    assert ended.message == "ran longer than its limit of 2m 0s"


def test_the_jails_share_the_jobs_time_of_the_processors(node: Node) -> None:
    node.python.request = replace(node.python.request, limits=replace(LIMITS, cpu_s=2.0))
    burn = "import time\nwhile time.process_time() < 1.3: pass\ny = inputs[0]\n"
    assert node.run(code=burn) is None
    ended = node.run(code=burn)
    assert ended is not None
    assert ended.cause is Cause.CPU_TIME
    assert "limit of 2.0 s" in ended.message
    assert ended.hint == "do less work, or ask for more with limits.cpu"


def test_an_owner_who_switched_python_off_runs_none_inside_programs_either(node: Node) -> None:
    assert node.run() is None, "the control"
    node.python.settings = Settings(enhanced_vm=EnhancedVmSettings(enable_python=False))
    for ask in (node.admit, node.run):
        with pytest.raises(RefusedError, match="enable_python"):
            ask()


def test_a_receipt_says_that_code_ran_and_behind_what(node: Node, tmp_path: Path) -> None:
    told = NodePython(node.process)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(told.admit, [("high", False)], 0)
        text, files, _, _ = socket.recv_fds(node.node, 4096, 2)
        assert node.ask(text, *files) is None
    assert told.walls.startswith(f"Python code in a jail of level {probe_jail().level}: ")
    layers = around_code(REPORT.layers, told.walls)
    assert VERIFIED in REPORT.layers
    assert VERIFIED not in layers
    assert layers[-1] == told.walls
    assert around_code(REPORT.layers, "") == REPORT.layers, "a program without code"


def test_cancelling_the_job_ends_the_jail(node: Node) -> None:
    threading.Timer(1.0, node.python.cancelled.set).start()
    ended = node.run(code="while True: pass")
    assert ended is not None
    assert ended.cause is Cause.CANCELLED


def test_the_log_of_all_its_jails_is_one(node: Node) -> None:
    half = LIMITS.log_bytes // 2 + 1000
    assert node.run(code=f"print('x' * {half})\ny = inputs[0]") is None
    ended = node.run(code=f"print('x' * {half})\ny = inputs[0]")
    assert ended is not None
    assert ended.cause is Cause.LOG_BYTES


def test_code_that_fails_names_its_line_and_what_it_left_is_no_tensor(node: Node) -> None:
    ended = node.run(code="a = 1\nraise ValueError('no')")
    assert ended is not None
    assert ended.cause is Cause.EXCEPTION
    assert ended.user_line == 2
    assert ended.message == "PythonExecute: ValueError: no (code_of_the_program.py, line 2)"
    ended = node.run(code="y = b'bytes'")
    assert ended is not None
    assert "output 'y': found a file, expected an array or a number" in ended.message
