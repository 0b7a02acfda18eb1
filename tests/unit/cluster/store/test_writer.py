"""The writer answers once it is durable, and outlives whatever its operations do."""

import asyncio
import sqlite3
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text

from bcai.base.errors import BusyError, ConflictError, DependencyError, ResourceError
from bcai.cluster.store.engines import parse_url, writing_engine
from bcai.cluster.store.writer import Writer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@pytest.fixture
def engine(path: Path) -> Generator[Engine]:
    made = writing_engine(parse_url(None, path))
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE lines (number INTEGER PRIMARY KEY, words TEXT)"))
    yield made
    made.dispose()


@pytest.fixture
def writer(engine: Engine) -> Generator[Writer]:
    made = Writer(engine, lambda: None)
    made.start()
    yield made
    made.stop()


def add(connection: Connection, number: int, words: str = "") -> int:
    connection.execute(
        text("INSERT INTO lines VALUES (:number, :words)"), {"number": number, "words": words}
    )
    return number


def stored(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM lines ORDER BY number")]


async def test_an_answer_means_durable(writer: Writer, path: Path) -> None:
    assert await writer.write(lambda connection: add(connection, 7)) == 7
    assert stored(path) == [7]


async def test_a_failing_operation_fails_alone(writer: Writer, path: Path) -> None:
    def refuse(connection: Connection) -> int:
        add(connection, 100)
        raise ConflictError("no")

    def crash(connection: Connection) -> int:
        add(connection, 101)
        raise ZeroDivisionError

    def misspell(connection: Connection) -> int:
        add(connection, 102)
        connection.execute(text("SELEKT 1"))
        return 0

    def clash(connection: Connection) -> int:
        return add(connection, 0)

    operations = [refuse, crash, misspell, clash]
    good = [writer.write(lambda connection, n=number: add(connection, n)) for number in range(50)]
    bad = [writer.write(operation) for operation in operations]
    answers = await asyncio.gather(*good[:25], *bad, *good[25:], return_exceptions=True)
    kinds = [type(answer) for answer in answers[25:29]]
    assert kinds == [ConflictError, ZeroDivisionError, DependencyError, DependencyError]
    assert stored(path) == list(range(50))


async def test_a_database_that_another_process_keeps(path: Path, engine: Engine) -> None:
    def be_impatient(raw: sqlite3.Connection, _record: object) -> None:
        raw.execute("PRAGMA busy_timeout=50")

    event.listen(engine, "connect", be_impatient)
    engine.dispose()
    writer = Writer(engine, lambda: None)
    writer.start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DependencyError, match="another process"):
        await writer.write(lambda connection: add(connection, 1))
    other.execute("COMMIT")
    other.close()
    assert await writer.write(lambda connection: add(connection, 2)) == 2
    writer.stop()
    assert stored(path) == [2]


async def test_a_full_disk(writer: Writer, path: Path) -> None:
    def fill(connection: Connection) -> int:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        return add(connection, 1, "x" * 1_000_000)

    def make_room(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")

    with pytest.raises(ResourceError, match="full"):
        await writer.write(fill)
    await writer.write(make_room)
    assert await writer.write(lambda connection: add(connection, 2)) == 2
    assert stored(path) == [2]


async def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'none' / 'some.db'}")
    writer = Writer(engine, lambda: None)
    writer.start()
    for _ in range(2):
        with pytest.raises(DependencyError):
            await writer.write(lambda connection: add(connection, 1))
    writer.stop()


async def test_a_full_queue(engine: Engine, path: Path) -> None:
    writer = Writer(engine, lambda: None, pending_max=20)
    writer.start()
    go_on, busy = threading.Event(), threading.Event()

    def hold(connection: Connection) -> int:
        busy.set()
        go_on.wait(60)
        return add(connection, 1000)

    holding = asyncio.create_task(writer.write(hold))
    await asyncio.to_thread(busy.wait, 60)
    waiting = [
        asyncio.create_task(writer.write(lambda connection, n=number: add(connection, n)))
        for number in range(20)
    ]
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await writer.write(lambda connection: add(connection, -1))
    for task in waiting[10:]:
        task.cancel()  # what was accepted is done all the same
    go_on.set()
    assert await holding == 1000
    assert await asyncio.gather(*waiting[:10]) == list(range(10))
    await asyncio.to_thread(writer.stop)
    assert stored(path) == [*range(20), 1000]


async def test_stop_finishes_what_was_accepted(engine: Engine, path: Path) -> None:
    writer = Writer(engine, lambda: None)
    writer.start()
    tasks = [
        asyncio.create_task(writer.write(lambda connection, n=number: add(connection, n)))
        for number in range(1200)
    ]
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.stop)
    assert await asyncio.gather(*tasks) == list(range(1200))
    assert len(stored(path)) == 1200
    with pytest.raises(DependencyError):
        await writer.write(lambda connection: add(connection, -1))


def test_a_loop_that_is_gone_does_not_stop_the_writer(engine: Engine, path: Path) -> None:
    writer = Writer(engine, lambda: None)
    writer.start()

    async def leave() -> None:
        task = asyncio.create_task(writer.write(lambda connection: add(connection, 1)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    assert asyncio.run(writer.write(lambda connection: add(connection, 2))) == 2
    writer.stop()
    assert stored(path) == [1, 2]
