"""What changes a job from outside of its attempts: submit, cancel, assign, release, finish.

Each function is one operation of the writer: it takes the transaction's connection first.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, insert, select

from bcai.base.errors import BusyError, ConflictError, StaleError
from bcai.cluster.store.claims_sql import check_room
from bcai.cluster.store.edit import JobEdit, new_lock_token
from bcai.cluster.store.ending import end_attempt
from bcai.cluster.store.new_job import insert_job
from bcai.cluster.store.replicas_sql import add_members, member_ids, take
from bcai.cluster.store.rows import dump, read_job
from bcai.cluster.store.tables import ATTEMPTS, IDEMPOTENCY, JOBS
from bcai.jobs.job import EventKind, Job
from bcai.jobs.node import Node
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.replication import order_of, replica_id
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState, Move, next_state
from bcai.jobs.verify import Policy
from bcai.wire.jobs import OUTCOME, REASON


@dataclass(slots=True)
class QueueGauge:
    """How many jobs wait, so that a submit need not count them each time.

    Others submit too, and jobs leave the queue: so it counts anew after `recount_s`, and before
    it turns a job away.
    """

    jobs_max: int
    recount_s: float = 0.5
    _jobs: int = 0
    _counted_at: float = float("-inf")

    def admit(self, connection: Connection, now: float) -> None:
        """Let one more job in. Raises BusyError."""
        if not 0 <= now - self._counted_at < self.recount_s or self._jobs >= self.jobs_max:
            query = select(func.count()).select_from(JOBS).where(JOBS.c.state == JobState.QUEUED)
            self._jobs = connection.execute(query).scalar_one()
            self._counted_at = now
        if self._jobs >= self.jobs_max:
            raise BusyError(
                f"{self._jobs} jobs wait already", hint="submit again when some have run"
            )
        self._jobs += 1


def submit(
    connection: Connection, job: Job, spec_text: str, key: str | None, gauge: QueueGauge
) -> tuple[Job, bool]:
    """Store a new job, or return the one that came with the same idempotency key."""
    if key is not None:
        first = submitted_before(connection, job.owner, job.spec, key)
        if first is not None:
            return first, False
    gauge.admit(connection, job.created_at)
    insert_job(connection, job, spec_text)
    if job.spec.verify.policy is Policy.REPLICATED:
        _insert_replicas(connection, job, spec_text)
    if key is not None:
        again = {"owner": job.owner, "key": key, "job_id": job.id, "created_at": job.created_at}
        connection.execute(insert(IDEMPOTENCY), again)
    return read_job(connection, job.id) if job.spec.verify.replicas > 1 else job, True


def _insert_replicas(connection: Connection, job: Job, spec_text: str) -> None:
    """Queue the job for the other nodes that are to do it."""
    ids = [replica_id(job.id, number) for number in range(1, job.spec.verify.replicas + 1)]
    for other in ids[1:]:
        copy = replace(job, id=other, lock_token=new_lock_token(), warnings=())
        insert_job(connection, copy, spec_text)
    add_members(connection, job.id, ids, 1)


def submitted_before(connection: Connection, owner: str, spec: JobSpec, key: str) -> Job | None:
    """Return the job that an owner's idempotency key has made, if any."""
    query = select(IDEMPOTENCY.c.job_id)
    query = query.where(IDEMPOTENCY.c.owner == owner, IDEMPOTENCY.c.key == key)
    job_id = connection.execute(query).scalar_one_or_none()
    if job_id is None:
        return None
    first = read_job(connection, job_id)
    if replace(first.spec, signature=None) != replace(spec, signature=None):
        raise ConflictError(
            f"the idempotency key {key[:80]!r} was used for another job, {first.id}",
            hint="use a new key for each job, and the same key only to repeat a request",
        )
    return first


def request_cancel(connection: Connection, job_id: str, now: float) -> Job:
    """Cancel a job that waits; mark one that a node has. With one replica go all of its group."""
    group = member_ids(connection, order_of(job_id)) or [job_id]
    for member in group:
        _cancel(JobEdit.open(connection, member, now))
    return read_job(connection, job_id)


def _cancel(edit: JobEdit) -> None:
    if edit.state is JobState.QUEUED or edit.is_parked:
        reason = Reason(ReasonCode.CANCELLED, "cancelled while it waited")
        edit.change(
            cancel_requested=True,
            finished_at=edit.now,
            waiting=None,
            outcome=dump(OUTCOME, Outcome(Move.CANCEL, reason)),
        )
        edit.renew_token()
        edit.move(Move.CANCEL, reason=reason)
    elif not edit.state.is_final and not edit.cancel_requested:
        edit.change(cancel_requested=True)
        edit.emit(EventKind.NOTE, {"text": "cancel requested"})
    edit.save()


def assign(connection: Connection, job: Job, node: Node, lease_s: float, now: float) -> Job:
    """Give a waiting job to a node that has room: a new attempt under a new token."""
    edit = JobEdit.open(connection, job.id, now, lock_token=job.lock_token)
    next_state(edit.state, Move.ASSIGN)  # before anything is written
    check_room(connection, job, node)
    if job.replica is not None:
        take(connection, job, node)
    edit.attempt += 1
    edit.change(
        attempt=edit.attempt,
        node_id=node.id,
        lease_until=now + lease_s,
        waiting=None,
    )
    connection.execute(
        insert(ATTEMPTS).values(
            job_id=job.id,
            number=edit.attempt,
            lock_token=edit.renew_token(),
            node_id=node.id,
            node_name=node.name,
            assigned_at=now,
        )
    )
    edit.move(Move.ASSIGN, node=node.name)
    return edit.saved()


def set_waiting(connection: Connection, job: Job, waiting: Reason | None, now: float) -> None:
    """Say why a job waits, if that is news."""
    edit = JobEdit.open(connection, job.id, now, lock_token=job.lock_token)
    if edit.state is not JobState.QUEUED:
        raise ConflictError(f"job {job.id} is {edit.state}: it does not wait")
    text = None if waiting is None else dump(REASON, waiting)
    if text != edit.waiting:
        edit.change(waiting=text)
        edit.save()


def release(connection: Connection, job: Job, reason: Reason, backoff_s: float, now: float) -> Job:
    """End an attempt that was lost."""
    edit = JobEdit.open(connection, job.id, now, lock_token=job.lock_token)
    if edit.lease_until != job.lease_until:  # its node called after all
        raise StaleError(f"the lease of job {job.id} was renewed meanwhile")
    end_attempt(edit, Outcome(Move.RETRY, reason), delay_s=backoff_s)
    return edit.saved()


def finish(connection: Connection, job: Job, outcome: Outcome, now: float) -> Job:
    """End a job from the scheduler's side."""
    edit = JobEdit.open(connection, job.id, now, lock_token=job.lock_token)
    end_attempt(edit, outcome)
    return edit.saved()
