"""Runs a captured job: the script in its jail, its tensor operations in a process beside it."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bcai.base.units import format_count
from bcai.bridge.sandbox.jail import Cause, JailExit, JailLimits, JailOutput, JailRequest, OnEvent
from bcai.bridge.sandbox.warm import ZygotePool
from bcai.cluster.node.receipts import ReceiptPlan
from bcai.cluster.node.run_python import launch_python
from bcai.cluster.node.worker_messages import LEFT, OUTPUTS
from bcai.jobs.captured import GIVEN
from bcai.settings import EnhancedVmSettings

LAYER = "its tensor operations ran outside the jail: verified programs, in a process of their own"
_SHARE = 2  # of the memory limit: one part of so many is for the captured tensors
_POLL_S = 0.1
_LAST_WORD_S = 5.0
_LEFT_S_MIN = 30.0  # to finish what the script had handed over when it ended


@dataclass(slots=True)
class CaptureSession:
    """The `Capturer` of one job, and how its receipt is made.

    Attributes
    ----------
    folder
        Of the capture alone; no part of it is shown in the jail.
    """

    folder: Path
    limits: JailLimits
    plan: ReceiptPlan
    settings: EnhancedVmSettings
    _process: "subprocess.Popen[bytes] | None" = None
    _told: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _reader: threading.Thread | None = None

    @property
    def memory_bytes(self) -> int:
        """What captured tensors may take."""
        return self.limits.memory_bytes // _SHARE

    def begin(self) -> int:
        """Start the process; returns the script's end of the channel."""
        self.folder.mkdir(mode=0o700)
        self.plan.write(self.folder)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        machine = self.settings
        with ours, (self.folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-P", "-m", "bcai.cluster.node.capture_worker"),
                    *(str(self.folder), str(self.memory_bytes), machine.hardware_backend),
                    *(str(machine.threads or 0), str(ours.fileno())),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=[ours.fileno()],
            )
        self._reader = threading.Thread(target=self._read, name="bcai-capture", daemon=True)
        self._reader.start()
        return theirs.detach()

    def finish(self, ended: JailExit, wall_s: float, cancelled: threading.Event) -> JailExit:
        """The end of the job with its receipt, or why the capture failed."""
        if self._process is None:
            return ended
        if ended.cause is not Cause.EXITED or ended.exit_status:
            self._close()
            return self._refused(ended) or ended
        self._leave(ended)
        deadline = time.monotonic() + max(wall_s, _LEFT_S_MIN)
        assert self._reader is not None
        while self._reader.is_alive() and time.monotonic() < deadline:
            if cancelled.is_set():
                return replace(ended, cause=Cause.CANCELLED, message="cancelled", outputs=())
            self._reader.join(_POLL_S)
        if self._reader.is_alive():
            return replace(ended, cause=Cause.WALL_TIME, outputs=(), message=_LATE)
        done = next((each for each in self._told if each["kind"] == "done"), None)
        if done is None:
            return self._refused(ended) or replace(
                ended, cause=Cause.JAIL_ERROR, outputs=(), message="capture: its process ended"
            )
        return self._with_receipt(ended, done)

    def end(self) -> None:
        """Leave nothing of the process."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._reader is not None:
            self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.append(json.loads(line))

    def _leave(self, ended: JailExit) -> None:
        """Tell the worker what left the jail, so that it can be found in the trace."""
        named: list[Mapping[str, str]] = []
        for number, output in enumerate(ended.outputs):
            content = output.content if output.content is not None else _plain(output.value)
            path = self.folder / f"left-{number}"
            path.write_bytes(content)
            named.append({"name": output.name, "kind": output.kind, "file": path.name})
        jail = [ended.jail.level, [*ended.jail.layers, LAYER]]
        # In a file: a pipe holds less, and the worker may not read for long.
        (self.folder / LEFT).write_text(json.dumps({"jail": jail, "outputs": named}))
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except OSError:
            return  # it has ended, and has said why

    def _close(self) -> None:
        """Let the process end: nothing is to be signed. It may have a word to say."""
        assert self._process is not None
        assert self._reader is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reader.join(_LAST_WORD_S)

    def _refused(self, ended: JailExit) -> JailExit | None:
        """The end of the job where the process has refused what the script handed over."""
        for each in self._told:
            if each["kind"] == "failed":
                return replace(
                    ended, cause=Cause(each["cause"]), message=each["message"], hint=each["hint"],
                    exit_status=None, outputs=(),
                )  # fmt: skip
        return None

    def _with_receipt(self, ended: JailExit, done: dict[str, Any]) -> JailExit:
        folder = self.folder / OUTPUTS
        outputs, warnings = ended.outputs, ended.warnings
        if done["values"]:
            given = (folder / done["given"]).read_bytes()
            left = sum(len(each.content or b"") for each in outputs) + len(given)
            if left <= self.limits.output_bytes:
                summary = format_count(done["values"], "value")
                kept = JailOutput(GIVEN, "state_dict", content=given, summary=summary)
                outputs = (*outputs, kept)
            else:
                warnings = (*warnings, _NO_GIVEN.format(size=len(given)))
        return replace(
            ended,
            jail=replace(ended.jail, layers=(*ended.jail.layers, LAYER)),
            outputs=outputs,
            warnings=warnings,
            cpu_s=ended.cpu_s + done["used"]["cpu_s"],
            memory_bytes_peak=ended.memory_bytes_peak + done["bytes_peak"],
            receipt=(folder / done["receipt"]).read_bytes(),
        )


_LATE = "the captured operations took longer than the job's time limit"
_NO_GIVEN = (
    "the values that the script gave have {size} bytes and do not fit limits.output: the receipt "
    "cannot be replayed without them"
)


def launch_captured(
    session: CaptureSession,
    request: JailRequest,
    on_event: OnEvent,
    cancelled: threading.Event,
    *,
    zygotes: ZygotePool,
    level_max: str,
) -> JailExit:
    """Run the job; blocks until nothing of it is left."""
    started = time.monotonic()
    try:
        ended = launch_python(
            request, on_event, cancelled, zygotes=zygotes, level_max=level_max, capturer=session
        )
        left = request.limits.wall_s - (time.monotonic() - started)
        finished = session.finish(ended, left, cancelled)
        return replace(finished, wall_s=time.monotonic() - started, jail=finished.jail)
    finally:
        session.end()


def _plain(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
