"""One task per gateway wakes when the store changes, and serves everybody who watches a job.

Watchers read what is durable and nothing else. Each has its own cursor, so nothing queues up for
one that does not read: it falls behind, and is moved ahead once it is `LAG_EVENTS_MAX` behind.
"""

import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from bcai.base.errors import BcaiError
from bcai.cluster.gateway.limits import (
    CHANGE_S_MAX,
    CHANGE_S_MIN,
    EVENTS_PAGE,
    KEEPALIVE_S,
    LAG_EVENTS_MAX,
    RECENT_EVENTS_MAX,
)
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import EventKind, Job, JobEvent

_LOG = logging.getLogger("bcai.gateway")


@dataclass(frozen=True, slots=True)
class Batch:
    """What a watcher gets next; `job` is set in the last one. No event at all: keep-alive."""

    events: tuple[JobEvent, ...] = ()
    skipped: int = 0
    job: Job | None = None


class Feed:
    """The live end of one job's events, shared by its watchers here."""

    def __init__(self, store: JobStore, job: Job, latest: int) -> None:
        self.job = job
        self.latest = latest
        self.ended = False
        self.watchers = 0
        self._is_stale = False  # the job's state changed since `job` was read
        self._store = store
        self._recent: deque[JobEvent] = deque(maxlen=RECENT_EVENTS_MAX)
        self._first = latest + 1  # sequence of the oldest recent event, or of the next to come
        self._changed = anyio.Event()
        self._lock = anyio.Lock()

    async def refresh(self) -> None:
        """Read what is new in the store and wake the watchers.

        It may be cut short anywhere, by a store that is away or by a watcher that leaves: what was
        read by then is known to all, and what was not is read the next time.
        """
        async with self._lock:
            before = self.latest, self.ended
            try:
                await self._read_events()
                if self._is_stale and not self.ended:
                    self.job = await self._store.get(self.job.id)
                    self._is_stale = False
                if self.job.state.is_final and not self.ended:
                    await self._read_events()  # what was written between the two reads above
                    self.ended = True
            finally:
                if before != (self.latest, self.ended):
                    self.wake()

    def wake(self) -> None:
        """Let every watcher look again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def wait(self) -> None:
        """Return at the next change."""
        await self._changed.wait()

    async def since(self, cursor: int) -> list[JobEvent]:
        """Return the events above a cursor, at most a page."""
        if cursor + 1 < self._first:
            return await self._store.events(self.job.id, after=cursor, limit=EVENTS_PAGE)
        fresh = [event for event in self._recent if event.sequence > cursor]
        return fresh[:EVENTS_PAGE]

    async def _read_events(self) -> None:
        """Read all new events."""
        page_is_full = True
        while page_is_full:
            page = await self._store.events(self.job.id, after=self.latest, limit=EVENTS_PAGE)
            self._recent.extend(page)
            if page:
                self.latest = page[-1].sequence
                self._first = self._recent[0].sequence
            if any(event.kind is EventKind.STATE for event in page):
                self._is_stale = True
            page_is_full = len(page) == EVENTS_PAGE


class Changes:
    """Everything that waits for the store to change."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._feeds: dict[str, Feed] = {}
        self._rounds = 0
        self._round = anyio.Event()
        self.closing = False

    async def run(self) -> None:
        """Wake with the store, for ever."""
        seen = 0
        while True:
            seen = await self._store.wait_for_change(CHANGE_S_MAX, seen=seen)
            self._rounds += 1
            self._round.set()
            self._round = anyio.Event()
            try:
                for feed in list(self._feeds.values()):
                    await feed.refresh()
            except BcaiError as error:  # the database is away or full: it is asked again next round
                _LOG.warning("watchers wait for the store: %s", error)
                await anyio.sleep(CHANGE_S_MAX)
            await anyio.sleep(CHANGE_S_MIN)

    def close(self) -> None:
        """End every watch: the gateway stops, and watchers resume elsewhere from their cursor."""
        self.closing = True
        for feed in self._feeds.values():
            feed.wake()

    async def next_round(self, seen: int) -> int:
        """Return the number of rounds once it is not `seen` any more: the store has changed."""
        while self._rounds == seen:
            await self._round.wait()
        return self._rounds

    @asynccontextmanager
    async def feed(self, job_id: str, latest: int) -> AsyncGenerator[Feed, None]:
        """Share the feed of a job; a new one starts after sequence `latest`."""
        feed = self._feeds.get(job_id)
        if feed is None:
            if latest and not await self._store.events(job_id, after=latest - 1, limit=1):
                latest = 0  # the cursor is beyond the end; other watchers must not miss events
            created = Feed(self._store, await self._store.get(job_id), latest)
            feed = self._feeds.setdefault(job_id, created)
        feed.watchers += 1
        try:
            await feed.refresh()
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                self._feeds.pop(job_id, None)

    async def wait_beyond(self, job_id: str, cursor: int, wait_s: float) -> None:
        """Return when the job has an event after `cursor` or has ended, or after `wait_s`."""
        with anyio.move_on_after(wait_s):
            async with self.feed(job_id, cursor) as feed:
                while feed.latest <= cursor and not feed.ended and not self.closing:
                    await feed.wait()

    async def follow(self, job_id: str, after: int) -> AsyncGenerator[Batch, None]:
        """Give out a job's events from a cursor on, until it has ended or the gateway stops."""
        cursor = after
        history = await self._store.events(job_id, after=cursor, limit=EVENTS_PAGE)
        while history and not self.closing:
            yield Batch(tuple(history))
            cursor = history[-1].sequence
            history = await self._store.events(job_id, after=cursor, limit=EVENTS_PAGE)
        async with self.feed(job_id, cursor) as feed:
            while not self.closing:
                skipped = 0
                if feed.latest - cursor > LAG_EVENTS_MAX:
                    skipped = feed.latest - RECENT_EVENTS_MAX - cursor
                    cursor += skipped
                events = await feed.since(cursor)
                if events:
                    cursor = events[-1].sequence
                if feed.ended and cursor >= feed.latest:
                    yield Batch(tuple(events), skipped, feed.job)
                    return
                if events:
                    yield Batch(tuple(events), skipped)
                    continue
                with anyio.move_on_after(KEEPALIVE_S) as silence:
                    await feed.wait()
                if silence.cancelled_caught:
                    yield Batch()
