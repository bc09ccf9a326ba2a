"""How long a database of an earlier release takes to be carried over: python -m bench.migration --exchanges 100000

Fills a database as it was before exchanges had a table of their own (revision 0011), brings it up to date, and prints
the time and the memory that took, beside how long writing the same rows took. Sums of tokens must be equal.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from flask_migrate import downgrade, upgrade
from sqlalchemy import MetaData, func, select, text

from chatapp import create_app
from chatapp.auth import accounts
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers
from tests.providers.scripted import ScriptedProvider

BEFORE = "0011"
BATCH = 5000
PER_CHAT = 50


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--exchanges", type=int, default=100_000)
    asked.add_argument("--postgresql", help="the address of an empty database; SQLite without one")
    chosen = asked.parse_args()
    with tempfile.TemporaryDirectory() as place:
        url = chosen.postgresql or f"sqlite:///{place}/chat.db"
        app = create_app(
            Providers([ScriptedProvider()]), database_url=url, instance_dir=Path(place), secret_key="x" * 32
        )
        with app.app_context():
            upgrade()
            with write():
                user_id = accounts.create("ada@example.org", "!").id
            db.session.remove()
            downgrade(revision=BEFORE)
            began = time.monotonic()
            charged = fill(user_id, chosen.exchanges)
            filled = time.monotonic() - began
            began, cpu = time.monotonic(), time.process_time()
            upgrade()
            took, cpu = time.monotonic() - began, time.process_time() - cpu
            carried = db.session.execute(select(func.count(), func.sum(Exchange.charged_tokens))).one()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{chosen.exchanges:,} exchanges carried over in {took:.1f} s ({cpu:.1f} s CPU, at most {memory:.0f} MiB);"
        f" writing them took {filled:.1f} s; {carried[0]:,} are there, {carried[1]:,} of {charged:,} tokens"
    )
    if (carried[0], carried[1]) != (chosen.exchanges, charged):
        raise SystemExit("They are not the same.")


def fill(user_id: UUID, count: int) -> int:
    """Write exchanges as the release before did; return the tokens charged."""
    metadata = MetaData()
    metadata.reflect(db.engine, only=["chats", "messages", "turns", "usage_records"])
    charged = 0
    for start in range(0, count, BATCH):
        chats: list[dict[str, Any]] = []
        rows: dict[str, list[dict[str, Any]]] = {"messages": [], "turns": [], "usage_records": []}
        for number in range(start, min(start + BATCH, count)):
            if number % PER_CHAT == 0 or not chats:
                chats.append(_chat(user_id))
            for table, row in _exchange(user_id, chats[-1]["id"], number):
                rows[table].append(row)
            charged += number % 900
        with db.engine.begin() as connection:
            if db.engine.dialect.name == "sqlite":
                connection.execute(text("PRAGMA foreign_keys=OFF"))
            connection.execute(metadata.tables["chats"].insert(), chats)
            for table, found in rows.items():
                connection.execute(metadata.tables[table].insert(), found)
    return charged


def _id(value: UUID) -> Any:
    """Return an id as reflected tables take it."""
    return value.hex if db.engine.dialect.name == "sqlite" else value


def _chat(user_id: UUID) -> dict[str, Any]:
    instant = now()
    return {
        "id": _id(uuid4()), "user_id": _id(user_id), "title": "A chat", "model": "m", "system_prompt": "",
        "pinned": False, "archived": False, "created_at": instant, "updated_at": instant,
    }  # fmt: skip


def _exchange(user_id: UUID, chat_id: Any, number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    question, answer, turn = (_id(uuid4()) for _ in range(3))
    instant, tokens = now() - timedelta(seconds=number), number % 900
    figures = {"user_tokens": 12, "answer_tokens": tokens, "system_tokens": 0, "overhead_tokens": 10}
    usage = {**figures, "total_tokens": tokens, "charged_tokens": tokens, "excess_tokens": 0, "method": "api"}
    usage |= {"methods": {"user": "api", "answer": "api"}, "metering": "exchange", "reported": None}
    for key, parent, role, spent in ((question, None, "user", None), (answer, question, "assistant", usage)):
        yield "messages", {
            "id": key, "chat_id": chat_id, "parent_id": parent, "role": role, "content": "word " * 40, "thoughts": "",
            "continues": False, "status": "completed", "model": "m", "tokens_consumed": tokens if spent else 0,
            "usage": spent, "created_at": instant,
        }  # fmt: skip
    yield "turns", {
        "id": turn, "chat_id": chat_id, "user_id": _id(user_id), "question_id": question, "answer_id": answer,
        "key": turn if isinstance(turn, str) else turn.hex, "model": "m", "status": "completed", "owner": "-",
        "heartbeat_at": instant, "started_at": instant, "ended_at": instant, "metering": "exchange",
        "reserved_tokens": 9000, "max_answer_tokens": 8192, "clamped_by_budget": False, "charged_tokens": tokens,
        "sent": [{"role": "system", "tokens": 0, "text": ""}, {"role": "user", "tokens": 12}],
        "usage": usage, "reported": None, "price": None,
    }  # fmt: skip
    yield "usage_records", {
        "turn_id": turn, "user_id": _id(user_id), "chat_id": chat_id, "model": "m", "day": instant.date(),
        "ended_at": instant, "status": "completed", "metering": "exchange", "method": "api", **figures,
        "counted_tokens": tokens + 22, "charged_tokens": tokens,
    }  # fmt: skip


if __name__ == "__main__":
    main()
