"""Follows a process that runs a job beside the jail and tells what happens, one line at a time.

Each line of its stdout is a JSON object with a `kind`: `started` (`backend`, `device`, perhaps
`layers`), `progress` (`fraction`), `metric` (`step`, `values`), `log` (`stream`, `text`), and at
the end `done` (`outputs`, perhaps `exit_status` and `receipt`) or `failed` (`cause`, `message`,
`hint`); the last may hold `used`, the fields of JailExit that say what was used. Outputs and the
receipt are files of the folder `outputs` beside the project. A worker that may ask for something
has a socket as its standard input; its questions and their answers are the business of
`Worker.asks`.
"""

import json
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from bcai.base.units import format_duration_s, format_size
from bcai.bridge.sandbox.jail import (
    Cause,
    JailEvent,
    JailExit,
    JailOutput,
    JailRequest,
    LogText,
    Metric,
    OnEvent,
    Progress,
    Started,
)
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node.worker_messages import OUTPUTS

POLL_S = 0.1
STDERR_BYTES_MAX = 4096
_READ_BYTES = 1 << 16
_QUESTION_BYTES_MAX = 1 << 12
_FILES_MAX = 2  # with one question


class Asks(Protocol):
    """Answers what a worker asks for."""

    def answer(
        self, channel: socket.socket, text: bytes, files: Sequence[int], deadline: float
    ) -> JailExit | None:
        """Do it, before `deadline`; returns how the job ended, if it did. May refuse the job."""
        ...

    def restate(self, report: JailReport) -> JailReport:
        """Add to the walls what stands around what was asked for."""
        ...

    def add_usage(self, ended: JailExit) -> JailExit:
        """Add what was used for it."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """A message of a worker, with files that are open while it is looked at."""

    asks: Asks
    channel: socket.socket
    text: bytes
    files: Sequence[int]


@dataclass(frozen=True, slots=True)
class Worker:
    """How one job's process is started.

    Attributes
    ----------
    noun
        What runs, in sentences: `program`.
    grace_s
        How long after its time limit it may take to say so itself.
    asks
        What answers its questions, if it may ask any.
    """

    noun: str
    command: Sequence[str]
    report: JailReport
    grace_s: float = 0.0
    asks: Asks | None = None


def run_worker(
    worker: Worker, request: JailRequest, on_event: OnEvent, cancelled: threading.Event
) -> JailExit:
    """Run a worker to its end; blocks until its process has ended."""
    started_at = time.monotonic()
    with (
        (request.project.parent / "stderr").open("w+b") as stderr,
        _channel(worker) as (channel, stdin),
        subprocess.Popen(  # noqa: S603
            worker.command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr
        ) as process,
    ):
        try:
            ended = _watch(process, channel, worker, request, on_event, cancelled)
        finally:
            process.kill()
        process.wait()
        wall_s = time.monotonic() - started_at
        if ended is None:
            ended = _died(worker, process.returncode, _tail(stderr))
    if worker.asks is not None:
        ended = worker.asks.add_usage(ended)
    return replace(ended, wall_s=wall_s)


def _watch(
    process: "subprocess.Popen[bytes]",
    channel: socket.socket | None,
    worker: Worker,
    request: JailRequest,
    on_event: OnEvent,
    cancelled: threading.Event,
) -> JailExit | None:
    """Follow what the worker tells; None if it ends without a last word."""
    limits, report = request.limits, worker.report
    deadline = time.monotonic() + limits.wall_s + worker.grace_s
    for message in _messages(process, worker.asks, channel):
        if cancelled.is_set():
            return JailExit(Cause.CANCELLED, "cancelled", report)
        if time.monotonic() > deadline:
            limit = format_duration_s(limits.wall_s)
            sentence = f"ran longer than its limit of {limit}"
            hint = "ask for more time with timeout"
            return JailExit(Cause.WALL_TIME, sentence, report, hint=hint)
        if message is None:
            continue
        if isinstance(message, Question):
            ended = message.asks.answer(message.channel, message.text, message.files, deadline)
            report = message.asks.restate(report)
            if ended is not None:
                return replace(ended, jail=report)
            continue
        used = message.get("used", {})
        if message["kind"] == "started":
            report = replace(report, layers=(*report.layers, *_layers_of(message)))
            on_event(Started(report))
        elif message["kind"] == "failed":
            cause = Cause(message["cause"])
            return JailExit(cause, message["message"], report, hint=message["hint"], **used)
        elif message["kind"] == "done":
            return replace(_ended(worker, request, report, message), **used)
        else:
            on_event(_event(message))
    return None


def _event(message: dict[str, Any]) -> JailEvent:
    if message["kind"] == "progress":
        return Progress(float(message["fraction"]))
    if message["kind"] == "metric":
        return Metric(message["step"], message["values"])
    return LogText(message["stream"], message["text"])


def _layers_of(message: dict[str, Any]) -> list[str]:
    return [
        *message.get("layers", []),
        f"computed by {message['backend']}: {message['device']}",
    ]


def _messages(
    process: "subprocess.Popen[bytes]", asks: Asks | None, channel: socket.socket | None
) -> Iterator[dict[str, Any] | Question | None]:
    """Yield each message, and None at least every `POLL_S`, until the worker closes its stdout."""
    assert process.stdout is not None
    stdout = process.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        if channel is not None:
            selector.register(channel, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select(POLL_S)}
            if not ready:
                yield None
            if stdout in ready:  # first: what it told before it asked
                data = os.read(stdout, _READ_BYTES)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield json.loads(line)
            if asks is not None and channel is not None and channel in ready:
                yield from _question(asks, channel)


def _question(asks: Asks, channel: socket.socket) -> Iterator[Question]:
    """Take one question; its files are closed when it has been looked at."""
    text, files, _, _ = socket.recv_fds(
        channel, _QUESTION_BYTES_MAX, _FILES_MAX, socket.MSG_CMSG_CLOEXEC
    )
    try:
        yield Question(asks, channel, text, files)
    finally:
        for file in files:
            os.close(file)


@contextmanager
def _channel(worker: Worker) -> Generator[tuple[socket.socket | None, int]]:
    """Our end for questions, and the worker's standard input."""
    if worker.asks is None:
        yield None, subprocess.DEVNULL
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs.fileno()


