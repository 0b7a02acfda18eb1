"""Submits per second: the store's group commit against one commit per job.

Run it with `python bench/store.py`; it prints a table and writes bench/results/store.json. The
kinds take turns, and the median of their rounds counts, so that a busy machine hits all alike.
All flush to disk (WAL, synchronous=FULL). The floor is plain `sqlite3` that inserts the same rows,
commits each, and checks nothing.
"""

import asyncio
import json
import os
import platform
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bcai.cluster.store.open import open_store
from bcai.cluster.store.rows import dump
from bcai.jobs.spec import JobSpec
from bcai.settings import Settings
from bcai.wire.jobs import SPEC

ROUNDS = 5
JOBS = 2000
JOBS_ALONE = 300  # of one client that waits for each answer
CODE = "import torch\nprint(torch.__version__)\n" * 20
RESULTS = Path(__file__).parent / "results" / "store.json"


def spec() -> JobSpec:
    return JobSpec("digits", code=CODE)


async def submit_all(folder: Path, jobs: int, clients: int) -> tuple[float, list[float]]:
    """Return the seconds that all took, and each one's own."""
    store = open_store(Settings(home=folder))
    await store.start()
    waits: list[float] = []

    async def client() -> None:
        for _ in range(jobs // clients):
            begun = time.perf_counter()
            await store.submit("ann", spec())
            waits.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - begun
    await store.stop()
    return took, waits


def through_the_store(clients: int, jobs: int) -> Callable[[Path], tuple[int, float, list[float]]]:
    def measure(folder: Path) -> tuple[int, float, list[float]]:
        return jobs, *asyncio.run(submit_all(folder, jobs, clients))

    return measure


def plain(folder: Path) -> tuple[int, float, list[float]]:
    """Insert the same rows as a submit does, with one commit for each job."""
    connection = sqlite3.connect(folder / "plain.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.executescript(
        """
        CREATE TABLE jobs (id TEXT PRIMARY KEY, owner TEXT, spec TEXT, state TEXT, at REAL);
        CREATE INDEX jobs_by_time ON jobs (at, id);
        CREATE INDEX jobs_by_owner ON jobs (owner, at, id);
        CREATE INDEX jobs_by_state ON jobs (state, at, id);
        CREATE TABLE events (job_id TEXT, sequence INTEGER, body TEXT,
            PRIMARY KEY (job_id, sequence));
        """
    )
    waits: list[float] = []
    for number in range(JOBS):
        begun = time.perf_counter()
        job = (f"job_{number}", "ann", dump(SPEC, spec()), "QUEUED", begun)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?)", job)
        connection.execute("INSERT INTO events VALUES (?, 1, '{}')", job[:1])
        connection.execute("COMMIT")
        waits.append(time.perf_counter() - begun)
    connection.close()
    return JOBS, sum(waits), waits


KINDS: dict[str, Callable[[Path], tuple[int, float, list[float]]]] = {
    "store, 1 client": through_the_store(1, JOBS_ALONE),
    "store, 16 clients": through_the_store(16, JOBS),
    "store, 500 clients": through_the_store(500, JOBS),
    "plain sqlite3, a commit each": plain,
}


def main() -> None:
    rates: dict[str, list[float]] = {name: [] for name in KINDS}
    waits: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(ROUNDS):
        for name, measure in KINDS.items():
            with tempfile.TemporaryDirectory() as folder:
                jobs, took, each = measure(Path(folder))
            rates[name].append(jobs / took)
            waits[name] += each
    rows = {
        name: {
            "submits_per_s": round(statistics.median(rates[name])),
            "submits_per_s_min": round(min(rates[name])),
            "submits_per_s_max": round(max(rates[name])),
            "wait_ms_p50": round(1000 * statistics.median(waits[name]), 2),
            "wait_ms_p99": round(1000 * statistics.quantiles(waits[name], n=100)[98], 2),
        }
        for name in KINDS
    }
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "rounds": ROUNDS,
        "memory_mib_max": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "kinds": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{report['machine']}; memory at most {report['memory_mib_max']} MiB")
    print(f"{'':30} {'submits/s':>10} {'(range)':>15} {'p50 ms':>8} {'p99 ms':>8}")
    for name, row in rows.items():
        span = f"{row['submits_per_s_min']}-{row['submits_per_s_max']}"
        print(
            f"{name:30} {row['submits_per_s']:>10} {span:>15} "
            f"{row['wait_ms_p50']:>8} {row['wait_ms_p99']:>8}"
        )


if __name__ == "__main__":
    main()
