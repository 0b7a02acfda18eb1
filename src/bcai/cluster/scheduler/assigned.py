"""Empties ASSIGNED of jobs whose node is gone before they started."""

from collections.abc import Mapping, Sequence

from bcai.cluster.scheduler.lease import release_if_lost
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import Job
from bcai.jobs.node import Node
from bcai.jobs.states import JobState


async def empty_assigned(
    store: JobStore, held: Sequence[Job], nodes: Mapping[str, Node], *, now: float
) -> None:
    """Release what was assigned to a node that is silent."""
    for job in held:
        if job.state is JobState.ASSIGNED:
            await release_if_lost(store, job, nodes, now)
