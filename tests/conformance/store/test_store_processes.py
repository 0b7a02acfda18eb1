"""Several processes on one database, and one that is killed."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conformance.store.store_samples import LEASE_S, NODE

from bcai.cluster.store.open import open_store
from bcai.settings import Settings

pytestmark = pytest.mark.anyio

# Submits without end and says each job's id once it is acknowledged.
SUBMITTER = """
import asyncio, sys
from pathlib import Path
from bcai.cluster.store.open import open_store
from bcai.jobs.spec import JobSpec
from bcai.settings import Settings

async def submit(store, owner):
    while True:
        job, _ = await store.submit(owner, JobSpec("job", code="1"))
        print(job.id, flush=True)

async def main():
    owner, home, url = sys.argv[1:]
    store = open_store(Settings(home=Path(home), database_url=url or None))
    await store.start()
    await asyncio.gather(*(submit(store, owner) for _ in range(20)))

asyncio.run(main())
"""
JOBS = 300


def submitter(owner: str, settings: Settings) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SUBMITTER, owner, str(settings.home), settings.database_url or ""],
        stdout=subprocess.PIPE,
        text=True,
    )


def acknowledged(process: "subprocess.Popen[str]", count: int) -> list[str]:
    """Read some acknowledgements, kill the process in the middle of its work, read the rest."""
    assert process.stdout is not None
    with process:
        lines = [process.stdout.readline() for _ in range(count)]
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
    return [line.strip() for line in lines if line.endswith("\n")]


async def test_every_acknowledged_job_outlives_a_kill(settings: Settings) -> None:
    processes = [submitter(owner, settings) for owner in ("ann", "bob")]  # both write at once
    told = await asyncio.gather(
        *(asyncio.to_thread(acknowledged, process, JOBS) for process in processes)
    )
    store = open_store(settings)
    await store.start()
    for owner, ids in zip(("ann", "bob"), told, strict=True):
        assert len(set(ids)) == len(ids) >= JOBS
        for job_id in ids:
            assert (await store.get(job_id)).owner == owner
            assert [event.sequence for event in await store.events(job_id)] == [1]
    await store.stop()
    if settings.database_url is None:
        check_sqlite(settings.network_folder / "bcai.db")


async def test_work_goes_on_while_another_process_submits(settings: Settings) -> None:
    process = submitter("ann", settings)
    assert process.stdout is not None
    store = open_store(settings)
    await store.start()
    with process:
        try:
            done = 0
            while done < 50:
                for job in await store.queued(limit=10):
                    taken = await store.assign(job, NODE, lease_s=LEASE_S)
                    assert len(taken.attempts) == 1
                    done += 1
                await asyncio.to_thread(process.stdout.readline)
        finally:
            process.kill()
    assert len(await store.running()) == done
    await store.stop()


async def test_many_processes_open_an_empty_database_at_once(settings: Settings) -> None:
    processes = [submitter(str(place), settings) for place in range(4)]
    told = await asyncio.gather(
        *(asyncio.to_thread(acknowledged, process, 1) for process in processes)
    )
    assert all(told)


def check_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
