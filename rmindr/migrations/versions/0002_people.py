"""People and what they agreed to, what repeats, what programs may do; and what a reminder must know for all that."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_CARRIED = sa.text("carried_by IS NOT NULL")


def _added() -> tuple[sa.Column[Any], ...]:
    """Made anew each time: a column belongs to one table."""
    return (
        sa.Column("kind", sa.String(10), nullable=False, server_default="reminder"),
        sa.Column("about", sa.Text, nullable=False, server_default=""),
        sa.Column("wall", sa.String(26)),
        sa.Column("fold", sa.Integer, nullable=False, server_default="0"),
        sa.Column("zone_rules", sa.String(40), nullable=False, server_default=""),
        sa.Column("deadline_at", sa.BigInteger),
        sa.Column("series_id", sa.Uuid),
        sa.Column("occurrence", sa.String(26)),
        sa.Column("carried_by", sa.Uuid),
        sa.Column("done_at", sa.BigInteger),
        sa.Column("erased_at", sa.BigInteger),
    )


def upgrade() -> None:
    """Only ever add: the release before goes on running on the new schema."""
    for column in _added():
        op.add_column("reminders", column)
    op.create_index("ix_reminders_owner_due_at", "reminders", ["owner", "status", "due_at"])
    op.create_index("ux_reminders_series_id_occurrence", "reminders", ["series_id", "occurrence"], unique=True)
    op.create_index(
        "ix_reminders_carried_by", "reminders", ["carried_by"], postgresql_where=_CARRIED, sqlite_where=_CARRIED
    )
    _people()
    _programs()
    op.create_table(
        "series",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("rev", sa.Integer, nullable=False, server_default="1"),
        sa.Column("owner", sa.String(64), nullable=False, server_default=""),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("subject", sa.String(400), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("rule", sa.String(500), nullable=False),
        sa.Column("start_wall", sa.String(26), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("from_completion", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("missed", sa.String(4), nullable=False, server_default="once"),
        sa.Column("useful_s", sa.Integer),
        sa.Column("next_wall", sa.String(26)),
        sa.Column("made", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_series_owner_id", "series", ["owner", "id"])
    op.create_index("ix_series_state", "series", ["state"])


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("mailbox", sa.String(320), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("confirmed_at", sa.BigInteger),
        sa.Column("blocked_at", sa.BigInteger),
        sa.Column("blocked_why", sa.String(200)),
        sa.Column("asked_at", sa.BigInteger),
        sa.Column("asked_times", sa.Integer, nullable=False, server_default="0"),
        sa.Column("time_zone", sa.String(64), nullable=False, server_default="UTC"),
        sa.Column("catch_up", sa.String(5), nullable=False, server_default="each"),
        sa.Column("feed_rev", sa.Integer, nullable=False, server_default="1"),
        sa.UniqueConstraint("mailbox", name="uq_people_mailbox"),
        sa.UniqueConstraint("owner", name="uq_people_owner"),
    )
    op.create_table(
        "sessions",
        sa.Column("secret_hash", sa.String(64), primary_key=True),
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_sessions_person_id", "sessions", ["person_id"])
    op.create_table(
        "links",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("purpose", sa.String(10), nullable=False),
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("by_id", sa.Uuid),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
    )
    op.create_index("ix_links_person_id", "links", ["person_id"])
    op.create_table(
        "consents",
        sa.Column("sender_id", sa.Uuid, primary_key=True),
        sa.Column("recipient_id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.String(7), nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("decided_at", sa.BigInteger),
    )
    op.create_index("ix_consents_recipient_id", "consents", ["recipient_id"])
    op.create_table(
        "buckets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("free_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_buckets_free_at", "buckets", ["free_at"])


def _programs() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("person_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("beginning", sa.String(16), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(100), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.UniqueConstraint("secret_hash", name="uq_tokens_secret_hash"),
    )
    op.create_index("ix_tokens_person_id", "tokens", ["person_id"])
    op.create_table(
        "hooks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("secret", sa.String(100), nullable=False),
        sa.Column("events", sa.String(200), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("failing_since", sa.BigInteger),
        sa.Column("stopped_at", sa.BigInteger),
    )
    op.create_index("ix_hooks_owner", "hooks", ["owner"])
    op.create_table(
        "calls",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("hook_id", sa.Uuid, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.String(300)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_calls_state_next_at", "calls", ["state", "next_at"])
    op.create_index("ix_calls_hook_id", "calls", ["hook_id"])


def downgrade() -> None:
    """Unmake them."""
    for table in ("calls", "hooks", "tokens", "buckets", "consents", "links", "sessions", "people", "series"):
        op.drop_table(table)
    for index in ("ix_reminders_carried_by", "ux_reminders_series_id_occurrence", "ix_reminders_owner_due_at"):
        op.drop_index(index, "reminders")
    with op.batch_alter_table("reminders") as reminders:
        for column in reversed(_added()):
            reminders.drop_column(column.name)
