"""Waking up after somebody's commit, and the doorbell that does it at once."""

import asyncio
import select
from pathlib import Path

import pytest
from tests.conformance.store.store_samples import spec

from bcai.cluster.store.doorbell import Doorbell
from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import JobStore
from bcai.settings import Settings

pytestmark = pytest.mark.anyio
LONG_S = 120.0


async def test_own_commit_wakes(store: JobStore) -> None:
    seen = await store.wait_for_change(0.0)
    waiting = asyncio.create_task(store.wait_for_change(LONG_S, seen=seen))
    await store.submit("ann", spec())
    async with asyncio.timeout(LONG_S / 2):
        assert await waiting > seen


async def test_commit_of_another_store_wakes(store: JobStore, settings: Settings) -> None:
    other = open_store(settings)
    await other.start()
    seen = await store.wait_for_change(0.0)
    await other.submit("ann", spec())
    async with asyncio.timeout(LONG_S / 2):  # also if the commit came before the wait
        assert await store.wait_for_change(LONG_S, seen=seen) > seen
    await other.stop()


async def test_commit_without_a_bell_wakes(
    store: JobStore, settings: Settings, tmp_path: Path
) -> None:
    url = settings.database_url or f"sqlite:///{settings.network_folder / 'bcai.db'}"
    elsewhere = Settings(home=tmp_path / "elsewhere", database_url=url)
    other = open_store(elsewhere)  # rings in its own folder: the look every 0.2 s has to do
    await other.start()
    seen = await store.wait_for_change(0.0)
    await other.submit("ann", spec())
    async with asyncio.timeout(LONG_S / 2):
        assert await store.wait_for_change(LONG_S, seen=seen) > seen
    await other.stop()


async def test_waiting_ends_in_time(store: JobStore) -> None:
    seen = -1
    async with asyncio.timeout(LONG_S):
        while (now := await store.wait_for_change(0.5, seen=seen)) != seen:
            seen = now  # what is left from opening


def test_bell_rings_for_everybody(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 60)  # longer than a socket's address
    with Doorbell(folder) as mine, Doorbell(folder) as yours:
        mine.ring()
        mine.ring()
        for bell in (mine, yours):
            assert select.select([bell], [], [], LONG_S)[0]
            bell.silence()
            assert select.select([bell], [], [], 0)[0] == []
    assert list(folder.iterdir()) == []


def test_bells_of_the_dead_are_taken_away(tmp_path: Path) -> None:
    with Doorbell(tmp_path) as mine:
        (ours,) = tmp_path.iterdir()
        with Doorbell(tmp_path):
            (theirs,) = [path for path in tmp_path.iterdir() if path != ours]
            left = theirs.rename(tmp_path / "left.sock")  # as a kill would leave it
        assert left.exists()
        mine.ring()
        assert select.select([mine], [], [], LONG_S)[0]
        assert not left.exists()
        assert len(list(tmp_path.iterdir())) == 1


def test_a_full_bell_does_not_block(tmp_path: Path) -> None:
    with Doorbell(tmp_path) as mine, Doorbell(tmp_path):
        for _ in range(5000):
            mine.ring()
        mine.silence()
