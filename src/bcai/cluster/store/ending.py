"""The end of an attempt: of a job alone, or of one that several nodes do.

Note [A job that several nodes do]
    Each node's end is a ballot. The first replica is the job itself: when its node has answered,
    the job is parked (RUNNING, on no node) until the last ballot is in, and then ends with the
    outcome that most gave. So what a client sees as the result never changes. Locks are taken in
    the order replica, job, settlement; a cancel goes from a group's last member to its first.
"""

from dataclasses import replace

from sqlalchemy import Connection, insert, select, update

from bcai.cluster.store.edit import JobEdit, new_lock_token
from bcai.cluster.store.new_job import insert_job
from bcai.cluster.store.replicas_sql import add_members, let_go, read_settlement
from bcai.cluster.store.rows import dump, load, read_job
from bcai.cluster.store.tables import JOBS, SETTLEMENTS
from bcai.cluster.store.verdict import judge
from bcai.jobs.job import EventKind, Job
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.read_word import ballot_of
from bcai.jobs.replication import Next, begin, chosen, count, replica_id, told
from bcai.jobs.settlement import Settlement
from bcai.jobs.states import JobState, Move
from bcai.wire.jobs import OUTCOME, SETTLEMENT, SPEC

_FURTHER = ("", "a further node")  # while it is on none


def end_attempt(
    edit: JobEdit, outcome: Outcome, *, delay_s: float | None = None, report: int | None = None
) -> None:
    """End the current attempt: the job ends too, waits for others, or goes back to the queue.

    Raises
    ------
    ConflictError
        A job in this state cannot end like that.
    """
    edit.save()
    job = read_job(edit.connection, edit.job_id)
    if job.replica is not None and job.cancel_requested:
        outcome = _cancelled(outcome)
    verdict = judge(job, outcome, delay_s=delay_s)
    ended = verdict.outcome
    counts = job.replica is not None and ended is not None and ended.move is not Move.CANCEL
    parks = counts and job.replica is not None and job.replica.number == 1
    edit.close_attempt(job, outcome, verdict, report=report, parks=parks)
    edit.save()
    if counts and ended is not None:
        _count(edit, job, ended)
    elif job.replica is not None and ended is None:
        let_go(edit.connection, job)


def _cancelled(outcome: Outcome) -> Outcome:
    """Whatever a node says: the others were told to stop, so that nothing is to be compared."""
    if outcome.move is Move.CANCEL:
        return outcome
    reason = Reason(ReasonCode.CANCELLED, "cancelled before all of its nodes had answered")
    return replace(outcome, move=Move.CANCEL, reason=reason)


def _count(edit: JobEdit, job: Job, ended: Outcome) -> None:
    """Count a ballot; end the job with the last one. See Note [A job that several nodes do]."""
    connection, replica = edit.connection, job.replica
    assert replica is not None
    order = edit if replica.number == 1 else JobEdit.open(connection, replica.order, edit.now)
    if order.state.is_final:  # cancelled meanwhile
        return
    before = read_settlement(connection, replica.order, locked=True)
    last = job.attempts[-1] if job.attempts else None
    ballot = ballot_of(
        replica.order,
        job.spec,
        ended,
        number=replica.number,
        node=(last.node_id, last.node_name) if last else _FURTHER,
        fingerprint=replica.fingerprint,
    )
    after, following = count(before or begin(job.spec.verify, edit.now), ballot, edit.now)
    _write(connection, replica.order, after, is_new=before is None)
    order.emit(EventKind.NOTE, {"text": after.text})
    if following is Next.ASK:
        _ask(order, job, replica_id(replica.order, after.asked), after.asked)
    elif following is Next.END:
        outcome = _outcome(connection, replica_id(replica.order, chosen(after)))
        order.finish(told(after, outcome), node_id=after.node_id)
    order.save()


def _write(connection: Connection, order: str, settlement: Settlement, *, is_new: bool) -> None:
    values = {"state": settlement.state, "body": dump(SETTLEMENT, settlement)}
    if is_new:
        row = {"job_id": order, "committed_at": settlement.committed_at, **values}
        connection.execute(insert(SETTLEMENTS).values(**row))
    else:
        query = update(SETTLEMENTS).where(SETTLEMENTS.c.job_id == order)
        connection.execute(query.values(**values))


def _ask(order: JobEdit, job: Job, job_id: str, number: int) -> None:
    """Queue the job for one further node."""
    now, token = order.now, new_lock_token()
    further = Job(job_id, job.owner, job.spec, JobState.QUEUED, now, now, token)
    insert_job(order.connection, further, dump(SPEC, job.spec))
    add_members(order.connection, order.job_id, [job_id], number)


def _outcome(connection: Connection, job_id: str) -> Outcome:
    text = connection.execute(select(JOBS.c.outcome).where(JOBS.c.id == job_id)).scalar_one()
    outcome = load(OUTCOME, text)
    assert outcome is not None, "a replica that has a ballot has an outcome"
    return outcome
