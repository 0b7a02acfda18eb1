"""Watches one jail from outside until it has ended, and gathers the facts about how."""

import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from bcai.base.errors import FormatError
from bcai.bridge.limits import MESSAGE_BYTES_MAX
from bcai.bridge.sandbox.capture_asked import AskedCapture, Capturer
from bcai.bridge.sandbox.jail import Cause, JailRequest, Metric, OnEvent, Progress, Started
from bcai.bridge.sandbox.level import JailReport
from bcai.bridge.sandbox.logs import LogBudget, LogStream
from bcai.bridge.sandbox.messages import (
    Announced,
    CaptureAsked,
    Ended,
    Forgotten,
    TooLarge,
    TrainingAsked,
    Warned,
    parse_message,
)
from bcai.bridge.sandbox.metrics import PER_S, MetricGate
from bcai.bridge.sandbox.outputs import OUTPUTS_MAX
from bcai.bridge.sandbox.process import JailProcess
from bcai.bridge.sandbox.text import one_line
from bcai.bridge.sandbox.trainer import FILES, Trainer
from bcai.bridge.sandbox.training_asked import AskedTraining

_TICK_S = 0.05
_BUILD_S_MAX = 60.0  # from start to the first line of the user's code
_DRAIN_S_MAX = 20.0  # from the kill to the last byte of the pipes
_READ_BYTES = 1 << 16
REPORT_BYTES_MAX = 64 << 20  # metrics of a job: about a million points
_ALARM_S = 1.0  # beyond the wall limit: then a jail is killed even while nobody takes its events
_GARBAGE_MAX = 100  # messages that are not ours
_WARNINGS_MAX = 100
_STATUS_BYTES_MAX = 1 << 16


@dataclass(slots=True)
class Facts:
    """What is known about a run. `stopped` is our own doing; the rest was observed or claimed."""

    stopped: Cause | None = None
    stop_detail: str = ""
    failed_wall: str = ""
    is_started: bool = False
    over: str = ""  # the limit for which the jail's first process ended the job
    full: frozenset[str] = frozenset()  # at the end: some of `disk`, `inodes`, `file`
    ever_full: frozenset[str] = frozenset()
    is_machine_out_of_memory: bool = False
    status: int | None = None
    cpu_s: float = 0.0
    memory_bytes_peak: int = 0
    disk_bytes_peak: int = 0
    inodes_peak: int = 0
    processes_peak: int = 0
    claim: Ended | None = None
    too_large: str = ""
    announced: dict[str, Announced] = field(default_factory=dict[str, Announced])
    warnings: list[str] = field(default_factory=list[str])
    log_bytes: int = 0
    stderr_tail: str = ""
    wall_s: float = 0.0


