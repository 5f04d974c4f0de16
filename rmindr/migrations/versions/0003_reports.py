"""How often a person was reported by those whom they wanted to remind."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Only ever add: the release before goes on running on the new schema."""
    op.add_column("people", sa.Column("reports", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """Back to before."""
    op.drop_column("people", "reports")
