"""One warm Python, seen from the host: how it is started, asked for jails, and ended."""

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections import deque
from typing import IO

from bcai.base.errors import NoJailError
from bcai.bridge.sandbox.cgroup import GroupLimits
from bcai.bridge.sandbox.confine import COMPILE_ALONE
from bcai.bridge.sandbox.environment import (
    JobPython,
    environment_variables,
    package_folder,
    python_command,
)
from bcai.bridge.sandbox.process import JailProcess, environment_binds, program_binds
from bcai.bridge.sandbox.standby import Standby

_WARM_S_MAX = 120.0
_KILL_WAIT_S = 5.0
_STATUS_BYTES_MAX = 1 << 16
_LULL_S = 0.02  # a job that has just started comes first
_STANDING_BY = 3  # jails of one zygote that wait for a job
_PREPARED_AT_ONCE = 4  # one after the other is quicker than many that make each other late


class Zygote:
    """One warm Python. `start` is safe to call from several threads."""

    def __init__(
        self, preload: tuple[str, ...], processes: int, python: JobPython, *, programs: bool
    ) -> None:
        self.jobs = 0
        self.running = 0
        self.born_at = time.monotonic()
        self.used_at = self.born_at
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._status, status = os.pipe()
        self._line = b""
        self._is_ready = False
        self._standing_by: deque[Standby] = deque()
        self._is_short = threading.Event()  # of jails that stand by
        self._preparing = threading.BoundedSemaphore(_PREPARED_AT_ONCE)
        self._is_closed = False
        self._refiller = threading.Thread(target=self._refill, name="bcai-standby", daemon=True)
        script = package_folder() / "bridge" / "sandbox" / "zygote.py"
        environment = environment_variables(processes) | {"OMP_NUM_THREADS": "1"}
        if programs:
            environment |= COMPILE_ALONE  # read when PyTorch is imported
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                python_command(python.executable, script),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), status),
                env=environment,
                cwd="/",
            )
        except OSError as error:
            os.close(self._status)
            self._requests.close()
            raise NoJailError(f"cannot start {python.executable}: {error}") from error
        finally:
            requests = theirs.fileno()
            theirs.close()
            os.close(status)
        plan = {
            "binds": environment_binds(python) + (program_binds() if programs else []),
            "sys_path": python.sys_path,
            "preload": preload,
            "parent": os.getpid(),
            "requests": requests,
            "status": status,
        }
        with contextlib.suppress(OSError):  # it died: `is_dead` says so
            self._stdin.write(json.dumps(plan).encode() + b"\n")
            self._stdin.flush()
        self._refiller.start()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def is_dead(self) -> bool:
        """Whether it has ended, or takes too long to start."""
        late = not self._is_ready and time.monotonic() - self.born_at > _WARM_S_MAX
        return late or self._process.poll() is not None

    def is_ready(self, wait_s: float = 0.0) -> bool:
        """Whether it takes jobs."""
        deadline = time.monotonic() + wait_s
        while not self._is_ready and not self.is_dead:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._status], [], [], left)[0]:
                break
            data = os.read(self._status, _STATUS_BYTES_MAX)
            self._line += data
            self._is_ready = any(b'"ready": true' in each for each in self._line.splitlines())
            if not data:
                break
            if self._is_ready:
                self._is_short.set()
        return self._is_ready and not self.is_dead

    def start(
        self,
        request: dict[str, object],
        *,
        outputs: int,
        limits: GroupLimits | None,
        inputs: int | None = None,
    ) -> JailProcess:
        """Start a job; takes over `outputs`.

        Raises
        ------
        OSError
            The zygote is gone; `outputs` is still the caller's.
        """
        jail = self._take()
        try:
            process = jail.start(request, outputs=outputs, limits=limits, inputs=inputs)
        except OSError:
            jail.close()
            raise
        self._is_short.set()
        return process

    def _take(self) -> Standby:
        """A jail for one job: the one that has stood by longest, or a new one."""
        with contextlib.suppress(IndexError):
            while True:
                jail = self._standing_by.popleft()
                if jail.is_alive:
                    return jail
                jail.close()
        return self._prepared()

    def _prepared(self) -> Standby:
        with self._preparing:
            return Standby(self._requests)

    def _refill(self) -> None:
        """Have jails prepared for the next jobs, until this zygote is gone or closed."""
        while self._is_short.wait():
            time.sleep(_LULL_S)
            self._is_short.clear()
            while not self._is_closed and len(self._standing_by) < _STANDING_BY:
                try:
                    self._standing_by.append(self._prepared())
                except OSError:  # it is gone, or slow; a job that starts will find out
                    break
            if self._is_closed:
                return

    def close(self) -> None:
        """End it, and every job in it."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._is_closed = True
        self._is_short.set()
        self._refiller.join()
        while self._standing_by:
            self._standing_by.popleft().close()
        self._requests.close()
        os.close(self._status)
