"""Follows a process that runs a job beside the jail and tells what happens, one line at a time.

Each line of its stdout is a JSON object with a `kind`: `started` (`backend`, `device`, perhaps
`layers`), `progress` (`fraction`), `metric` (`step`, `values`), `log` (`stream`, `text`), and at
the end `done` (`outputs`, perhaps `exit_status`) or `failed` (`cause`, `message`, `hint`); the last
may hold `used`, the fields of JailExit that say what was used. Outputs are files of the folder
`outputs` beside the project.
"""

import json
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from bcai.base.units import format_duration_s, format_size
from bcai.bridge.sandbox.jail import (
    Cause,
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


@dataclass(frozen=True, slots=True)
class Worker:
    """How one job's process is started.

    Attributes
    ----------
    noun
        What runs, in sentences: `program`.
    grace_s
        How long after its time limit it may take to say so itself.
    """

    noun: str
    command: Sequence[str]
    report: JailReport
    grace_s: float = 0.0


def run_worker(
    worker: Worker, request: JailRequest, on_event: OnEvent, cancelled: threading.Event
) -> JailExit:
    """Run a worker to its end; blocks until its process has ended."""
    started_at = time.monotonic()
    with (
        (request.project.parent / "stderr").open("w+b") as stderr,
        subprocess.Popen(  # noqa: S603
            worker.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        ) as process,
    ):
        try:
            ended = _watch(process, worker, request, on_event, cancelled)
        finally:
            process.kill()
        process.wait()
        wall_s = time.monotonic() - started_at
        if ended is None:
            ended = _died(worker, process.returncode, _tail(stderr))
    return replace(ended, wall_s=wall_s)


def _watch(
    process: "subprocess.Popen[bytes]",
    worker: Worker,
    request: JailRequest,
    on_event: OnEvent,
    cancelled: threading.Event,
) -> JailExit | None:
    """Follow what the worker tells; None if it ends without a last word."""
    limits, report = request.limits, worker.report
    deadline = time.monotonic() + limits.wall_s + worker.grace_s
    for message in _messages(process):
        if cancelled.is_set():
            return JailExit(Cause.CANCELLED, "cancelled", report)
        if time.monotonic() > deadline:
            limit = format_duration_s(limits.wall_s)
            sentence = f"ran longer than its limit of {limit}"
            hint = "ask for more time with timeout"
            return JailExit(Cause.WALL_TIME, sentence, report, hint=hint)
        if message is None:
            continue
        used = message.get("used", {})
        if message["kind"] == "started":
            report = replace(report, layers=(*report.layers, *_layers_of(message)))
            on_event(Started(report))
        elif message["kind"] == "progress":
            on_event(Progress(float(message["fraction"])))
        elif message["kind"] == "metric":
            on_event(Metric(message["step"], message["values"]))
        elif message["kind"] == "log":
            on_event(LogText(message["stream"], message["text"]))
        elif message["kind"] == "failed":
            cause = Cause(message["cause"])
            return JailExit(cause, message["message"], report, hint=message["hint"], **used)
        else:
            return replace(_ended(worker, request, report, message), **used)
    return None


def _layers_of(message: dict[str, Any]) -> list[str]:
    return [
        *message.get("layers", []),
        f"computed by {message['backend']}: {message['device']}",
    ]


def _messages(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any] | None]:
    """Yield each message, and None at least every `POLL_S`, until the worker closes its stdout."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(POLL_S):
                yield None
                continue
            data = os.read(descriptor, _READ_BYTES)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield json.loads(line)


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
        path: Path = folder / each["file"]
        left -= path.stat().st_size
        if left < 0:
            limit = format_size(request.limits.output_bytes)
            sentence = f"output {name!r} does not fit the limit of {limit} for all outputs"
            hint = "ask for limits.output"
            return JailExit(Cause.OUTPUT_BYTES, sentence, report, hint=hint)
        kind = each.get("kind", "array")
        outputs.append(JailOutput(name, kind, content=path.read_bytes(), summary=summary))
    ended = JailExit(
        Cause.EXITED,
        f"the {worker.noun} ran to its end",
        report,
        exit_status=message.get("exit_status", 0),
        outputs=tuple(outputs),
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
