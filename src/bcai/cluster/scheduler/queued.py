"""Empties QUEUED: gives the oldest jobs that fit to nodes that have room for them."""

import logging
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from bcai.base.errors import ConflictError
from bcai.cluster.scheduler.placement import Floor
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import Job
from bcai.jobs.node import Node
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.states import Move

SCAN_FIRST = 100  # jobs looked at in each round; their positions are told
SCAN_MOST = 100_000  # looked at while there is room and everything older does not fit

logger = logging.getLogger(__name__)


async def empty_queued(
    store: JobStore,
    floor: Floor,
    *,
    lease_s: float,
    now: float,
    thorough: bool,
) -> None:
    """Assign what can run now, and say of the rest why it waits.

    A job that fits nowhere blocks nobody behind it: a thorough look goes on while there is room,
    over the jobs that ask for no more than that.

    Parameters
    ----------
    thorough
        Whether to do what is too dear on each change: to look beyond the first in line, and to
        update positions that only moved, each a commit.
    """
    limit = SCAN_FIRST
    jobs = await store.queued(limit)
    line: dict[str, int] = {}  # positions; the replicas of a job have one
    for job in jobs:
        order = job.id if job.replica is None else job.replica.order
        position = line.setdefault(order, len(line) + 1)
        answer = await _place(store, floor, job, lease_s, now)
        if answer is not None:
            await _explain(store, job, answer, position, thorough)
    seen = {job.id for job in jobs}
    while thorough and len(jobs) == limit < SCAN_MOST and floor.has_room:
        limit *= 10
        jobs = await store.queued(limit, room=floor.room)
        for job in jobs:
            if job.id not in seen:
                await _place(store, floor, job, lease_s, now)
        seen |= {job.id for job in jobs}


async def _place(
    store: JobStore, floor: Floor, job: Job, lease_s: float, now: float
) -> Reason | None:
    """Assign a job, or return why it waits; None if it does not wait any more."""
    answer = _not_yet(job, now) or floor.choose(job)
    if isinstance(answer, Reason):
        return None if await _gives_up(store, job, answer) else answer
    await _assign(store, floor, job, answer, lease_s)
    return None


def _not_yet(job: Job, now: float) -> Reason | None:
    """Say until when a job rests after an attempt that was lost."""
    if job.not_before <= now:
        return None
    at = datetime.fromtimestamp(job.not_before, UTC).strftime("%H:%M:%S UTC")
    last = job.attempts[-1].reason if job.attempts else None
    why = f": {last.message}" if last else ""
    return Reason(
        ReasonCode.WAITING_BACKOFF, f"tries again at {at}, after attempt {len(job.attempts)}{why}"
    )


async def _assign(store: JobStore, floor: Floor, job: Job, node: Node, lease_s: float) -> None:
    try:
        await store.assign(job, node, lease_s=lease_s)
    except ConflictError:  # cancelled meanwhile, or another scheduler was faster
        return
    floor.take(job, node)
    logger.info("%s goes to %s", job.id, node.name)


async def _gives_up(store: JobStore, job: Job, reason: Reason) -> bool:
    """End the further replica that no node can take: without it, nobody decides."""
    replica = job.replica
    if replica is None or replica.number <= job.spec.verify.replicas:
        return False
    if reason.code is not ReasonCode.WAITING_REPLICAS:
        return False
    with suppress(ConflictError):  # cancelled meanwhile, or another scheduler was faster
        await store.finish(job, Outcome(Move.FAIL, reason))
    return True


async def _explain(
    store: JobStore, job: Job, reason: Reason, position: int, thorough: bool
) -> None:
    if reason.code is ReasonCode.WAITING_CAPACITY:
        reason = replace(reason, message=f"position {position}; {reason.message}")
    known = job.waiting
    if reason == known or (known and known.code is reason.code and not thorough):
        return
    try:
        await store.set_waiting(job, reason)
    except ConflictError:  # it does not wait any more
        return
