"""Empties RUNNING of jobs whose node is gone, or forgot to stop them."""

from collections.abc import Mapping, Sequence

from bcai.base.errors import ConflictError
from bcai.base.units import format_duration_s
from bcai.cluster.scheduler.lease import release_if_lost
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import Job
from bcai.jobs.node import Node
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.states import JobState, Move

# The node stops a job at its wall limit. Then it uploads the outputs, which may be large.
OVERRUN_S = 600.0


async def empty_running(
    store: JobStore, held: Sequence[Job], nodes: Mapping[str, Node], *, now: float
) -> None:
    """Release what runs on a node that is silent; end what is far over its time."""
    for job in held:
        if job.state is not JobState.RUNNING or await release_if_lost(store, job, nodes, now):
            continue
        reason = overdue(job, now)
        if reason is None:
            continue
        try:
            await store.finish(job, Outcome(Move.TIME_OUT, reason))
        except ConflictError:  # it ended meanwhile
            continue


def overdue(job: Job, now: float) -> Reason | None:
    """Say that a job is far over its wall limit although its node renews the lease."""
    began = job.attempts[-1].started_at if job.attempts else None
    if began is None or now - began <= job.spec.limits.wall_s + OVERRUN_S:
        return None
    return Reason(
        ReasonCode.LIMIT_WALL_TIME,
        f"ran for {format_duration_s(now - began)}, "
        f"{format_duration_s(job.spec.limits.wall_s)} were allowed; its node did not stop it",
    )
