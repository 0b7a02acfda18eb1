"""Disputes: opened by a challenger, answered by both sides, moved on and ended by the referee."""

import json
from dataclasses import replace

from pydantic import TypeAdapter
from sqlalchemy import Connection, insert, select, update

from bcai.base.errors import ConflictError, ForbiddenError, NotFoundError, StaleError
from bcai.cluster.store.rows import dump
from bcai.cluster.store.settlements_sql import (
    lock_settlement,
    refuse_own_work,
    save_settlement,
)
from bcai.cluster.store.tables import DISPUTES, NODES
from bcai.jobs.dispute import (
    SILENT_MAX,
    DisputeRecord,
    Party,
    Said,
    answered,
    asked_again,
)
from bcai.jobs.settlement import may_be_disputed, rule

_RECORD: TypeAdapter[DisputeRecord] = TypeAdapter(DisputeRecord)


def open_dispute(connection: Connection, record: DisputeRecord) -> DisputeRecord:
    """Begin a dispute; the same challenger gets the one that it has begun before.

    `record` lacks the node, which the settlement names.
    """
    settlement = lock_settlement(connection, record.job_id)
    refuse_own_work(connection, settlement, record.challenger_key)
    earlier = _of_job(connection, record.job_id)
    for each in earlier:
        if each.ruling is not None:
            continue
        if _claim(each) != _claim(record):
            raise ConflictError(f"the result is in dispute already, with {each.challenger}")
        return each
    if not may_be_disputed(settlement, record.opened_at):
        raise ConflictError(f"the result is {settlement.state}: there is nothing to dispute")
    _refuse_loser(earlier, record.challenger_key)
    begun = replace(record, node_id=settlement.node_id, node_name=settlement.node_name)
    connection.execute(
        insert(DISPUTES).values(
            id=begun.id,
            job_id=begun.job_id,
            node_id=begun.node_id,
            is_open=True,
            opened_at=begun.opened_at,
            body=dump(_RECORD, begun),
        )
    )
    return begun


def _claim(record: DisputeRecord) -> tuple[str, int, str, str, int | None]:
    return record.challenger_key, record.size, record.root, record.accusation, record.part


def _refuse_loser(earlier: list[DisputeRecord], key_id: str) -> None:
    """Who lied about a result is not heard again; who was silent, some times."""
    lost = [
        each.ruling for each in earlier if each.ruling is not None and each.challenger_key == key_id
    ]
    if any(each.code != "silent" for each in lost) or len(lost) >= SILENT_MAX:
        raise ForbiddenError(
            f"this key has lost a dispute about this result: {lost[-1].text}",
            hint="another challenger may audit it",
        )


def dispute_of(connection: Connection, job_id: str) -> DisputeRecord:
    """Return the last dispute about a result. Raises NotFoundError."""
    found = _of_job(connection, job_id)
    if not found:
        raise NotFoundError(f"no dispute about a job {job_id[:80]!r}")
    return found[-1]


def open_disputes(connection: Connection, node_id: str | None) -> list[DisputeRecord]:
    """Return those that go on, all or those against one node."""
    query = select(DISPUTES.c.body).where(DISPUTES.c.is_open).order_by(DISPUTES.c.opened_at)
    if node_id is not None:
        query = query.where(DISPUTES.c.node_id == node_id)
    return [_read(text) for text in connection.execute(query).scalars()]


def say(connection: Connection, job_id: str, key_id: str, number: int, said: Said) -> DisputeRecord:
    """Take an answer from whichever side has the API key."""
    record = _lock(connection, dispute_of(connection, job_id).id)
    after = answered(record, party_of(connection, record, key_id), number, said)
    _save(connection, record, after)
    return after


def party_of(connection: Connection, record: DisputeRecord, key_id: str) -> Party:
    """Which side an API key speaks for. Raises ForbiddenError."""
    if key_id == record.challenger_key:
        return Party.CHALLENGER
    owner = select(NODES.c.key_id).where(NODES.c.id == record.node_id)
    if connection.execute(owner).scalar_one_or_none() == key_id:
        return Party.NODE
    raise ForbiddenError("this API key is of neither side of the dispute")


def move_dispute(
    connection: Connection, before: DisputeRecord, after: DisputeRecord
) -> DisputeRecord:
    """Write down the referee's next question, or its ruling; that goes into the settlement too."""
    if _lock(connection, before.id) != before:
        raise StaleError(f"dispute {before.id} changed meanwhile")
    if after.ruling is not None:
        settlement = lock_settlement(connection, after.job_id)
        save_settlement(connection, after.job_id, settlement, rule(settlement, after.ruling))
    _save(connection, before, after)
    return after


def restart_clocks(connection: Connection, now: float) -> None:
    """Let the present questions' clocks run from now: no referee was there meanwhile."""
    for record in open_disputes(connection, None):
        locked = _lock(connection, record.id)
        _save(connection, locked, asked_again(locked, now))


def _lock(connection: Connection, dispute_id: str) -> DisputeRecord:
    query = select(DISPUTES.c.body).where(DISPUTES.c.id == dispute_id).with_for_update()
    return _read(connection.execute(query).scalar_one())


def _save(connection: Connection, before: DisputeRecord, after: DisputeRecord) -> None:
    if after != before:
        connection.execute(
            update(DISPUTES)
            .where(DISPUTES.c.id == before.id)
            .values(is_open=after.ruling is None, body=dump(_RECORD, after))
        )


def _of_job(connection: Connection, job_id: str) -> list[DisputeRecord]:
    query = select(DISPUTES.c.body).where(DISPUTES.c.job_id == job_id)
    query = query.order_by(DISPUTES.c.opened_at, DISPUTES.c.id)
    return [_read(text) for text in connection.execute(query).scalars()]


def _read(text: str) -> DisputeRecord:
    return _RECORD.validate_python(json.loads(text))