class Supervisor:
    """One run: reads four pipes, keeps the limits that only the host can keep."""

    def __init__(
        self,
        jail: JailProcess,
        request: JailRequest,
        report: JailReport,
        on_event: OnEvent,
        cancelled: threading.Event,
        trainer: Trainer | None = None,
        capturer: Capturer | None = None,
    ) -> None:
        self._jail = jail
        self._limits = request.limits
        self._report = report
        self._on_event = on_event
        self._cancelled = cancelled
        self._facts = Facts()
        self._budget = LogBudget(request.limits.log_bytes)
        self._stdout = LogStream("stdout", self._budget, on_event)
        self._stderr = LogStream("stderr", self._budget, on_event)
        self._selector = selectors.DefaultSelector()
        self._deadline = time.monotonic() + _BUILD_S_MAX
        self._started_at: float | None = None
        self._status_line = b""
        self._report_bytes = 0
        self._garbage = 0
        self._alarm: threading.Timer | None = None
        self._metrics = MetricGate(on_event)
        self._progress: Progress | None = None
        self._not_finite: set[str] = set()
        self._training = AskedTraining(jail.pipes.control, trainer, request.limits.memory_bytes)
        self._capture = AskedCapture(jail.pipes.control, capturer, request.limits.memory_bytes)

    def watch(self) -> Facts:
        """Return when nothing of the job is left."""
        pipes = self._jail.pipes
        readers: list[tuple[int | socket.socket, Callable[[], bool]]] = [
            (
                self._jail.pipes.stdout,
                lambda: self._read_log(self._jail.pipes.stdout, self._stdout),
            ),
            (
                self._jail.pipes.stderr,
                lambda: self._read_log(self._jail.pipes.stderr, self._stderr),
            ),
            (pipes.status, self._read_status),
            (pipes.control, self._read_control),
        ]
        for descriptor in (pipes.stdout, pipes.stderr):
            os.set_blocking(descriptor, False)
        try:
            self._serve(readers)
        finally:
            self._stop_alarm()
            self._training.end()
        self._jail.end()
        self._stdout.finish()
        self._stderr.finish()
        self._metrics.finish()
        self._send_progress()
        if self._metrics.left_out:
            self._warn(
                f"{self._metrics.left_out} points of the metrics were left out: they came faster "
                f"than {PER_S:g} a second"
            )
        facts = self._facts
        facts.log_bytes, facts.stderr_tail = self._budget.used, self._stderr.tail
        if self._started_at is not None:
            facts.wall_s = time.monotonic() - self._started_at
        return facts

    def _serve(self, readers: list[tuple[int | socket.socket, Callable[[], bool]]]) -> None:
        with self._selector:
            for source, read in readers:
                self._selector.register(source, selectors.EVENT_READ, read)
            while self._selector.get_map():
                for key, _ in self._selector.select(_TICK_S):
                    if not cast("Callable[[], bool]", key.data)():
                        self._selector.unregister(key.fileobj)
                self._flush_due()
                if not self._may_go_on():
                    break

    def _set_alarm(self) -> None:
        """Keep the wall limit by a thread, too: `on_event` may block while a network is away."""
        self._alarm = threading.Timer(self._limits.wall_s + _ALARM_S, self._jail.let_go)
        self._alarm.daemon = True
        self._alarm.start()

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm.join()

    def _may_go_on(self) -> bool:
        """Check the limits; False when a killed jail does not even close its pipes."""
        now = time.monotonic()
        if self._facts.stopped is not None:
            return now < self._deadline
        if self._cancelled.is_set():
            self._stop(Cause.CANCELLED)
        elif now >= self._deadline:
            is_started = self._started_at is not None
            self._stop(Cause.WALL_TIME if is_started else Cause.JAIL_ERROR, "it took too long")
        elif self._is_beyond(self._facts.memory_bytes_peak):
            self._stop(Cause.MEMORY)
        elif self._budget.is_exceeded:
            self._stop(Cause.LOG_BYTES, "output")
        elif self._report_bytes > REPORT_BYTES_MAX:
            self._stop(Cause.LOG_BYTES, "metrics")
        elif self._garbage > _GARBAGE_MAX:
            self._stop(Cause.OUTPUT_INVALID, "the script wrote garbage to its report channel")
        return True

    def _is_beyond(self, used_bytes: int) -> bool:
        """Whether the script and what runs for it outside take more than the job's memory."""
        training, capture = self._training, self._capture
        return training.leaves_less_than(used_bytes) or capture.leaves_less_than(used_bytes)

    def _stop(self, cause: Cause, detail: str = "") -> None:
        self._facts.stopped, self._facts.stop_detail = cause, detail
        self._deadline = time.monotonic() + _DRAIN_S_MAX
        self._jail.let_go()

    def _flush_due(self) -> None:
        for event in self._training.serve():
            self._take_message(event)
        self._stdout.flush_if_due()
        self._stderr.flush_if_due()
        self._metrics.flush_if_due()
        self._send_progress()

    def _send_progress(self) -> None:
        if self._progress is not None:
            progress, self._progress = self._progress, None
            self._on_event(progress)

    def _read_log(self, descriptor: int, stream: LogStream) -> bool:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return True  # the job opened its own pipe through /proc and was quicker
        stream.feed(data)
        return bool(data)

    def _read_status(self) -> bool:
        data = os.read(self._jail.pipes.status, _READ_BYTES)
        *lines, self._status_line = (self._status_line + data).split(b"\n")
        for line in lines:
            self._take_status(cast("dict[str, object]", json.loads(line)))
        return bool(data) and len(self._status_line) <= _STATUS_BYTES_MAX

    def _take_status(self, fact: dict[str, object]) -> None:
        facts = self._facts
        if "started" in fact:
            facts.is_started = True
            self._started_at = time.monotonic()
            self._deadline = self._started_at + self._limits.wall_s
            self._set_alarm()
            self._on_event(Started(self._report))
        elif "failed" in fact:
            facts.failed_wall = f"{fact['failed']}: {fact.get('error')}"
        elif "over" in fact:
            facts.over = str(fact["over"])
        elif "memory_bytes" in fact:
            facts.memory_bytes_peak = cast("int", fact["memory_bytes"])
        elif "machine_out_of_memory" in fact:
            facts.is_machine_out_of_memory = True
        elif "ended" in fact:
            facts.status = cast("int", fact["ended"])
        elif "seen" in fact:
            self._take_seen(cast("dict[str, Any]", fact["seen"]))
        elif "full_file" in fact:
            facts.full |= {"file"}
        elif "cpu_s" in fact:
            facts.cpu_s = max(facts.cpu_s, cast("float", fact["cpu_s"]))
            peak = cast("int", fact.get("peak", 0))  # of the largest process
            facts.memory_bytes_peak = max(facts.memory_bytes_peak, peak)

    def _take_seen(self, seen: dict[str, Any]) -> None:
        facts = self._facts
        facts.full |= frozenset(seen["full"])
        facts.ever_full |= frozenset(seen["ever_full"])
        facts.memory_bytes_peak = seen["memory_bytes_peak"]
        facts.cpu_s = max(facts.cpu_s, seen["cpu_s"])
        facts.disk_bytes_peak = seen.get("disk_bytes_peak", 0)
        facts.inodes_peak = seen.get("inodes_peak", 0)
        facts.processes_peak = seen.get("processes_peak", 0)

    def _read_control(self) -> bool:
        """Take one message. False when the job has closed its end (or sent an empty message)."""
        try:
            data, files, _, _ = socket.recv_fds(
                self._jail.pipes.control, MESSAGE_BYTES_MAX + 1, FILES, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False
        try:
            return self._take_datagram(data, files)
        finally:
            for file in files:
                os.close(file)

    def _take_datagram(self, data: bytes, files: Sequence[int]) -> bool:
        if not data:
            return False
        if self._facts.stopped is not None:
            return True  # read on, so that nothing blocks, but believe nothing any more
        self._report_bytes += len(data)
        try:
            message = parse_message(data)
            if isinstance(message, TrainingAsked):
                wall_s = max(0.0, self._deadline - time.monotonic())
                # Pid 1 has told what it saw at its last look; a script that says too little now is
                # ended for it at the next.
                used_bytes = max(self._facts.memory_bytes_peak, message.memory_bytes)
                self._training.ask(files, self._report, wall_s, used_bytes)
            elif isinstance(message, CaptureAsked):
                self._capture.ask(self._report)
            else:
                self._take_message(message)
        except FormatError:
            self._garbage += 1
        return True

    def _take_message(self, message: object) -> None:
        facts = self._facts
        if isinstance(message, Metric):
            self._warn_of_nan(message)
            self._metrics.feed(message)
        elif isinstance(message, Progress):
            self._progress = message
        elif isinstance(message, Announced):
            if len(facts.announced) < OUTPUTS_MAX:
                facts.announced[message.name] = message
        elif isinstance(message, Forgotten):
            facts.announced.pop(message.name, None)
        elif isinstance(message, Warned):
            self._warn(message.message)
        elif isinstance(message, TooLarge):
            facts.too_large = one_line(message.message)
        elif isinstance(message, Ended):
            facts.claim = message

    def _warn_of_nan(self, metric: Metric) -> None:
        """Say once per metric that training went wrong, and when."""
        for name, value in metric.values.items():
            if value - value != 0 and name not in self._not_finite:  # nan or infinite
                self._not_finite.add(name)
                when = "" if metric.step is None else f" at step {metric.step}"
                self._warn(f"{name} became {value}{when}")

    def _warn(self, message: str) -> None:
        if len(self._facts.warnings) < _WARNINGS_MAX:
            self._facts.warnings.append(one_line(message))
