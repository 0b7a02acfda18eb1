"""Running jobs in jails, and measuring them from outside. Used by the other jail benches."""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcai.bridge.sandbox.jail import Cause, JailEvent, JailExit, JailLimits, JailRequest, LogText
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.warm import ZygotePolicy, ZygotePool

RESULTS = Path(__file__).parent / "results"
LIMITS = JailLimits(120.0, 2 << 30, 1 << 20, 64 << 20, 64 << 20, 64)


@dataclass
class Job:
    """One job that has ended."""

    exit: JailExit
    first_s: float | None  # from the call to its first output
    total_s: float
    text: str


def run(
    folder: Path,
    pool: ZygotePool | None,
    *,
    limits: JailLimits = LIMITS,
    tenant: str = "",
    after: Callable[[threading.Event, JailEvent], None] = lambda cancelled, event: None,
) -> Job:
    """Run `job.py` of a folder. `after` sees every event, and may cancel the job."""
    first: list[float] = []
    text: list[str] = []
    cancelled = threading.Event()

    def note(event: JailEvent) -> None:
        if isinstance(event, LogText):
            first.append(time.perf_counter() - began)
            text.append(event.text)
        after(cancelled, event)

    request = JailRequest(folder, "job.py", None, (), limits, tenant=tenant)
    began = time.perf_counter()
    ended = launch(request, note, cancelled, pool)
    total_s = time.perf_counter() - began
    return Job(ended, first[0] if first else None, total_s, "".join(text))


def run_well(folder: Path, pool: ZygotePool | None) -> Job:
    """Run a job that must end well and print something."""
    job = run(folder, pool)
    assert job.exit.cause is Cause.EXITED, job.exit
    assert job.first_s is not None
    return job


def ready_pool() -> ZygotePool:
    """A pool whose first owner has a warm Python that is never replaced."""
    pool = ZygotePool(ZygotePolicy(jobs_max=1 << 30))
    assert pool.is_ready("", wait_s=120), "no warm Python on this machine; see `bcai doctor`"
    return pool


def descendants() -> list[int]:
    """Process ids below this process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def pss_bytes(pids: list[int]) -> int:
    """Memory of processes, where a page that several share counts in parts."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(each.split()[1]) << 10 for each in lines if each.startswith("Pss:"))
    return total


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def write(name: str, found: Any, folder: Path = RESULTS) -> None:
    """Write figures to bench/results."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
