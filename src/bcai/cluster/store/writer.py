"""The one thread of a process that writes: many operations, one transaction (group commit).

Note [Group commit]: a commit costs a disk flush, an operation costs microseconds. The thread
takes all that has gathered while it was flushing, runs each under its own savepoint, commits
once, and only then answers. An operation that fails is rolled back alone. What it returns must
be plain values: a cursor that leaves the thread would be used by two at once.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bcai.base.errors import BusyError, DependencyError
from bcai.cluster.store.faults import UNSTORABLE, breaks_transaction, fault_of, is_contested

T = TypeVar("T")

PENDING_MAX = 20_000  # operations that wait; at some KB each this is the memory we give them
BATCH_MAX = 500  # operations in one transaction, so that other processes get their turn
TRIES_MAX = 5  # of an operation that meets another writer


@dataclass(slots=True, eq=False)
class _Pending:
    """One operation on its way through the thread."""

    run: Callable[[Connection], object]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    result: object = None
    error: Exception | None = None

    def deliver(self) -> None:
        """Answer; in the event loop's thread."""
        if self.answer.done():  # the caller was cancelled; what it asked for is done all the same
            return
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.result)


class Writer:
    """Runs operations in batches. `on_commit` is called after each batch, and never raises."""

    def __init__(
        self, engine: Engine, on_commit: Callable[[], None], *, pending_max: int = PENDING_MAX
    ) -> None:
        self._engine = engine
        self._on_commit = on_commit
        self._pending: queue.Queue[_Pending | None] = queue.Queue(pending_max)
        self._open = False
        self._gate = threading.Lock()  # nothing enters behind the mark that ends the queue
        self._thread = threading.Thread(target=self._main, name="store-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._open = True
        self._thread.start()

    def stop(self) -> None:
        """Finish what was accepted, then end the thread; blocks until then."""
        with self._gate:
            was_open, self._open = self._open, False
        if was_open:
            self._pending.put(None)
            self._thread.join()

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation in the next transaction; return once that is durable.

        Raises
        ------
        BusyError
            Too many operations wait.
        DependencyError, ResourceError
            The database failed, or has no room; nothing of the operation was kept.
        """
        loop = asyncio.get_running_loop()
        pending = _Pending(operation, loop, loop.create_future())
        with self._gate:
            if not self._open:
                raise DependencyError("the store is closed")
            try:
                self._pending.put_nowait(pending)
            except queue.Full:
                raise BusyError(
                    f"{self._pending.maxsize} writes wait already", hint="try again in a second"
                ) from None
        return cast("T", await pending.answer)

    def _main(self) -> None:
        while batch := self._next_batch():
            try:
                self._commit(batch)
            except Exception as error:  # noqa: BLE001 - a thread's main outlives anything
                for pending in batch:
                    pending.error = error
            _deliver(batch)
            self._on_commit()

    def _next_batch(self) -> list[_Pending]:
        """Wait for an operation and take all that came with it; empty at the end."""
        batch: list[_Pending] = []
        while len(batch) < BATCH_MAX:
            try:
                pending = self._pending.get(block=not batch)
            except queue.Empty:
                break
            if pending is None:
                if batch:
                    self._pending.put(None)  # end with the next, empty batch
                break
            batch.append(pending)
        return batch

    def _commit(self, batch: list[_Pending]) -> None:
        for contested in self._transaction(batch):
            tries = 1
            while tries < TRIES_MAX and self._transaction([contested]):
                tries += 1

    def _transaction(self, batch: list[_Pending]) -> list[_Pending]:
        """Run a batch in one transaction; return those that are worth running again."""
        try:
            with self._engine.begin() as connection:
                return [pending for pending in batch if not _apply(connection, pending)]
        except Exception as error:  # noqa: BLE001 - nothing is durable, and all are told
            for pending in batch:
                pending.error = fault_of(error)
            return []


def _apply(connection: Connection, pending: _Pending) -> bool:
    """Run one operation under its own savepoint; False if it is worth running again."""
    savepoint = connection.begin_nested()
    pending.error = None
    try:
        pending.result = pending.run(connection)
        savepoint.commit()
    except Exception as error:
        if breaks_transaction(error):
            raise
        savepoint.rollback()
        foreign = isinstance(error, SQLAlchemyError | UNSTORABLE)
        pending.error = fault_of(error) if foreign else error
        return not is_contested(error)
    return True


def _deliver(batch: list[_Pending]) -> None:
    """Answer a batch: one wake-up per event loop, not one per operation."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Pending]] = {}
    for pending in batch:
        by_loop.setdefault(pending.loop, []).append(pending)
    for loop, answered in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver_all, answered)
        except RuntimeError:  # that loop is closed: nobody waits there any more
            continue


def _deliver_all(batch: list[_Pending]) -> None:
    for pending in batch:
        pending.deliver()
