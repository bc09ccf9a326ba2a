"""Writing, on SQLite and PostgreSQL alike: one short unit at a time, with no waiting inside.

SQLite fails at once when a transaction that has read wants to write, and its own wait for a lock sleeps in C and
stalls every stream of the process. So a write begins with BEGIN IMMEDIATE, waits for the lock cooperatively, and the
units of one process queue behind a lock of our own.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, TypeVar

import gevent
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask, current_app
from gevent.lock import RLock
from sqlalchemy import CursorResult, DateTime, Engine, Executable, event, func
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.types import TypeDecorator

from chatapp.kernel.extensions import db

SQLITE_WAIT_SECONDS = 15
# Serialization failure, deadlock, lock not available, admin shutdown, crash shutdown, cannot connect now.
TRANSIENT_SQLSTATES = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03"}

T = TypeVar("T")
_one_writer = RLock()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in UTC. SQLite stores no time zone, so it is restored on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    return datetime.now(UTC)


def is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"


def database_now() -> Any:
    """The database's clock, for leases, because hosts may disagree. SQLite has one host, so its own clock will do."""
    return now() if is_sqlite() else func.clock_timestamp()


@contextmanager
def write() -> Iterator[Session]:
    """Run the block as one write transaction on db.session: committed at its end, rolled back if it raises.

    Ends the read transaction before it, so objects loaded earlier are read again inside. Nothing in the block may wait
    for anything but the database. Blocks nest: the outermost one commits.
    """
    session = db.session()
    if session.info.get("writing"):
        yield session
        return
    session.rollback()
    with _one_writer if is_sqlite() else nullcontext():
        session.info["writing"] = True
        try:
            session.connection(execution_options={"write": True})
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.info["writing"] = False


def execute_core(
    statement: Executable, values: Mapping[str, Any] | list[dict[str, Any]] | None = None
) -> CursorResult[Any]:
    """Run a statement on tables inside write(), bypassing the ORM, which costs several times as much.

    Loaded objects are not updated. Raises RuntimeError outside write().
    """
    session = db.session()
    if not session.info.get("writing"):
        raise RuntimeError("a write outside write()")
    return session.connection().execute(statement, values)


def retry_write(
    unit: Callable[[], T],
    *,
    seconds: float = 5,
    passes: Callable[[Exception], bool] | None = None,
    sleep: Callable[[float], None] = gevent.sleep,
) -> T:
    """Run unit inside write(), retrying transient errors (deadlock, restart, lost connection) for up to `seconds`.

    passes decides which errors to retry; by default those that may be gone a moment later. Raises the last error.
    unit must read everything it needs itself.
    """
    end, pause = time.monotonic() + seconds, 0.05
    while True:
        try:
            with write():
                return unit()
        except (DBAPIError, PoolTimeout) as error:
            if not (passes or is_passing)(error) or time.monotonic() + pause > end:
                raise
        sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, 2.0)


def is_passing(error: Exception) -> bool:
    """Return whether a database error may be gone a moment later."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or getattr(error.orig, "sqlstate", None) in TRANSIENT_SQLSTATES:
        return True
    text = str(error.orig)
    return isinstance(error, OperationalError) and ("locked" in text or "connection" in text)


def is_store_trouble(error: Exception) -> bool:
    """Return whether the error is the database's, not the statement's: down, locked, full, read-only. It may last."""
    return isinstance(error, (OperationalError, InterfaceError)) or is_passing(error)


def release() -> None:
    """Return the connection to the pool before a long wait. Objects loaded so far must not be touched again."""
    db.session.remove()


def engine_options(database_uri: str, pool_size: int, max_overflow: int) -> dict[str, Any]:
    # Parameters include messages, digests and emails, and errors are logged.
    if database_uri.startswith("sqlite"):
        return {"hide_parameters": True}
    settings = "-c statement_timeout=15000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=15000"
    return {
        "hide_parameters": True,
        "pool_size": pool_size,
        "max_overflow": max_overflow,
        "pool_timeout": 10,
        "pool_pre_ping": True,
        "connect_args": {"connect_timeout": 5, "options": settings},
    }


def init_app(app: Flask) -> None:
    with app.app_context():
        engine = db.engine
        if engine.dialect.name == "sqlite":
            _prepare_sqlite(app, engine)
        else:
            _let_broken_connections_go(engine)


def _let_broken_connections_go(engine: Engine) -> None:
    """Skip the rollback on a broken connection.

    Otherwise a finished page fails when it returns a broken connection.
    """
    dialect: Any = engine.dialect
    roll_back = dialect.do_rollback

    def roll_back_if_it_lives(connection: Any) -> None:
        try:
            roll_back(connection)
        except Exception:
            if not connection.closed:
                raise

    dialect.do_rollback = roll_back_if_it_lives


def _prepare_sqlite(app: Flask, engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        if (inode := _inode(engine.url.database)) is not None:
            app.extensions.setdefault("database_inode", inode)
        connection.isolation_level = None  # We begin transactions ourselves.
        for pragma in ("busy_timeout=20", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        if not connection.get_execution_options().get("write"):
            connection.exec_driver_sql("BEGIN")
            return
        end = time.monotonic() + SQLITE_WAIT_SECONDS
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except OperationalError as error:
                if "locked" not in str(error.orig) or time.monotonic() > end:
                    raise
                gevent.sleep(random.uniform(0.001, 0.01))


@event.listens_for(Session, "before_flush")
def _refuse_stray_flush(session: Session, _context: Any, _instances: Any) -> None:
    if not session.info.get("writing"):
        raise RuntimeError("a write outside write()")


@event.listens_for(Session, "do_orm_execute")
def _refuse_stray_statement(state: ORMExecuteState) -> None:
    if not state.is_select and not state.session.info.get("writing"):
        raise RuntimeError("a write outside write()")


def file_was_replaced() -> bool:
    """Return whether SQLite's file was deleted or replaced under us: we would keep writing to the lost one."""
    known = current_app.extensions.get("database_inode")
    return known is not None and known != _inode(db.engine.url.database)


def _inode(path: str | None) -> int | None:
    """Return the file's inode; None if there is no file: nothing was written yet, or the database is in memory."""
    try:
        return os.stat(path).st_ino if path else None
    except OSError:
        return None


def is_older() -> bool:
    """Return whether the database is from an earlier release, so that upgrading it may take a while."""
    directory = current_app.extensions["migrate"].directory
    with db.engine.connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    return revision is not None and revision != ScriptDirectory(directory).get_current_head()
