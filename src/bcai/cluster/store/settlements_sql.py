"""Where results stand: committed when a job succeeds, settled or disputed by an audit."""

import json

from sqlalchemy import Connection, insert, select, update

from bcai.base.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from bcai.cluster.store.rows import dump, read_job, to_jobs
from bcai.cluster.store.tables import DISPUTES, JOBS, NODES, REPLICAS, SETTLEMENTS
from bcai.jobs.job import Job
from bcai.jobs.outcome import Outcome
from bcai.jobs.settlement import Audited, Settlement, SettlementState, commit, step
from bcai.jobs.verify import Policy
from bcai.wire.jobs import SETTLEMENT


def commit_result(
    connection: Connection, job: Job, outcome: Outcome, salt: str, now: float
) -> None:
    """Write down that a job that asked for a check has a result. `salt` is random, and new."""
    if job.spec.verify.policy in (Policy.NONE, Policy.REPLICATED):
        return
    attempt = job.attempts[-1]
    signs = select(NODES.c.signing_key).where(NODES.c.id == attempt.node_id)
    settlement = commit(
        job.spec.verify,
        job_id=job.id,
        receipt=outcome.receipt,
        salt=salt,
        node_id=attempt.node_id,
        node_name=attempt.node_name,
        at=now,
        node_key=connection.execute(signs).scalar_one_or_none() or "",
    )
    connection.execute(
        insert(SETTLEMENTS).values(
            job_id=job.id,
            state=settlement.state,
            committed_at=settlement.committed_at,
            body=dump(SETTLEMENT, settlement),
        )
    )


def audits_due(connection: Connection, limit: int) -> list[Job]:
    """Return jobs whose result waits for its audit, the oldest first."""
    query = select(JOBS).join(SETTLEMENTS, SETTLEMENTS.c.job_id == JOBS.c.id)
    query = query.outerjoin(REPLICAS, REPLICAS.c.job_id == JOBS.c.id)
    query = query.where(
        SETTLEMENTS.c.state == SettlementState.COMMITTED, REPLICAS.c.job_id.is_(None)
    )
    query = query.order_by(SETTLEMENTS.c.committed_at, SETTLEMENTS.c.job_id).limit(limit)
    return to_jobs(connection, connection.execute(query).all())


def settle(connection: Connection, job_id: str, message: Audited, key_id: str) -> Job:
    """Take an audit's end from whoever has the API key `key_id`."""
    before = lock_settlement(connection, job_id)
    refuse_own_work(connection, before, key_id)
    if message.voucher is not None:
        _refuse_own_word(connection, before, message.voucher.key)
    disputed = select(DISPUTES.c.id).where(DISPUTES.c.job_id == job_id, DISPUTES.c.is_open)
    if connection.execute(disputed).first() is not None:
        raise ConflictError("the result is in dispute: that says what becomes of it")
    if not message.agrees and not read_job(connection, job_id).spec.capture:
        raise InputError(
            "agrees: found false, but only a captured script can differ without anyone's lie",
            hint=f"open a dispute: POST /v1/audits/{job_id}/dispute",
        )
    save_settlement(connection, job_id, before, step(before, message))
    return read_job(connection, job_id)


def lock_settlement(connection: Connection, job_id: str) -> Settlement:
    """Return a job's settlement; its row stays locked. Raises NotFoundError."""
    query = select(SETTLEMENTS.c.body).where(SETTLEMENTS.c.job_id == job_id).with_for_update()
    text = connection.execute(query).scalar_one_or_none()
    if text is None:
        raise NotFoundError(f"no result of a job {job_id[:80]!r} can be settled")
    return SETTLEMENT.validate_python(json.loads(text))


def save_settlement(
    connection: Connection, job_id: str, before: Settlement, after: Settlement
) -> None:
    """Write down what became of a settlement."""
    if after != before:
        connection.execute(
            update(SETTLEMENTS)
            .where(SETTLEMENTS.c.job_id == job_id)
            .values(state=after.state, body=dump(SETTLEMENT, after))
        )


def refuse_own_work(connection: Connection, settlement: Settlement, key_id: str) -> None:
    """A node does not check itself. Raises ForbiddenError."""
    owner = select(NODES.c.key_id).where(NODES.c.id == settlement.node_id)
    if connection.execute(owner).scalar_one_or_none() == key_id:
        raise ForbiddenError(
            "a node's work is not audited with the key that the node itself came with",
            hint="give the challenger a key of its own: bcai keys add",
        )


def _refuse_own_word(connection: Connection, settlement: Settlement, signing_key: str) -> None:
    """Nobody vouches with the node's key, nor with one of a node that came with its API key."""
    owner = select(NODES.c.key_id).where(NODES.c.id == settlement.node_id)
    own = select(NODES.c.signing_key).where(NODES.c.key_id.in_(owner))
    if signing_key in (settlement.node_key, *connection.execute(own).scalars()):
        raise ForbiddenError(
            f"{signing_key} signs for the node whose work this is, or for another of its owner",
            hint="a challenger has a key of its own: challenger.pem in its home",
        )
