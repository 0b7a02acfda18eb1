"""Every store, from an empty database. A new kind of store is tested by being listed here."""

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.conformance.store.postgres_server import (
    URL_VARIABLE,
    find_binaries,
    new_database,
    server,
)
from tests.conformance.store.store_samples import Clock

from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import JobStore
from bcai.settings import Settings

STORES = ("sqlite", "postgresql")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Generator[str]:
    """Address of a PostgreSQL server."""
    given = os.environ.get(URL_VARIABLE)
    binaries = find_binaries()
    with ExitStack() as stack:
        if given is None and binaries is not None:
            given = stack.enter_context(server(binaries))
        if given is None:
            pytest.skip(f"no PostgreSQL: install the package postgresql, or set ${URL_VARIABLE}")
        yield given


@pytest.fixture(params=STORES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Settings]:
    """Settings that name an empty database of each kind."""
    with ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            url = stack.enter_context(new_database(request.getfixturevalue("postgres")))
        yield Settings(home=tmp_path, database_url=url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(settings: Settings, clock: Clock) -> AsyncGenerator[JobStore]:
    opened = open_store(settings, clock=clock)
    await opened.start()
    yield opened
    await opened.stop()
