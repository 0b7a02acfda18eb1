"""Which jobs are one job that several nodes do."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the replicas' table."""
    op.create_table(
        "replicas",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("order_id", sa.Text, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("fingerprint", sa.Text),
    )
    op.create_index("replicas_by_order", "replicas", ["order_id", "number"])
