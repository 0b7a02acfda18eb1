"""A new job's rows."""

from typing import Any

from sqlalchemy import Connection, insert

from bcai.cluster.store.edit import event_row, state_body
from bcai.cluster.store.rows import dump_plain
from bcai.cluster.store.tables import EVENTS, JOBS
from bcai.jobs.claim import asked_by
from bcai.jobs.job import EventKind, Job

_NEW_JOB, _NEW_EVENTS = insert(JOBS), insert(EVENTS)  # built once: submits come by the thousand


def insert_job(connection: Connection, job: Job, spec_text: str) -> None:
    """Write a job that waits, and its first events: its state, and what there is to warn of."""
    events = [event_row(job.id, 1, EventKind.STATE, state_body(job.state), at=job.created_at)]
    for sequence, warning in enumerate(job.warnings, start=2):
        body: dict[str, object] = {"text": warning}
        events.append(event_row(job.id, sequence, EventKind.NOTE, body, at=job.created_at))
    connection.execute(_NEW_JOB, _job_row(job, spec_text, len(events)))
    connection.execute(_NEW_EVENTS, events)


def _job_row(job: Job, spec_text: str, event_count: int) -> dict[str, Any]:
    asked = asked_by(job.spec)
    return {
        "id": job.id,
        "owner": job.owner,
        "spec": spec_text,
        "state": job.state,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "lock_token": job.lock_token,
        "attempt": 0,
        "event_count": event_count,
        "not_before": job.not_before,
        "cancel_requested": False,
        "progress": 0.0,
        "warnings": dump_plain(list(job.warnings)),
        "memory_bytes": asked.memory_bytes,
        "cpu_count": asked.cores,
        "gpu_count": asked.gpus,
    }
