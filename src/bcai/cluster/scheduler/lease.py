"""When a job's node counts as lost. The expiry of its lease is the only sign there is."""

import random
from collections.abc import Mapping
from contextlib import suppress

from bcai.base.backoff import backoff_s
from bcai.base.errors import ConflictError
from bcai.base.units import format_duration_s
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import Job
from bcai.jobs.node import Node
from bcai.jobs.outcome import Reason, ReasonCode

BACKOFF_FIRST_S = 0.5
BACKOFF_MOST_S = 60.0


def lost(job: Job, nodes: Mapping[str, Node], now: float) -> Reason | None:
    """Say why a job's attempt counts as lost, or None while its lease runs."""
    if job.lease_until is None or now <= job.lease_until:
        return None
    node = nodes.get(job.node_id or "")
    if node is None:
        return Reason(ReasonCode.NODE_LOST, "the node is not known any more")
    silent_s = now - node.seen_at
    if silent_s < now - job.lease_until:  # it calls, but not for this job: it was restarted
        message = f"node {node.name} does not hold the job any more (it was restarted)"
    else:
        message = f"node {node.name} was silent for {format_duration_s(silent_s)}"
    return Reason(ReasonCode.NODE_LOST, message)


async def release_if_lost(store: JobStore, job: Job, nodes: Mapping[str, Node], now: float) -> bool:
    """Take a job from a node whose lease on it ran out; return whether that was so."""
    reason = lost(job, nodes, now)
    if reason is None:
        return False
    jitter = random.random()  # noqa: S311 - spreads load, guards nothing
    wait_s = backoff_s(
        len(job.attempts), first_s=BACKOFF_FIRST_S, most_s=BACKOFF_MOST_S, jitter=jitter
    )
    with suppress(ConflictError):  # it ended meanwhile, or another scheduler was faster
        await store.release(job, reason, backoff_s=wait_s)
    return True
