"""What of the nodes is taken, added up over the jobs that each has.

See Note [What is free is not counted].
"""

from sqlalchemy import Connection, select

from bcai.base.errors import ConflictError
from bcai.cluster.store.queries_sql import HELD
from bcai.cluster.store.tables import JOBS, NODES
from bcai.jobs.claim import claim_on, in_words, shortage
from bcai.jobs.job import Job
from bcai.jobs.node import NOTHING, Capabilities, Claim, Node

COLUMNS = (JOBS.c.node_id, JOBS.c.id, JOBS.c.memory_bytes, JOBS.c.cpu_count, JOBS.c.gpu_count)


def check_room(connection: Connection, job: Job, node: Node) -> None:
    """Lock a node against others who give it jobs, and see whether it has room for this one.

    Raises
    ------
    ConflictError
        It has not: another scheduler was faster.
    """
    connection.execute(select(NODES.c.id).where(NODES.c.id == node.id).with_for_update()).all()
    query = select(*COLUMNS).where(JOBS.c.node_id == node.id, JOBS.c.state.in_(HELD))
    taken = NOTHING
    for row in connection.execute(query):
        taken += claim_of(row.memory_bytes, row.cpu_count, row.gpu_count, node.capabilities)
    short = shortage(job.spec, node.capabilities, taken)
    if short:
        raise ConflictError(
            f"job {job.id} needs {in_words(short.asked)}, which node {node.name} has not free"
        )


def claim_of(memory_bytes: int, cores: int, gpus: int, capabilities: Capabilities) -> Claim:
    """What a job that a node has has of it, by the columns of its row."""
    return claim_on(Claim(memory_bytes, cores, gpus, 1), capabilities)
