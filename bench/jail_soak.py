"""Thousands of jobs, one in five of them hostile, and what is left of them afterwards: nothing.

    python bench/jail_soak.py [--jobs 5000] [--threads 4] [--results FOLDER]

Jobs of two owners start from warm Pythons, four at a time; those that mean harm come in the turns
of `hostile_jobs.py`. Every end is checked, and every result of an honest job. Before the first and
after the last one the process that ran them, its descendants and the machine are looked at. Prints
both and what changed; exits with 1 if a job ended as it must not or something was left behind.
Writes bench/results/jail_soak.json.
"""

import argparse
import ctypes
import gc
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from hostile_jobs import HOSTILE
from jail_jobs import LIMITS, RESULTS, descendants, run, write

from bcai.bridge.sandbox.jail import Cause, JailEvent, JailExit, LogText
from bcai.bridge.sandbox.warm import ZygotePolicy, ZygotePool

_HOSTILE_EVERY = 5
_OWNERS = ("ada", "bob")
_MEMORY_KB_MAX = 16_384  # that the launching process may have grown by: caches, arenas
_SETTLE_S_MAX = 20.0
_LIMITS = replace(LIMITS, memory_bytes=256 << 20, disk_bytes=8 << 20, processes=32)
_HONEST = """
import os, torch
bcai_number = {number}
work = os.listdir('/job')
open('/job/bcai-left', 'w').write('x'); open('/dev/shm/bcai-left', 'w').write('x')
answer = int(torch.arange({number} + 1).sum())
print('done')
"""


def look() -> dict[str, int]:
    """What a process that runs jobs could lose: its own things, and things of the machine."""
    below = descendants()
    status = Path("/proc/self/status").read_text().splitlines()
    memory = next(int(each.split()[1]) for each in status if each.startswith("VmRSS"))
    return {
        "processes below": len(below),
        "zombies": sum(_is_zombie(pid) for pid in below),
        "descriptors": _entries("/proc/self/fd"),
        "threads": threading.active_count(),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "control groups": sum(1 for _ in Path("/sys/fs/cgroup").glob(f"**/bcai-{os.getpid()}-*")),
        "temporary files": _entries(tempfile.gettempdir()),
        "shared memory files": int(Path("/dev/shm/bcai-left").exists()),
        "memory (kB)": memory,
    }


def _entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def look_at_rest() -> dict[str, int]:
    """Look when everything that ends by itself has ended."""
    deadline = time.monotonic() + _SETTLE_S_MAX
    found = look()
    while found["processes below"] and time.monotonic() < deadline:
        time.sleep(0.1)
        found = look()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return look()


class Soak:
    """One run over all jobs."""

    def __init__(self, folder: Path, pool: ZygotePool) -> None:
        self._folder = folder
        self._pool = pool
        self._turns = cycle(HOSTILE)
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self, jobs: int, threads: int) -> float:
        """Run them all; return the seconds."""
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as callers:
            list(callers.map(self._one, range(jobs), self._names(jobs)))
        return time.perf_counter() - began

    def _names(self, jobs: int) -> list[str]:
        hostile = iter(islice(self._turns, jobs))
        return [next(hostile) if n % _HOSTILE_EVERY == 0 else "" for n in range(jobs)]

    def _one(self, number: int, name: str) -> None:
        folder = self._folder / str(number)
        folder.mkdir()
        tenant = _OWNERS[number % len(_OWNERS)]
        job = HOSTILE[name].code if name else _HONEST.format(number=number)
        (folder / "job.py").write_text(job)
        try:
            if name:
                self._run_hostile(folder, tenant, name)
            else:
                self._run_honest(folder, tenant, number)
        except Exception as error:  # noqa: BLE001 - one more finding
            self.wrong.append(f"{name or 'honest'}: {type(error).__name__}: {error}")
        (folder / "job.py").unlink()
        folder.rmdir()

    def _run_hostile(self, folder: Path, tenant: str, name: str) -> None:
        hostile = HOSTILE[name]

        def after(cancelled: threading.Event, event: JailEvent) -> None:
            if hostile.is_cancelled and isinstance(event, LogText):
                cancelled.set()

        limits = replace(_LIMITS, wall_s=hostile.wall_s)
        ended = run(folder, self._pool, limits=limits, tenant=tenant, after=after).exit
        self._note(name, ended, ended.cause in hostile.ends)

    def _run_honest(self, folder: Path, tenant: str, number: int) -> None:
        ended = run(folder, self._pool, limits=_LIMITS, tenant=tenant).exit
        found = {each.name: each.value for each in ended.outputs}
        right = {"bcai_number": number, "answer": number * (number + 1) // 2, "work": ["job.py"]}
        self._note("honest", ended, ended.cause is Cause.EXITED and found == right)

    def _note(self, name: str, ended: JailExit, is_right: bool) -> None:
        self.ends[f"{name}: {ended.cause}"] += 1
        if not is_right:
            self.wrong.append(f"{name}: {ended.cause}: {ended.message}")


def soak(jobs: int, threads: int) -> tuple[Soak, dict[str, dict[str, int]], float]:
    """Run the jobs between two looks; a short run before pays for what is made only once."""
    with tempfile.TemporaryDirectory() as name:
        tempfile.tempdir = name  # for all that looks for a place from now on
        for count in (len(HOSTILE) * 2, jobs):
            before = look_at_rest()
            pool = ZygotePool(ZygotePolicy())
            for owner in _OWNERS:
                assert pool.is_ready(owner, wait_s=120)
            run_ = Soak(Path(name), pool)
            seconds = run_.run(count, threads)
            pool.close()
            after = look_at_rest()
    return run_, {"before": before, "after": after}, seconds


def left_behind(looks: dict[str, dict[str, int]]) -> list[str]:
    """What there is more of than before."""
    more = {key: value - looks["before"][key] for key, value in looks["after"].items()}
    most = {"memory (kB)": _MEMORY_KB_MAX}
    return [f"{key}: {value} more" for key, value in more.items() if value > most.get(key, 0)]


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go")
    arguments = parser.parse_args()
    run_, looks, seconds = soak(arguments.jobs, arguments.threads)
    for end, count in sorted(run_.ends.items()):
        print(f"{end:50} {count:6}")
    print(f"\n{'':24}{'before':>10}{'after':>10}")
    for key, value in looks["before"].items():
        print(f"{key:24}{value:10}{looks['after'][key]:10}")
    rate = arguments.jobs / seconds
    print(f"\n{arguments.jobs} jobs in {seconds:.0f} s, {rate:.1f} a second")
    found = left_behind(looks)
    for line in [*run_.wrong[:20], *found]:
        print(f"WRONG: {line}")
    figures = {"jobs": arguments.jobs, "threads": arguments.threads, "seconds": seconds}
    ends, wrong = dict(sorted(run_.ends.items())), [*run_.wrong, *found]
    soaked = {**figures, "ends": ends, "looks": looks, "wrong": wrong}
    write("jail_soak", soaked, arguments.results)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
