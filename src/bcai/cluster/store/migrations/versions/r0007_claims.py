"""What each job asks of a node, so that a node's jobs can be added up."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None

_UNFINISHED = ("QUEUED", "ASSIGNED", "RUNNING")
_ASKED = ("memory_bytes", "cpu_count", "gpu_count")


def upgrade() -> None:
    """Add the columns, and fill them for the jobs that are not over."""
    for name in _ASKED:
        op.add_column("jobs", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    there_is_one = sa.text("node_id IS NOT NULL")
    op.create_index(
        "jobs_by_node",
        "jobs",
        ["node_id", "state"],
        sqlite_where=there_is_one,
        postgresql_where=there_is_one,
    )
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    texts = [sa.column(name, sa.Text) for name in ("id", "spec", "state")]
    numbers = [sa.column(name, sa.BigInteger) for name in _ASKED]
    jobs = sa.table("jobs", *texts, *numbers)
    query = sa.select(jobs.c.id, jobs.c.spec).where(jobs.c.state.in_(_UNFINISHED))
    for row in connection.execute(query).all():
        spec = json.loads(row.spec)
        asked = {
            "memory_bytes": spec["limits"]["memory_bytes"],
            "cpu_count": spec["hardware"]["cpu_count"],
            "gpu_count": spec["hardware"]["gpu_count"],
        }
        connection.execute(sa.update(jobs).where(jobs.c.id == row.id).values(**asked))
