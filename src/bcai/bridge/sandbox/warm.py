"""Zygotes of this process: one by tenant and Python, started ahead, recycled by count and age.

A tenant's jobs in one environment share a zygote, hence the layout of its memory and its hash seed;
other tenants' never do. While a zygote warms up, and where there is none, jobs take the cold path.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from bcai.base.errors import NoJailError
from bcai.bridge.sandbox.cgroup import GroupLimits
from bcai.bridge.sandbox.environment import (
    JobPython,
    environment_variables,
    own_python,
    package_folder,
)
from bcai.bridge.sandbox.process import JailProcess, environment_binds
from bcai.bridge.sandbox.standby import Standby

PRELOAD = ("numpy", "torch")
_WARM_S_MAX = 120.0
_KILL_WAIT_S = 5.0
_STATUS_BYTES_MAX = 1 << 16
_LULL_S = 0.02  # a job that has just started comes first
_STANDING_BY = 3  # jails of one zygote that wait for a job


@dataclass(frozen=True, slots=True)
class ZygotePolicy:
    """How many zygotes, and how long each lives.

    Attributes
    ----------
    zygotes_max
        At most; the one that was used least recently goes first. 0 switches them off.
    jobs_max
        Jobs after which a zygote is replaced.
    age_s_max
        Seconds after which it is.
    """

    zygotes_max: int = 2
    jobs_max: int = 1000
    age_s_max: float = 3600.0
    preload: tuple[str, ...] = PRELOAD


class Zygote:
    """One warm Python. `start` is safe to call from several threads."""

    def __init__(self, preload: tuple[str, ...], processes: int, python: JobPython) -> None:
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
        self._is_closed = False
        self._refiller = threading.Thread(target=self._refill, name="bcai-standby", daemon=True)
        script = package_folder() / "bridge" / "sandbox" / "zygote.py"
        environment = environment_variables(processes) | {"OMP_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [python.executable, "-I", "-S", "-B", "-X", "utf8", str(script)],
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
            "binds": environment_binds(python),
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
        return Standby(self._requests)

    def _refill(self) -> None:
        """Have jails prepared for the next jobs, until this zygote is gone or closed."""
        while self._is_short.wait():
            time.sleep(_LULL_S)
            self._is_short.clear()
            while not self._is_closed and len(self._standing_by) < _STANDING_BY:
                try:
                    self._standing_by.append(Standby(self._requests))
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


_Key = tuple[str, JobPython]  # whose jobs, and in which environment


class ZygotePool:
    """Zygotes by tenant and Python; no Python given: the node's own."""

    def __init__(self, policy: ZygotePolicy, processes: int = 64) -> None:
        self._policy = policy
        self._processes = processes
        self._lock = threading.Lock()
        self._zygotes: dict[_Key, Zygote] = {}
        self._retired: list[Zygote] = []
        self._is_closed = False
        # A keeper dies with the thread that started it (PR_SET_PDEATHSIG), so one thread starts
        # them all and lives as long as the pool: those of callers come and go.
        self._starter = ThreadPoolExecutor(1, "bcai-zygotes")

    def warm_up(self, tenant: str, python: JobPython | None = None) -> None:
        """Start a tenant's zygote if there is none. Returns at once."""
        with self._lock:
            self._current((tenant, python or own_python()))

    def is_ready(self, tenant: str, wait_s: float = 0.0, python: JobPython | None = None) -> bool:
        """Whether the tenant's next job will start warm."""
        with self._lock:
            zygote = self._current((tenant, python or own_python()))
        return zygote is not None and zygote.is_ready(wait_s)

    def start(
        self,
        tenant: str,
        request: dict[str, object],
        *,
        outputs: int,
        limits: GroupLimits | None,
        python: JobPython | None = None,
        inputs: int | None = None,
    ) -> "tuple[JailProcess, Zygote] | None":
        """Start a job in the tenant's zygote, or return None if there is none that is ready.

        The caller gives the zygote back to `done` when the job has ended.
        """
        with self._lock:
            self._retire_worn()
            zygote = self._zygotes.get((tenant, python or own_python()))
            if zygote is None or not zygote.is_ready():
                return None
            zygote.jobs += 1
            zygote.running += 1
            zygote.used_at = time.monotonic()
        try:
            jail = zygote.start(request, outputs=outputs, limits=limits, inputs=inputs)
            return jail, zygote
        except OSError:  # the cold path will do, or say what is wrong
            self.done(zygote)
            return None

    def done(self, zygote: Zygote) -> None:
        """A job of this zygote has ended."""
        with self._lock:
            zygote.running -= 1
            self._close_idle()

    def close(self) -> None:
        """End all zygotes and their jobs; from now on every job starts cold."""
        with self._lock:
            self._is_closed = True
            for zygote in (*self._zygotes.values(), *self._retired):
                zygote.close()
            self._zygotes.clear()
            self._retired.clear()
            self._starter.shutdown()

    def _current(self, key: _Key) -> Zygote | None:
        policy = self._policy
        if policy.zygotes_max < 1 or self._is_closed:
            return None
        self._retire_worn()
        zygote = self._zygotes.get(key)
        if zygote is None:
            while len(self._zygotes) >= policy.zygotes_max:
                oldest = min(self._zygotes, key=lambda each: self._zygotes[each].used_at)
                self._retired.append(self._zygotes.pop(oldest))
            started = self._starter.submit(Zygote, policy.preload, self._processes, key[1])
            zygote = self._zygotes[key] = started.result()
        self._close_idle()
        return zygote

    def _retire_worn(self) -> None:
        for key in [each for each, zygote in self._zygotes.items() if self._is_worn(zygote)]:
            self._retired.append(self._zygotes.pop(key))
        self._close_idle()

    def _is_worn(self, zygote: Zygote) -> bool:
        age_s = time.monotonic() - zygote.born_at
        return (
            zygote.is_dead or zygote.jobs >= self._policy.jobs_max or age_s > self._policy.age_s_max
        )

    def _close_idle(self) -> None:
        idle = [each for each in self._retired if each.running == 0 or each.is_dead]
        for zygote in idle:
            self._retired.remove(zygote)
            zygote.close()
