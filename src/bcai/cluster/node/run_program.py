"""Runs a Program as a job: in a process of its own, within the job's limits, with its outputs."""

import json
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from bcai.base.units import format_duration_s, format_size
from bcai.bridge.sandbox.jail import (
    Cause,
    JailExit,
    JailLimits,
    JailOutput,
    JailRequest,
    OnEvent,
    Progress,
    Started,
)
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node.program_worker import OUTPUTS
from bcai.settings import EnhancedVmSettings

POLL_S = 0.1
STDERR_BYTES_MAX = 4096

REPORT = JailReport(
    level="program",
    layers=("verified program: no code of the user's runs", "process of its own", "memory limit"),
)


def launch_program(
    request: JailRequest,
    on_event: OnEvent,
    cancelled: threading.Event,
    *,
    settings: EnhancedVmSettings,
) -> JailExit:
    """Run the Program in `request.entry`; blocks until its process has ended."""
    report = _report(request.limits)
    started_at = time.monotonic()
    folder = request.project.parent
    command = [
        *(sys.executable, "-m", "bcai.cluster.node.program_worker"),
        *(str(folder), request.entry, str(request.limits.memory_bytes)),
        *(settings.hardware_backend, str(settings.threads or 0)),
    ]
    with (
        (folder / "stderr").open("w+b") as stderr,
        subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        ) as process,
    ):
        try:
            ended = _watch(process, request, report, on_event, cancelled)
        finally:
            process.kill()
        process.wait()
        wall_s = time.monotonic() - started_at
        if ended is None:
            ended = _died(process.returncode, _tail(stderr), report)
    return replace(ended, wall_s=wall_s)


def _report(limits: JailLimits) -> JailReport:
    in_force = {"wall_s": limits.wall_s, "memory_bytes": float(limits.memory_bytes)}
    return JailReport(REPORT.level, REPORT.layers, in_force)


def _watch(
    process: "subprocess.Popen[bytes]",
    request: JailRequest,
    report: JailReport,
    on_event: OnEvent,
    cancelled: threading.Event,
) -> JailExit | None:
    """Follow what the worker tells; None if it ends without a last word."""
    limits = request.limits
    deadline = time.monotonic() + limits.wall_s
    for message in _messages(process):
        if cancelled.is_set():
            return JailExit(Cause.CANCELLED, "cancelled", report)
        if time.monotonic() > deadline:
            limit = format_duration_s(limits.wall_s)
            return JailExit(
                Cause.WALL_TIME,
                f"ran longer than its limit of {limit}",
                report,
                hint="ask for more time with timeout",
            )
        if message is None:
            continue
        if message["kind"] == "started":
            report = replace(report, layers=(*report.layers, _computed_by(message)))
            on_event(Started(report))
        elif message["kind"] == "progress":
            on_event(Progress(float(message["fraction"])))
        elif message["kind"] == "failed":
            cause = Cause(message["cause"])
            return JailExit(cause, message["message"], report, hint=message["hint"])
        else:
            return _succeeded(request, report, message["outputs"])
    return None


def _computed_by(message: dict[str, Any]) -> str:
    return f"computed by {message['backend']}: {message['device']}"


def _messages(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any] | None]:
    """Yield each message, and None at least every `POLL_S`, until the worker closes its stdout."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(POLL_S):
                yield None
                continue
            line = process.stdout.readline()
            if not line:
                return
            yield json.loads(line)


def _succeeded(
    request: JailRequest, report: JailReport, described: list[dict[str, Any]]
) -> JailExit:
    folder = request.project.parent / OUTPUTS
    left = request.limits.output_bytes
    outputs: list[JailOutput] = []
    for each in described:
        name, summary = each["name"], each["summary"]
        if "file" not in each:
            outputs.append(JailOutput(name, "value", each["value"], summary=summary))
            continue
        path: Path = folder / each["file"]
        left -= path.stat().st_size
        if left < 0:
            limit = format_size(request.limits.output_bytes)
            message = f"output {name!r} does not fit the limit of {limit} for all outputs"
            return JailExit(Cause.OUTPUT_BYTES, message, report, hint="ask for limits.output")
        outputs.append(JailOutput(name, "array", content=path.read_bytes(), summary=summary))
    names = {output.name for output in outputs}
    missing = [name for name in request.required_outputs if name not in names]
    if missing:
        message = f"the program has no output {missing[0]!r}"
        return JailExit(Cause.OUTPUT_MISSING, message, report, outputs=tuple(outputs))
    return JailExit(
        Cause.EXITED, "the program ran to its end", report, exit_status=0, outputs=tuple(outputs)
    )


def _died(status: int, said: str, report: JailReport) -> JailExit:
    """End of a worker that did not say why: the node's trouble, not the user's."""
    message = f"the program's process ended with status {status}"
    return JailExit(Cause.JAIL_ERROR, f"{message}: {said}" if said else message, report)


def _tail(stderr: IO[bytes]) -> str:
    size = stderr.seek(0, 2)
    stderr.seek(max(0, size - STDERR_BYTES_MAX))
    lines = stderr.read().decode("utf-8", "backslashreplace").strip().splitlines()
    return lines[-1] if lines else ""