def _ended(
    worker: Worker, request: JailRequest, report: JailReport, message: dict[str, Any]
) -> JailExit:
    folder = request.project.parent / OUTPUTS
    left = request.limits.output_bytes
    outputs: list[JailOutput] = []
    for each in message["outputs"]:
        name, summary = each["name"], each["summary"]
        if "file" not in each:
            outputs.append(JailOutput(name, "value", each["value"], summary=summary))
            continue
        path = folder / Path(each["file"]).name  # of that folder, whatever it says
        left -= path.stat().st_size
        if left < 0:
            limit = format_size(request.limits.output_bytes)
            sentence = f"output {name!r} does not fit the limit of {limit} for all outputs"
            hint = "ask for limits.output"
            return JailExit(Cause.OUTPUT_BYTES, sentence, report, hint=hint)
        kind = each.get("kind", "array")
        outputs.append(JailOutput(name, kind, content=path.read_bytes(), summary=summary))
    receipt = message.get("receipt")
    ended = JailExit(
        Cause.EXITED,
        f"the {worker.noun} ran to its end",
        report,
        exit_status=message.get("exit_status", 0),
        outputs=tuple(outputs),
        receipt=(folder / receipt).read_bytes() if receipt else None,
    )
    if ended.exit_status:
        return replace(ended, message=f"the {worker.noun} ended with status {ended.exit_status}")
    names = {output.name for output in outputs}
    missing = [name for name in request.required_outputs if name not in names]
    if missing:
        sentence = f"the {worker.noun} has no output {missing[0]!r}"
        return replace(ended, cause=Cause.OUTPUT_MISSING, message=sentence, exit_status=None)
    return ended


def _died(worker: Worker, status: int, said: str) -> JailExit:
    """End of a worker that did not say why: the node's trouble, not the user's."""
    message = f"the {worker.noun}'s process ended with status {status}"
    return JailExit(Cause.JAIL_ERROR, f"{message}: {said}" if said else message, worker.report)


def _tail(stderr: IO[bytes]) -> str:
    size = stderr.seek(0, 2)
    stderr.seek(max(0, size - STDERR_BYTES_MAX))
    lines = stderr.read().decode("utf-8", "backslashreplace").strip().splitlines()
    return lines[-1] if lines else ""
