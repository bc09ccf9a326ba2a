"""What must be true after every fault: I1 to I9 of the fault list, asked of the database, the server and its log."""

from __future__ import annotations

import contextlib
import gc
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import gevent
import httpx
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from tests.servers import Process
from tests.streams import Heard, until

ONCE = """
    SELECT e.id FROM exchanges e LEFT JOIN ledger_entries l ON l.exchange_id = e.id GROUP BY e.id
    HAVING count(CASE WHEN l.operation = 'reserve' THEN 1 END) <> 1
        OR count(CASE WHEN l.operation = 'release' THEN 1 END) <> 1
        OR count(CASE WHEN l.operation = 'charge' THEN 1 END) <> 1
"""
BALANCE = """
    SELECT u.user_id FROM user_usage u WHERE u.token_limit - u.total_tokens_used - u.reserved_tokens <>
        (SELECT coalesce(sum(l.delta), 0) FROM ledger_entries l WHERE l.user_id = u.user_id)
"""
FIGURES = """
    SELECT e.id FROM exchanges e JOIN ledger_entries l ON l.exchange_id = e.id
    WHERE (l.operation = 'charge' AND l.delta <> -e.charged_tokens)
        OR (l.operation = 'release' AND l.delta <> e.reserved_tokens)
"""
OVER = "SELECT user_id FROM user_usage WHERE total_tokens_used + reserved_tokens > token_limit"
HELD = "SELECT user_id FROM user_usage WHERE reserved_tokens <> 0"
OPEN = "SELECT id FROM exchanges WHERE status = 'in_progress'"
HALF = """
    SELECT m.id FROM messages m LEFT JOIN exchanges e ON e.id = m.exchange_id
        LEFT JOIN turns t ON t.id = m.exchange_id AND t.answer_id = m.id
    WHERE m.role = 'assistant' AND (e.id IS NULL OR e.status <> m.status OR t.id IS NULL OR t.is_open)
"""
PER_KEY = "SELECT chat_id, key FROM turns WHERE key IS NOT NULL GROUP BY chat_id, key HAVING count(*) > 1"


def hold(url: str, *, limits_stood: bool = True, lease_seconds: float = 10) -> None:
    """Check what the database must say once it is quiet: I1, I2, I3 and I6. Waits for the open turns to end.

    limits_stood: nobody lowered a limit under what was used already.
    """
    with _connected(url) as connection:
        until(lambda: not _rows(connection, OPEN), lease_seconds)
        asked = {"I2 settled once": ONCE, "I2 balance": BALANCE, "I2 figures": FIGURES, "I1 nothing held": HELD}
        asked |= {"a half message": HALF, "I3 once per key": PER_KEY}
        if limits_stood:
            asked["I1 within the limit"] = OVER
        found = {name: rows for name, query in asked.items() if (rows := _rows(connection, query))}
    assert found == {}


def saved_is_shown(messages: list[dict[str, Any]], heard: Heard) -> None:
    """I4 and I5: what was shown is what is saved, to the letter, and a message that was taken is there."""
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["content"] == heard.text


def server_is_well(*servers: Process, secrets: Iterable[str] = ()) -> None:
    """I7 to I9: it answers at once, and its log holds no stack trace, no text, no key."""
    for server in servers:
        answer = httpx.get(f"{server.url}/healthz", timeout=1)
        assert (answer.status_code, answer.json()["open_turns"]) == (200, 0)
        written = server.log()
        assert "Traceback" not in written, written
        assert not re.search(r"chat_[\w-]{20,}", written)
        assert not [secret for secret in secrets if secret in written]


@contextlib.contextmanager
def nothing_grows(*apps: Any, seconds: float = 10) -> Iterator[None]:
    """I8 within this process: as many greenlets, open files and connections in use afterwards as before."""
    before = _counters(apps)
    yield
    # A few of a library's own may come with first use.
    until(lambda: all(now <= then + 4 for now, then in zip(_counters(apps), before, strict=True)), seconds)


def _counters(apps: Iterable[Any]) -> list[int]:
    gc.collect()
    greenlets = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead]
    return [len(greenlets), len(os.listdir("/proc/self/fd")), sum(_checked_out(app) for app in apps)]


def _checked_out(app: Any) -> int:
    from chatapp.kernel.extensions import db

    with app.app_context():
        count: int = db.engine.pool.checkedout()
        return count


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
    engine.dispose()


def _rows(connection: Connection, query: str) -> list[Any]:
    return list(connection.execute(text(query)).all())
