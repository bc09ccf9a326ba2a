"""Alembic's environment: the application's engine and models (see Flask-Migrate)."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import Connection, String

db = current_app.extensions["migrate"].db


def render(kind: str, item: object, _autogen: object) -> str | bool:
    """Write our own column types as what they are in the database: a migration must not depend on today's code."""
    return "sa.DateTime(timezone=True)" if kind == "type" and type(item).__name__ == "UtcDateTime" else False


def _are_texts(_context, _inspected, _described, old, new):
    return isinstance(old, String) and isinstance(new, String)


def run(connection: Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_as_batch=is_sqlite,
        # SQLite holds to no length, so widening a column changes nothing there.
        compare_type=(lambda *types: False if _are_texts(*types) else None) if is_sqlite else True,
        render_item=render,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


engine = db.engine
if engine.dialect.name == "sqlite":
    # Set once at creation: it is kept in the file, and setting it again while others read fails.
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        if driver.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            driver.execute("PRAGMA journal_mode=WAL")
with engine.connect().execution_options(write=True) as connection:
    if connection.dialect.name == "postgresql":
        # Hosts that start together must not migrate together. Held by the session, and so over every migration.
        # The limits of requests are not those of an upgrade: an index over millions of rows takes its time.
        connection.exec_driver_sql("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        connection.exec_driver_sql("SELECT pg_advisory_lock(20261122)")
        connection.commit()
    run(connection)
    connection.commit()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_unlock(20261122)")
        connection.commit()
