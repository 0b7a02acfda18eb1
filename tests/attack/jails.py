"""Runs a script in a real jail, and the same script outside as the positive control."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from bcai.bridge.sandbox.gpu import GpuDevice
from bcai.bridge.sandbox.jail import (
    JailEvent,
    JailExit,
    JailLimits,
    JailRequest,
    LogText,
    Metric,
    Progress,
)
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.trainer import Trainer
from bcai.bridge.sandbox.warm import ZygotePool

LIMITS = JailLimits(
    wall_s=120.0,
    memory_bytes=2 << 30,
    log_bytes=16 << 20,
    output_bytes=64 << 20,
    disk_bytes=64 << 20,
    processes=64,
)


@dataclass
class Run:
    """What a job did, in a form that tests can ask."""

    exit: JailExit
    stdout: str = ""
    stderr: str = ""
    metrics: list[Metric] = field(default_factory=list[Metric])
    progress: list[float] = field(default_factory=list[float])

    @property
    def values(self) -> dict[str, object]:
        return {item.name: item.value for item in self.exit.outputs if item.kind == "value"}


@dataclass
class Jail:
    """Launches jobs from a folder of the test's own."""

    folder: Path
    data: Path | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    arguments: tuple[str, ...] = ()
    on_event: Callable[[JailEvent], None] = lambda event: None
    required_outputs: tuple[str, ...] = ()
    zygotes: ZygotePool | None = None
    level_max: str = "A"
    security_level: str = "high"
    trainer: Trainer | None = None
    gpus: tuple[GpuDevice, ...] = ()

    def run(self, code: str | bytes, **limits: float) -> Run:
        script = self.folder / "job.py"
        script.write_bytes(code.encode() if isinstance(code, str) else code)
        streams = {"stdout": "", "stderr": ""}
        metrics: list[Metric] = []
        progress: list[float] = []

        def take(event: JailEvent) -> None:
            if isinstance(event, LogText):
                streams[event.stream] += event.text
            elif isinstance(event, Metric):
                metrics.append(event)
            elif isinstance(event, Progress):
                progress.append(event.fraction)
            self.on_event(event)

        request = JailRequest(
            self.folder,
            "job.py",
            self.data,
            self.arguments,
            replace(LIMITS, **limits),
            self.required_outputs,
            security_level=self.security_level,
            gpus=self.gpus,
        )
        ended = launch(
            request,
            take,
            self.cancelled,
            self.zygotes,
            level_max=self.level_max,
            trainer=self.trainer,
        )
        return Run(ended, streams["stdout"], streams["stderr"], metrics, progress)

    def run_outside(self, code: str) -> str:
        """Run the same script without a jail; return what it printed."""
        script = self.folder / "job.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, "-B", str(script), *self.arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            check=False,
            env={**os.environ, "BCAI_SECRET": "opensesame"},
        )
        return done.stdout + done.stderr
