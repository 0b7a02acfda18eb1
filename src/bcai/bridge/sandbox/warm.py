"""Zygotes of this process, started ahead, recycled by count and age: by tenant, Python and rung.

A tenant's jobs in one environment share a zygote, hence the layout of its memory; other tenants'
never do. Nor do jobs that may start programs and those that may not: the root of a zygote, which
its jobs inherit, holds programs or does not. While a zygote warms up, and where there is none, jobs
take the cold path.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from bcai.bridge.sandbox.cgroup import GroupLimits
from bcai.bridge.sandbox.environment import JobPython, own_python
from bcai.bridge.sandbox.process import JailProcess
from bcai.bridge.sandbox.warm_python import Zygote

PRELOAD = ("numpy", "torch")


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


@dataclass(frozen=True, slots=True)
class _Key:
    """Whose jobs, in which environment, and whether they may start programs."""

    tenant: str
    python: JobPython
    programs: bool

    @staticmethod
    def of(tenant: str, python: JobPython | None, *, programs: bool) -> "_Key":
        return _Key(tenant, python or own_python(), programs)


class ZygotePool:
    """Zygotes by tenant, Python and rung; no Python given: the node's own."""

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

    def warm_up(
        self, tenant: str, python: JobPython | None = None, *, programs: bool = False
    ) -> None:
        """Start a tenant's zygote if there is none. Returns at once."""
        with self._lock:
            self._current(_Key.of(tenant, python, programs=programs))

    def is_ready(
        self,
        tenant: str,
        wait_s: float = 0.0,
        python: JobPython | None = None,
        *,
        programs: bool = False,
    ) -> bool:
        """Whether the tenant's next job will start warm."""
        with self._lock:
            zygote = self._current(_Key.of(tenant, python, programs=programs))
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
        programs: bool = False,
    ) -> "tuple[JailProcess, Zygote] | None":
        """Start a job in the tenant's zygote, or return None if there is none that is ready.

        The caller gives the zygote back to `done` when the job has ended.
        """
        with self._lock:
            self._retire_worn()
            zygote = self._zygotes.get(_Key.of(tenant, python, programs=programs))
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
            make = partial(
                Zygote, policy.preload, self._processes, key.python, programs=key.programs
            )
            zygote = self._zygotes[key] = self._starter.submit(make).result()
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
