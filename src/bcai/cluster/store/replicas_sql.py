"""Groups of jobs that are one job done by several nodes: who belongs to it, and where each is.

The first replica is the job that was submitted. The others have rows of their own in `jobs`, with
ids that begin with its id, and are scheduled, leased, retried and logged as every job is.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from bcai.base.errors import ConflictError
from bcai.cluster.store.tables import JOBS, REPLICAS, SETTLEMENTS
from bcai.jobs.fingerprint import fingerprint_of
from bcai.jobs.job import Job
from bcai.jobs.node import Fingerprint, Node
from bcai.jobs.replication import Replica
from bcai.jobs.settlement import Settlement
from bcai.wire.jobs import SETTLEMENT


def add_members(connection: Connection, order: str, ids: Sequence[str], first: int) -> None:
    """Write down who belongs to a group, numbered from `first`."""
    rows = [
        {"job_id": job_id, "order_id": order, "number": number}
        for number, job_id in enumerate(ids, start=first)
    ]
    connection.execute(insert(REPLICAS), rows)


def member_ids(connection: Connection, order: str) -> list[str]:
    """Ids of a group's jobs, the last one first: that is the order in which they are locked."""
    query = select(REPLICAS.c.job_id).where(REPLICAS.c.order_id == order)
    return list(connection.execute(query.order_by(REPLICAS.c.number.desc())).scalars())


def read_replicas(connection: Connection, job_ids: Sequence[str]) -> dict[str, Replica]:
    """What each of these jobs is to its group."""
    if not job_ids:
        return {}
    own = select(REPLICAS.c.order_id).where(REPLICAS.c.job_id.in_(job_ids))
    query = select(REPLICAS, JOBS.c.node_id).join(JOBS, JOBS.c.id == REPLICAS.c.job_id)
    rows = connection.execute(query.where(REPLICAS.c.order_id.in_(own))).all()
    groups: dict[str, list[Row[Any]]] = {}
    for row in rows:
        groups.setdefault(row.order_id, []).append(row)
    answered = {order: _answered(connection, order) for order in groups}
    wanted = set(job_ids)
    return {
        row.job_id: _to_replica(row, groups[row.order_id], answered[row.order_id])
        for row in rows
        if row.job_id in wanted
    }


def _to_replica(row: Row[Any], group: Sequence[Row[Any]], answered: dict[int, str]) -> Replica:
    on = {other.number: other.node_id for other in group if other.node_id is not None}
    taken = {node for number, node in {**on, **answered}.items() if number != row.number and node}
    pinned = next(other.fingerprint for other in group if other.number == 1)
    return Replica(row.order_id, row.number, _to_fingerprint(pinned), tuple(sorted(taken)))


def _answered(connection: Connection, order: str) -> dict[int, str]:
    """Ids of the nodes that have answered, by the replica's number."""
    settlement = read_settlement(connection, order)
    if settlement is None:
        return {}
    return {ballot.number: ballot.node_id for ballot in settlement.replicas}


def read_settlement(
    connection: Connection, job_id: str, *, locked: bool = False
) -> Settlement | None:
    """Where a job's result stands."""
    query = select(SETTLEMENTS.c.body).where(SETTLEMENTS.c.job_id == job_id)
    text = connection.execute(query.with_for_update() if locked else query).scalar_one_or_none()
    return None if text is None else SETTLEMENT.validate_python(json.loads(text))


def take(connection: Connection, job: Job, node: Node) -> None:
    """Put a replica on a node, and its group on the node's fingerprint.

    Raises
    ------
    ConflictError
        Another of the group has the node, or the group is on other machines: someone was faster.
    """
    replica = job.replica
    assert replica is not None
    row = select(REPLICAS).where(REPLICAS.c.job_id == replica.order).with_for_update()
    pinned = _to_fingerprint(connection.execute(row).one().fingerprint)
    now = read_replicas(connection, [job.id])[job.id]
    found = fingerprint_of(job.spec, node.capabilities)
    if node.id in now.taken or found is None or pinned not in (None, found):
        raise ConflictError(f"job {job.id} cannot be on node {node.name} beside its other replicas")
    if pinned is None:
        _pin(connection, replica.order, json.dumps(found))


def let_go(connection: Connection, job: Job) -> None:
    """Free a group whose only attempt was lost to choose its machines anew."""
    replica = job.replica
    assert replica is not None
    if not read_replicas(connection, [job.id])[job.id].taken:
        _pin(connection, replica.order, None)


def _pin(connection: Connection, order: str, fingerprint: str | None) -> None:
    connection.execute(
        update(REPLICAS).where(REPLICAS.c.job_id == order).values(fingerprint=fingerprint)
    )


def _to_fingerprint(text: str | None) -> Fingerprint | None:
    if text is None:
        return None
    return tuple((str(name), str(value)) for name, value in json.loads(text))
