"""From nothing, from an older version, and from a newer one."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from tests.conformance.store.store_samples import CAPABILITIES, LEASE_S, NODE, spec

from bcai.base.errors import DependencyError
from bcai.cluster.store.engines import parse_url, writing_engine
from bcai.cluster.store.migrate import migrate
from bcai.cluster.store.open import open_store
from bcai.cluster.store.protocol import Role
from bcai.cluster.store.tables import METADATA
from bcai.jobs.node import Claim
from bcai.settings import Settings

pytestmark = pytest.mark.anyio


def write(settings: Settings, *statements: str) -> None:
    settings.network_folder.mkdir(parents=True, exist_ok=True)
    engine = writing_engine(parse_url(settings.database_url, settings.network_folder / "bcai.db"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


async def test_revisions_make_the_tables_that_the_code_expects(settings: Settings) -> None:
    settings.network_folder.mkdir(parents=True)
    engine = writing_engine(parse_url(settings.database_url, settings.network_folder / "bcai.db"))
    migrate(engine)
    migrate(engine)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


async def test_reopening_keeps_everything(settings: Settings) -> None:
    first = open_store(settings)
    await first.start()
    job, _ = await first.submit("ann", spec(), idempotency_key="k")
    key = await first.add_key("laptop", Role.CLIENT, "bcai_secret")
    await first.stop()
    second = open_store(settings)
    await second.start()
    assert await second.get(job.id) == job
    assert await second.submit("ann", spec(), idempotency_key="k") == (job, False)
    assert await second.find_key("bcai_secret") == key
    await second.stop()


async def test_a_database_that_stopped_before_its_first_revision(settings: Settings) -> None:
    write(settings, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    store = open_store(settings)
    await store.start()
    await store.submit("ann", spec())
    await store.stop()


async def test_a_newer_database_is_refused(settings: Settings) -> None:
    first = open_store(settings)
    await first.start()
    await first.stop()
    write(settings, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DependencyError, match="newer"):
        await open_store(settings).start()


async def test_stores_that_open_at_once(settings: Settings) -> None:
    stores = [open_store(settings) for _ in range(4)]
    await asyncio.gather(*(store.start() for store in stores))
    await asyncio.gather(*(store.submit("ann", spec()) for store in stores))
    for store in stores:
        assert len((await store.list_jobs()).jobs) == 4
    for store in stores:
        await store.stop()


async def test_jobs_that_an_older_version_left_are_added_up(settings: Settings) -> None:
    store = open_store(settings)
    await store.start()
    await store.node_seen(NODE.id, name="laptop", capabilities=CAPABILITIES, lease_s=LEASE_S)
    held = await store.assign((await store.submit("ann", spec()))[0], NODE, lease_s=LEASE_S)
    (before,) = await store.nodes(online_within_s=LEASE_S)
    await store.stop()
    columns = ("memory_bytes", "cpu_count", "gpu_count")
    write(
        settings,
        "DROP INDEX jobs_by_node",
        *(f"ALTER TABLE jobs DROP COLUMN {column}" for column in columns),
        "UPDATE alembic_version SET version_num = '0005'",
    )
    store = open_store(settings)
    await store.start()
    (after,) = await store.nodes(online_within_s=LEASE_S)
    await store.stop()
    assert after.running == (held.id,)
    assert after.taken == before.taken != Claim()
