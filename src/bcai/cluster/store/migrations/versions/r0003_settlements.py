"""Whether a result is taken for true, beside its job."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the settlements' table."""
    op.create_table(
        "settlements",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("committed_at", sa.Double, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("settlements_by_state", "settlements", ["state", "committed_at", "job_id"])
