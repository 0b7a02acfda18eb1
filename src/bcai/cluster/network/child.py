"""One child process of a network: started, watched, restarted, stopped; it dies with us."""

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from bcai.base.backoff import backoff_s
from bcai.cluster.network.events import NetworkEvent, Tell

LOG_BYTES_MAX = 5 * 1024 * 1024  # a log that is longer when its process starts becomes NAME.log.1
RESTART_FIRST_S = 0.1
RESTART_MOST_S = 5.0
STEADY_S = 30.0  # one that lived as long starts over with short waits
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork


@dataclass(frozen=True, slots=True)
class Command:
    """What a child runs: a module of ours, its environment, and a descriptor that it inherits."""

    name: str
    module: str
    environment: Mapping[str, str]
    log: Path
    arguments: tuple[str, ...] = ()
    inherited: tuple[int, ...] = ()


class Child:
    """Keeps one process alive until `stop`."""

    def __init__(self, command: Command, tell: Tell) -> None:
        self.name = command.name
        self.log = command.log
        self.starts = 0
        self._command = command
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = anyio.Event()
        self._gone = anyio.Event()

    async def keep_alive(self) -> None:
        """Start it, and start it again whenever it dies, for as long as the network lives.

        There is no limit on restarts: giving up would end every job of the network, and the
        wait between two bounds what they cost.
        """
        failures = 0
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                process = self._process = start_process(self._command)
                self.starts += 1
                await _until_ended(process)
                if self._stopping.is_set():
                    return
                failures = 1 if time.monotonic() - began > STEADY_S else failures + 1
                await self._rest(process, failures)
        finally:
            self._gone.set()

    async def stop(self, grace_s: float) -> None:
        """End it: SIGTERM, then SIGKILL for what is still there after `grace_s`."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        with anyio.move_on_after(grace_s):
            await self._gone.wait()
            return
        self._signal(signal.SIGKILL)
        await self._gone.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)  # does nothing once it has been reaped

    async def _rest(self, process: subprocess.Popen[bytes], failures: int) -> None:
        wait_s = backoff_s(
            failures,
            first_s=RESTART_FIRST_S,
            most_s=RESTART_MOST_S,
            jitter=random.random(),  # noqa: S311 - spreads load, guards nothing
        )
        ending = describe_status(process.returncode)
        self._tell(
            NetworkEvent(
                "restarted",
                f"the {self.name} (process {process.pid}) {ending}; "
                f"it starts again in {wait_s:.1f} s; its log: {self.log}",
                {"name": self.name, "pid": process.pid, "status": process.returncode},
            )
        )
        with anyio.move_on_after(wait_s):
            await self._stopping.wait()


def start_process(command: Command) -> subprocess.Popen[bytes]:
    """Start a child that gets SIGKILL from the kernel when this process dies, however it dies."""
    _rotate(command.log)
    with command.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", command.module, *command.arguments],
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=command.inherited,
            process_group=0,  # Ctrl-C is for us; we stop the children in order
            preexec_fn=_dies_with(os.getpid()),  # safe: we have no threads
        )


def log_tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a child's log."""
    with suppress(OSError):
        text = log.read_bytes()[-LOG_BYTES_MAX:].decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-lines:])
    return ""


def describe_status(status: int) -> str:
    """`was killed by SIGKILL`, `ended with status 1`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _dies_with(parent: int) -> Callable[[], None]:
    def arrange() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we had arranged that
            os._exit(1)

    return arrange


def _rotate(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_name(log.name + ".1"))


async def _until_ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process without a thread: a process with threads must not fork as we do."""
    handle = os.pidfd_open(process.pid)
    try:
        await anyio.wait_readable(handle)
    finally:
        os.close(handle)
    process.wait()
