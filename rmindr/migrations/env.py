"""Run by Alembic, with the connection that rmindr.schema hands over."""

from alembic import context
from sqlmodel import SQLModel

from rmindr import models

assert models.Reminder.metadata is SQLModel.metadata  # noqa: S101  (importing them is what fills the metadata)

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    # SQLite cannot alter a column in place; Alembic then copies the table.
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
