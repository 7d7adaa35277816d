"""Runs the migrations inside the transaction that `Database.upgrade` has opened, and knows no other way."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
