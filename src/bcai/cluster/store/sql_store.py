"""The store on SQLite or PostgreSQL: writes through the one writer, reads beside it."""
# ruff: noqa: D102 - protocol.py says what each method promises

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError

from bcai.base.errors import StaleError
from bcai.base.ids import new_id
from bcai.cluster.store import (
    disputes_sql,
    jobs_sql,
    keys_sql,
    nodes_sql,
    queries_sql,
    reports_sql,
    settlements_sql,
)
from bcai.cluster.store.doorbell import Doorbell
from bcai.cluster.store.edit import new_lock_token
from bcai.cluster.store.engines import READERS_MAX, reading_engine, writing_engine
from bcai.cluster.store.faults import fault_of
from bcai.cluster.store.migrate import migrate
from bcai.cluster.store.protocol import ApiKey, Page, Role
from bcai.cluster.store.rows import dump, read_job
from bcai.cluster.store.watcher import Watcher
from bcai.cluster.store.writer import Writer
from bcai.jobs.dispute import DisputeRecord, Said
from bcai.jobs.job import EventKind, Job, JobEvent
from bcai.jobs.node import Capabilities, Claim, Node
from bcai.jobs.outcome import Outcome, Reason
from bcai.jobs.settlement import Audited, Voucher
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState
from bcai.wire.jobs import SPEC
from bcai.wire.nodes import Report

T = TypeVar("T")


