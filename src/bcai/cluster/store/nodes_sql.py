"""The nodes: who was seen when, with what, and whose leases that renews."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from bcai.base.errors import ForbiddenError, InputError
from bcai.cluster.store.claims_sql import COLUMNS, claim_of
from bcai.cluster.store.queries_sql import HELD
from bcai.cluster.store.rows import dump, load
from bcai.cluster.store.tables import API_KEYS, JOBS, NODES
from bcai.jobs.node import NOTHING, Capabilities, Node
from bcai.wire.jobs import CAPABILITIES

Pair = tuple[str, str]  # a job's id and the lock token of an attempt


def node_seen(
    connection: Connection,
    node_id: str,
    name: str | None,
    capabilities: Capabilities | None,
    key_id: str | None,
    held: Sequence[tuple[str, str]],
    lease_s: float,
    now: float,
    signing_key: str | None = None,
) -> list[tuple[str, str]]:
    """Note a node's presence and renew its leases; return the pairs that are stale."""
    news: dict[str, Any] = {"seen_at": now}
    if name is not None:
        news["name"] = name
    if capabilities is not None:
        news["capabilities"] = dump(CAPABILITIES, capabilities)
    if key_id is not None:
        _check_key(connection, node_id, key_id)
        news["key_id"] = key_id
    if signing_key is not None:
        _check_signing_key(connection, node_id, signing_key)
        news["signing_key"] = signing_key
    known = connection.execute(update(NODES).where(NODES.c.id == node_id).values(**news))
    if known.rowcount == 0:
        if name is None or capabilities is None:
            raise InputError(f"node {node_id[:80]!r} is not known: it has to say hello first")
        connection.execute(insert(NODES).values(id=node_id, **news))
    renewed = _renew(connection, node_id, set(held), now + lease_s) if held else set[Pair]()
    return [pair for pair in held if pair not in renewed]


def _check_key(connection: Connection, node_id: str, key_id: str) -> None:
    """Refuse a node's id to everybody but the key that it came with, while that lives."""
    query = select(API_KEYS.c.id).join(NODES, NODES.c.key_id == API_KEYS.c.id)
    query = query.where(NODES.c.id == node_id, API_KEYS.c.revoked_at.is_(None))
    owner = connection.execute(query).scalar_one_or_none()
    if owner not in (None, key_id):
        raise ForbiddenError(
            f"the node id {node_id[:80]!r} belongs to another API key",
            hint="give this node an id of its own, or revoke the other key",
        )


def _check_signing_key(connection: Connection, node_id: str, signing_key: str) -> None:
    """A node signs with one key for ever, and no two nodes with the same."""
    query = select(NODES.c.id, NODES.c.signing_key).where(
        (NODES.c.id == node_id) | (NODES.c.signing_key == signing_key)
    )
    for row in connection.execute(query):
        if row.id != node_id:
            raise ForbiddenError(
                f"the signing key is bound to the node id {row.id[:64]!r} already",
                hint="each node has a key of its own, in its own folder: BCAI_NODE__HOME=...",
            )
        if row.signing_key not in (None, signing_key):
            raise ForbiddenError(
                f"the node id {node_id[:64]!r} is bound to another signing key: {row.signing_key}",
                hint="give it the key back, or an id of its own: remove both node.pem and id",
            )


def _renew(connection: Connection, node_id: str, held: set[Pair], until: float) -> set[Pair]:
    """Renew the leases of what a node has and holds. However much it says, that is all it costs."""
    query = select(JOBS.c.id, JOBS.c.lock_token).where(
        JOBS.c.node_id == node_id, JOBS.c.state.in_(HELD)
    )
    # Sorted, so that two gateways lock the same jobs in the same order.
    rows = connection.execute(query.order_by(JOBS.c.id).with_for_update())
    renewed = {(row.id, row.lock_token) for row in rows} & held
    if renewed:
        ids = sorted(job_id for job_id, _ in renewed)
        connection.execute(update(JOBS).where(JOBS.c.id.in_(ids)).values(lease_until=until))
    return renewed


def nodes(connection: Connection, online_within_s: float, now: float) -> list[Node]:
    """Return all nodes by name, with what each runs."""
    busy: dict[str, list[Row[str | None, str, int, int, int]]] = {}
    query = select(*COLUMNS).where(JOBS.c.state.in_(HELD)).order_by(JOBS.c.id)
    for row in connection.execute(query):
        busy.setdefault(row.node_id, []).append(row)
    answer: list[Node] = []
    for row in connection.execute(select(NODES).order_by(NODES.c.name, NODES.c.id)):
        capabilities = load(CAPABILITIES, row.capabilities)
        assert capabilities is not None  # the column is never null
        held = busy.get(row.id, [])
        claims = (
            claim_of(each.memory_bytes, each.cpu_count, each.gpu_count, capabilities)
            for each in held
        )
        answer.append(
            Node(
                id=row.id,
                name=row.name,
                capabilities=capabilities,
                seen_at=row.seen_at,
                online=row.seen_at >= now - online_within_s,
                running=tuple(each.id for each in held),
                signing_key=row.signing_key or "",
                taken=sum(claims, NOTHING),
            )
        )
    return answer
