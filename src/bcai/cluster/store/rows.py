"""Between the database's rows and the values of `jobs`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, select

from bcai.base.errors import NotFoundError
from bcai.cluster.store.replicas_sql import read_replicas
from bcai.cluster.store.tables import ATTEMPTS, JOBS, SETTLEMENTS
from bcai.jobs.job import Attempt, EventKind, Job, JobEvent
from bcai.jobs.outcome import Reason
from bcai.jobs.settlement import Settlement
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState
from bcai.jobs.verify import NO_CHECK, Policy
from bcai.wire.jobs import OUTCOME, REASON, SETTLEMENT, SPEC

T = TypeVar("T")


def dump(adapter: TypeAdapter[T], value: T) -> str:
    """Write a value as the JSON text of `tables`."""
    return dump_plain(adapter.dump_python(value, mode="json"))


def dump_plain(value: object) -> str:
    """Write dicts, lists, texts and numbers as the JSON text of `tables`."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def load(adapter: TypeAdapter[T], text: str | None) -> T | None:
    """Read what `dump` wrote; None stays None."""
    return None if text is None else adapter.validate_python(json.loads(text))


def read_job(connection: Connection, job_id: str) -> Job:
    """Return one job. Raises NotFoundError."""
    rows = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).all()
    if not rows:
        raise no_such_job(job_id)
    return to_jobs(connection, rows)[0]


def no_such_job(job_id: str) -> NotFoundError:
    """Describe a job that is not here."""
    return NotFoundError(f"no job {job_id[:80]!r}", hint="`bcai jobs list` shows your jobs")


def to_jobs(connection: Connection, rows: Sequence[Row[Any]]) -> list[Job]:
    """Build jobs from their rows and those of their attempts."""
    attempts: dict[str, list[Attempt]] = {row.id: [] for row in rows}
    tried = [row.id for row in rows if row.attempt > 0]
    if tried:
        query = select(ATTEMPTS).where(ATTEMPTS.c.job_id.in_(tried))
        for row in connection.execute(query.order_by(ATTEMPTS.c.job_id, ATTEMPTS.c.number)):
            attempts[row.job_id].append(_to_attempt(row))
    specs = {row.id: SPEC.validate_python(json.loads(row.spec)) for row in rows}
    settlements = _settlements(
        connection,
        [row.id for row in rows if specs[row.id].verify != NO_CHECK],
    )
    replicated = [row.id for row in rows if specs[row.id].verify.policy is Policy.REPLICATED]
    replicas = read_replicas(connection, replicated)
    return [
        replace(
            _to_job(row, specs[row.id], tuple(attempts[row.id])),
            settlement=settlements.get(row.id),
            replica=replicas.get(row.id),
        )
        for row in rows
    ]


def _settlements(connection: Connection, job_ids: Sequence[str]) -> dict[str, Settlement]:
    """Where the results of these jobs stand; most jobs ask for no check, and cost no query."""
    if not job_ids:
        return {}
    query = select(SETTLEMENTS).where(SETTLEMENTS.c.job_id.in_(job_ids))
    rows = connection.execute(query)
    return {row.job_id: SETTLEMENT.validate_python(json.loads(row.body)) for row in rows}


def to_event(row: Row[Any]) -> JobEvent:
    """Build an event from its row."""
    return JobEvent(
        sequence=row.sequence,
        at=row.at,
        attempt=row.attempt,
        kind=EventKind(row.kind),
        body=json.loads(row.body),
    )


def _to_job(row: Row[Any], spec: JobSpec, attempts: tuple[Attempt, ...]) -> Job:
    state = JobState(row.state)
    return Job(
        id=row.id,
        owner=row.owner,
        spec=spec,
        state=state,
        created_at=row.created_at,
        updated_at=row.updated_at,
        lock_token=row.lock_token,
        attempts=attempts,
        node_id=row.node_id,
        lease_until=row.lease_until,
        not_before=row.not_before,
        cancel_requested=row.cancel_requested,
        waiting=load(REASON, row.waiting),
        progress=row.progress,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=load(OUTCOME, row.outcome) if state.is_final else None,  # it may be parked
        warnings=tuple(json.loads(row.warnings)),
    )


def _to_attempt(row: Row[Any]) -> Attempt:
    reason: Reason | None = load(REASON, row.reason)
    return Attempt(
        number=row.number,
        node_id=row.node_id,
        node_name=row.node_name,
        assigned_at=row.assigned_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        reason=reason,
    )
