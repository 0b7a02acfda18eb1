"""What is read about jobs and their events, each in one snapshot of the database."""

from collections.abc import Sequence

from sqlalchemy import Connection, Select, select, tuple_

from bcai.base.errors import FormatError, InputError
from bcai.cluster.store.protocol import Page
from bcai.cluster.store.rows import no_such_job, to_event, to_jobs
from bcai.cluster.store.tables import EVENTS, JOBS, REPLICAS
from bcai.jobs.job import EventKind, Job, JobEvent
from bcai.jobs.node import Claim
from bcai.jobs.states import JobState

PAGE_MAX = 1000  # jobs or events of one answer
HELD = (JobState.ASSIGNED, JobState.RUNNING)


def list_jobs(
    connection: Connection,
    owner: str | None,
    state: JobState | None,
    limit: int,
    cursor: str | None,
) -> Page:
    """Return jobs, newest first, from where the last page ended."""
    limit = _limited(limit)
    query = select(JOBS).order_by(JOBS.c.created_at.desc(), JOBS.c.id.desc()).limit(limit + 1)
    others = select(REPLICAS.c.job_id).where(REPLICAS.c.job_id == JOBS.c.id, REPLICAS.c.number > 1)
    query = query.where(~others.exists())
    if owner is not None:
        query = query.where(JOBS.c.owner == owner)
    if state is not None:
        query = query.where(JOBS.c.state == state)
    if cursor is not None:
        query = query.where(tuple_(JOBS.c.created_at, JOBS.c.id) < tuple_(*_parse_cursor(cursor)))
    rows = connection.execute(query).all()
    jobs = to_jobs(connection, rows[:limit])
    more = len(rows) > limit
    return Page(tuple(jobs), f"{jobs[-1].created_at!r}~{jobs[-1].id}" if more else None)


def _parse_cursor(cursor: str) -> tuple[float, str]:
    created_at, mark, job_id = cursor.partition("~")
    try:
        if not mark or "\0" in job_id:
            raise ValueError
        return float(created_at), job_id
    except ValueError:
        raise FormatError(
            f"not a page's cursor: {cursor[:80]!r}", hint="use the last page's, unchanged"
        ) from None


def events(
    connection: Connection,
    job_id: str,
    after: int,
    limit: int,
    kinds: Sequence[EventKind] | None,
) -> list[JobEvent]:
    """Return a job's events above a sequence, oldest first."""
    query = select(EVENTS).where(EVENTS.c.job_id == job_id, EVENTS.c.sequence > after)
    if kinds is not None:
        query = query.where(EVENTS.c.kind.in_([str(kind) for kind in kinds]))
    found = connection.execute(query.order_by(EVENTS.c.sequence).limit(_limited(limit)))
    answer = [to_event(row) for row in found]
    if not answer and not _exists(connection, job_id):
        raise no_such_job(job_id)
    return answer


def queued(connection: Connection, limit: int, now: float, room: Claim | None) -> list[Job]:
    """Return waiting jobs, oldest first; those in their back-off only if the limit allows.

    With `room` only jobs that ask for no more.
    """
    oldest = select(JOBS).where(JOBS.c.state == JobState.QUEUED)
    if room is not None:
        oldest = oldest.where(
            JOBS.c.memory_bytes <= room.memory_bytes,
            JOBS.c.cpu_count <= room.cores,
            JOBS.c.gpu_count <= room.gpus,
        )
    oldest = oldest.order_by(JOBS.c.created_at, JOBS.c.id)
    ready = list(connection.execute(oldest.where(JOBS.c.not_before <= now).limit(limit)))
    if len(ready) < limit:
        late = oldest.where(JOBS.c.not_before > now).limit(limit - len(ready))
        ready += connection.execute(late)
        ready.sort(key=lambda row: (row.created_at, row.id))
    return to_jobs(connection, ready)


def running(connection: Connection) -> list[Job]:
    """Return all jobs that a node has."""
    on_a_node = select(JOBS).where(JOBS.c.state.in_(HELD), JOBS.c.node_id.is_not(None))
    return _jobs(connection, on_a_node)


def assigned_to(connection: Connection, node_id: str) -> list[Job]:
    """Return the jobs that one node has."""
    held = select(JOBS).where(JOBS.c.state.in_(HELD), JOBS.c.node_id == node_id)
    return _jobs(connection, held)


def _jobs(connection: Connection, query: Select[tuple[object, ...]]) -> list[Job]:
    rows = connection.execute(query.order_by(JOBS.c.created_at, JOBS.c.id)).all()
    return to_jobs(connection, rows)


def _exists(connection: Connection, job_id: str) -> bool:
    query = select(JOBS.c.id).where(JOBS.c.id == job_id)
    return connection.execute(query).scalar_one_or_none() is not None


def _limited(limit: int) -> int:
    if limit < 1:
        raise InputError(f"limit: found {limit}, expected 1 to {PAGE_MAX}")
    return min(limit, PAGE_MAX)