class SqlStore:
    """A JobStore; what each method promises stands there."""

    def __init__(
        self, url: URL, *, bells: Path, queue_max: int, clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._gauge = jobs_sql.QueueGauge(queue_max)
        self._writing = writing_engine(url)
        self._reading = reading_engine(url)
        self._bells = bells
        self._doorbell: Doorbell | None = None
        self._writer: Writer | None = None
        self._watcher: Watcher | None = None
        self._readers = anyio.CapacityLimiter(READERS_MAX)

    async def start(self) -> None:
        await anyio.to_thread.run_sync(self._open)

    async def stop(self) -> None:
        await anyio.to_thread.run_sync(self._close)

    async def submit(
        self,
        owner: str,
        spec: JobSpec,
        *,
        warnings: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> tuple[Job, bool]:
        now = self._clock()
        job = Job(
            id=new_id("job", now, secrets.token_bytes(10)),
            owner=owner,
            spec=spec,
            state=JobState.QUEUED,
            created_at=now,
            updated_at=now,
            lock_token=new_lock_token(),
            warnings=tuple(warnings),
        )
        text = dump(SPEC, spec)
        return await self._write(
            lambda connection: jobs_sql.submit(connection, job, text, idempotency_key, self._gauge)
        )

    async def submitted_before(self, owner: str, spec: JobSpec, idempotency_key: str) -> Job | None:
        return await self._read(
            lambda connection: jobs_sql.submitted_before(connection, owner, spec, idempotency_key)
        )

    async def get(self, job_id: str) -> Job:
        return await self._read(lambda connection: read_job(connection, job_id))

    async def list_jobs(
        self,
        *,
        owner: str | None = None,
        state: JobState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        return await self._read(
            lambda connection: queries_sql.list_jobs(connection, owner, state, limit, cursor)
        )

    async def request_cancel(self, job_id: str) -> Job:
        return await self._write(
            lambda connection: jobs_sql.request_cancel(connection, job_id, self._clock())
        )

    async def events(
        self,
        job_id: str,
        *,
        after: int = 0,
        limit: int = 1000,
        kinds: Sequence[EventKind] | None = None,
    ) -> list[JobEvent]:
        return await self._read(
            lambda connection: queries_sql.events(connection, job_id, after, limit, kinds)
        )

    async def record(self, node_id: str, reports: Sequence[Report]) -> list[StaleError | None]:
        return await self._write(
            lambda connection: reports_sql.record(connection, node_id, reports, self._clock())
        )

    async def assigned_to(self, node_id: str) -> list[Job]:
        return await self._read(lambda connection: queries_sql.assigned_to(connection, node_id))

    async def queued(self, limit: int = 100, *, room: Claim | None = None) -> list[Job]:
        return await self._read(
            lambda connection: queries_sql.queued(connection, limit, self._clock(), room)
        )

    async def running(self) -> list[Job]:
        return await self._read(queries_sql.running)

    async def assign(self, job: Job, node: Node, *, lease_s: float) -> Job:
        return await self._write(
            lambda connection: jobs_sql.assign(connection, job, node, lease_s, self._clock())
        )

    async def set_waiting(self, job: Job, waiting: Reason | None) -> None:
        await self._write(
            lambda connection: jobs_sql.set_waiting(connection, job, waiting, self._clock())
        )

    async def release(self, job: Job, reason: Reason, *, backoff_s: float) -> Job:
        return await self._write(
            lambda connection: jobs_sql.release(connection, job, reason, backoff_s, self._clock())
        )

    async def finish(self, job: Job, outcome: Outcome) -> Job:
        return await self._write(
            lambda connection: jobs_sql.finish(connection, job, outcome, self._clock())
        )

    async def audits_due(self, limit: int = 100) -> list[Job]:
        return await self._read(lambda connection: settlements_sql.audits_due(connection, limit))

    async def settle(
        self,
        job_id: str,
        key: ApiKey,
        remark: str = "",
        *,
        agrees: bool = True,
        vouched: tuple[str, str] | None = None,
    ) -> Job:
        now = self._clock()
        voucher = vouched and Voucher(key.name, vouched[0], now, vouched[1])
        message = Audited(now, key.name, remark=remark, agrees=agrees, voucher=voucher)
        return await self._write(
            lambda connection: settlements_sql.settle(connection, job_id, message, key.id)
        )

    async def open_dispute(
        self,
        job_id: str,
        key: ApiKey,
        *,
        size: int = 0,
        root: str = "",
        clock_s: float,
        accusation: tuple[str, str] = ("", ""),
        part: int | None = None,
    ) -> DisputeRecord:
        now = self._clock()
        made = new_id("dispute", now, secrets.token_bytes(10))
        code, claim = accusation
        record = DisputeRecord(
            made, job_id, "", "", key.name, key.id, size, root, now, clock_s,
            accusation=code, claim=claim, part=part,
        )  # fmt: skip
        return await self._write(lambda connection: disputes_sql.open_dispute(connection, record))

    async def dispute_of(self, job_id: str) -> DisputeRecord:
        return await self._read(lambda connection: disputes_sql.dispute_of(connection, job_id))

    async def open_disputes(self, node_id: str | None = None) -> list[DisputeRecord]:
        return await self._read(lambda connection: disputes_sql.open_disputes(connection, node_id))

    async def say(self, job_id: str, key: ApiKey, number: int, answer: str | None) -> DisputeRecord:
        said = Said(self._clock(), answer)
        return await self._write(
            lambda connection: disputes_sql.say(connection, job_id, key.id, number, said)
        )

    async def move_dispute(self, before: DisputeRecord, after: DisputeRecord) -> DisputeRecord:
        return await self._write(
            lambda connection: disputes_sql.move_dispute(connection, before, after)
        )

    async def restart_clocks(self) -> None:
        await self._write(lambda connection: disputes_sql.restart_clocks(connection, self._clock()))

    async def node_seen(
        self,
        node_id: str,
        *,
        name: str | None = None,
        capabilities: Capabilities | None = None,
        key_id: str | None = None,
        held: Sequence[tuple[str, str]] = (),
        lease_s: float,
        signing_key: str | None = None,
    ) -> list[tuple[str, str]]:
        now = self._clock()
        return await self._write(
            lambda connection: nodes_sql.node_seen(
                connection, node_id, name, capabilities, key_id, held, lease_s, now, signing_key
            )
        )

    async def nodes(self, *, online_within_s: float) -> list[Node]:
        return await self._read(
            lambda connection: nodes_sql.nodes(connection, online_within_s, self._clock())
        )

    async def add_key(self, name: str, role: Role, secret: str) -> ApiKey:
        now = self._clock()
        key = ApiKey(new_id("key", now, secrets.token_bytes(10)), name, role, now)
        secret_hash = keys_sql.hash_of(secret)
        return await self._write(lambda connection: keys_sql.add_key(connection, key, secret_hash))

    async def find_key(self, secret: str) -> ApiKey | None:
        secret_hash = keys_sql.hash_of(secret)
        return await self._read(lambda connection: keys_sql.find_key(connection, secret_hash))

    async def list_keys(self) -> list[ApiKey]:
        return await self._read(keys_sql.list_keys)

    async def revoke_key(self, key_id: str) -> ApiKey:
        return await self._write(
            lambda connection: keys_sql.revoke_key(connection, key_id, self._clock())
        )

    async def wait_for_change(self, timeout_s: float, *, seen: int | None = None) -> int:
        assert self._watcher is not None, "start() comes first"
        return await self._watcher.wait(timeout_s, seen)

    async def _write(self, operation: Callable[[Connection], T]) -> T:
        assert self._writer is not None, "start() comes first"
        return await self._writer.write(operation)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await anyio.to_thread.run_sync(self._read_now, query, limiter=self._readers)

    def _read_now(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._reading.connect() as connection:
                return query(connection)
        except (SQLAlchemyError, UnicodeError, OverflowError) as error:
            raise fault_of(error) from error

    def _open(self) -> None:
        try:
            migrate(self._writing)
        except SQLAlchemyError as error:
            raise fault_of(error) from error
        self._doorbell = Doorbell(self._bells)
        self._watcher = Watcher(self._reading, self._doorbell)
        self._writer = Writer(self._writing, self._doorbell.ring)
        self._watcher.start()
        self._writer.start()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.stop()
        if self._watcher is not None:
            self._watcher.stop()
        if self._doorbell is not None:
            self._doorbell.close()
        self._writing.dispose()
        self._reading.dispose()
