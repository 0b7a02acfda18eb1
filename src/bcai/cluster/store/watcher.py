"""Notices commits, by any process: the doorbell says at once, a look every 0.2 s says for sure."""

import asyncio
import select
import threading
from contextlib import closing

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bcai.cluster.store.doorbell import Doorbell
from bcai.cluster.store.engines import is_sqlite

POLL_S = 0.2

# Both change with every commit of another connection, and cost next to nothing.
# https://sqlite.org/pragma.html#pragma_data_version: compare values of ONE connection.
# A PostgreSQL snapshot names the transactions that it does not see; one that commits leaves it.
_SQLITE_VERSION = "PRAGMA data_version"
_POSTGRES_VERSION = "SELECT pg_current_snapshot()::text"


class Watcher:
    """Counts the changes that it notices and wakes who waits for one."""

    def __init__(self, engine: Engine, doorbell: Doorbell) -> None:
        self._engine = engine
        self._doorbell = doorbell
        self._query = _SQLITE_VERSION if is_sqlite(engine) else _POSTGRES_VERSION
        self._count = 1
        self._waiting: set[asyncio.Future[None]] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._main, name="store-watcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks until then."""
        if self._thread.is_alive():
            self._stopping.set()
            self._doorbell.ring()
            self._thread.join()

    async def wait(self, timeout_s: float, seen: int | None) -> int:
        """Return the count of changes, once it is above `seen` or the time is over."""
        loop = asyncio.get_running_loop()
        change = loop.create_future()
        with self._lock:
            if seen is not None and self._count > seen:
                change.set_result(None)
            else:
                self._waiting.add(change)
        try:
            async with asyncio.timeout(timeout_s):
                await change
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(change)
        await asyncio.sleep(0)  # whoever loops over changes lets the others run too
        return self._count

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                with closing(self._engine.connect()) as connection:
                    self._watch(connection)
            except SQLAlchemyError:
                # The database is away. Whoever wakes learns that from their own query.
                self._wake()
                self._stopping.wait(POLL_S)

    def _watch(self, connection: Connection) -> None:
        last: object = None
        while not self._stopping.is_set():
            version = connection.exec_driver_sql(self._query).scalar()
            connection.rollback()
            if version != last:
                last = version
                self._wake()
            select.select([self._doorbell], [], [], POLL_S)
            self._doorbell.silence()

    def _wake(self) -> None:
        with self._lock:
            self._count += 1
            woken, self._waiting = self._waiting, set()
        for change in woken:
            try:
                change.get_loop().call_soon_threadsafe(_settle, change)
            except RuntimeError:  # that loop is closed: nobody waits there any more
                continue


def _settle(change: asyncio.Future[None]) -> None:
    if not change.done():
        change.set_result(None)
