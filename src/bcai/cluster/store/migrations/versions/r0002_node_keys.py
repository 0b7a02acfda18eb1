"""Each node keeps the API key that it came with first."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the key's id to the nodes."""
    op.add_column("nodes", sa.Column("key_id", sa.Text))
