"""The scheduler on a real store, with a clock that tests move."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.conformance.scheduler.round_samples import Clock

from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import JobStore
from bcai.settings import Settings


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(settings: Settings, clock: Clock) -> AsyncGenerator[JobStore, None]:
    opened = open_store(settings, clock=clock)
    await opened.start()
    yield opened
    await opened.stop()
