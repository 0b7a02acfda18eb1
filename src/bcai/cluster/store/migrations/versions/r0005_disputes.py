"""Disputes, with all that was said in them; and the key that each node signs with."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the disputes' table, and give the nodes a column."""
    op.create_table(
        "disputes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("disputes_by_job", "disputes", ["job_id", "opened_at"])
    op.create_index("disputes_open", "disputes", ["is_open", "node_id"])
    op.add_column("nodes", sa.Column("signing_key", sa.Text))
