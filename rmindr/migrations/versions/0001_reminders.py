"""Reminders, and the facts that all processes agree on."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UNQUEUED = sa.text("queued_rev IS NULL AND status IN ('scheduled', 'retrying')")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "reminders",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("rev", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False, server_default=""),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("subject", sa.String(400), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("idem_key", sa.String(255)),
        sa.Column("idem_hash", sa.String(64)),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("queued_rev", sa.Integer),
        sa.Column("job_id", sa.BigInteger),
        sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("ambiguous", sa.Integer, nullable=False, server_default="0"),
        sa.Column("first_tried_at", sa.BigInteger),
        sa.Column("lease_until", sa.BigInteger),
        sa.Column("marked_at", sa.BigInteger),
        sa.Column("letter", sa.LargeBinary),
        sa.Column("accepted_at", sa.BigInteger),
        sa.Column("smtp_reply", sa.Text),
        sa.Column("timeline", sa.Text, nullable=False, server_default=""),
        sa.UniqueConstraint("owner", "idem_key", name="uq_reminders_owner_idem_key"),
    )
    op.create_index("ix_reminders_status_next_at", "reminders", ["status", "next_at"])
    op.create_index("ix_reminders_owner_id", "reminders", ["owner", "id"])
    op.create_index(
        "ix_reminders_unqueued", "reminders", ["next_at"], postgresql_where=_UNQUEUED, sqlite_where=_UNQUEUED
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Unmake them."""
    op.drop_table("facts")
    op.drop_table("reminders")
