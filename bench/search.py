"""Measure the search on messages of one person: .venv/bin/python -m bench.search [--messages 50000] [--postgresql URL]

  index      CPU of this process to bring a message into the index, and the size of the index beside that of the texts
  search     for a common word, two words, a rare one, none, a short and a Chinese one: CPU of this process, wall time,
             texts found, and the longest that the loop did not turn, in CPU time (the loop is asked every 2 ms)
  reference  the same words with LIKE over all of the person's texts, as a search without an index would have it

Without --postgresql the database is SQLite in a folder of its own. With it: an empty database, which is filled.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import logging
import random
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import gevent
from flask_migrate import upgrade
from sqlalchemy import func, insert, select

from chatapp import create_app
from chatapp.auth import accounts
from chatapp.auth.models import User
from chatapp.chats.indexing import Indexer
from chatapp.chats.models import Chat, Message, SearchPage, SearchPending
from chatapp.chats.search import search
from chatapp.kernel.database import now, release, write
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers
from tests.providers.scripted import ScriptedProvider

MESSAGES_PER_CHAT = 100
WORDS = {
    "common": "w0",
    "two words": "w1 w2",
    "rare": "needle",
    "nothing": "nowhereatall",
    "nothing, 3 letters": "qzj",
    "signs": "c++",
    "Chinese": "京都",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=50_000)
    options.add_argument("--postgresql")
    chosen = options.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as place:
        url = chosen.postgresql or f"sqlite:///{place}/chat.db"
        app = create_app(
            Providers([ScriptedProvider()]), database_url=url, instance_dir=Path(place), secret_key="x" * 32
        )
        with app.app_context():
            upgrade()
            user_id = fill(chosen.messages)
            index(chosen.messages)
            for name, word in WORDS.items():
                print_search(user_id, name, word)


def fill(messages: int) -> UUID:
    chance = random.Random(1)
    vocabulary = [f"w{number}" for number in range(30)] + [_word(chance) for _ in range(20_000)]
    weights = [1 / (rank + 3) for rank in range(len(vocabulary))]
    with write():
        user_id = accounts.create("ada@example.org", "!").id
    for chat in range(messages // MESSAGES_PER_CHAT):
        chat_id, ids = uuid4(), [uuid4() for _ in range(MESSAGES_PER_CHAT)]
        rows = [
            {
                "id": each,
                "chat_id": chat_id,
                "role": "user",
                "content": " ".join(chance.choices(vocabulary, weights, k=80)),
                "created_at": now() + timedelta(seconds=number),
            }
            for number, each in enumerate(ids)
        ]
        if chat % 100 == 0:
            rows[0]["content"] = f"{rows[0]['content']} needle 京都タワー"
        with write() as session:
            session.add(Chat(id=chat_id, user_id=user_id, title=f"Chat {chat}", model="m", head_id=ids[-1]))
            session.flush()
            session.execute(insert(Message), rows)
    return user_id


def _word(chance: random.Random) -> str:
    """Return a word with letters about as often as in English; none has a q, a j or an x."""
    return "".join(chance.choices("eeeeetttaaaooiinnsshhrrddllucmfwypvbgk", k=chance.randint(3, 10)))


def index(messages: int) -> None:
    indexer = Indexer()
    held, cpu, wall = measured(lambda: list(iter(indexer.step, False)))
    size = func.sum(func.length(SearchPage.signature) + func.length(SearchPage.subjects))
    pages, in_bytes = db.session.execute(select(func.count(), size)).one()
    chars = db.session.scalars(select(func.sum(func.length(Message.content)))).one()
    waiting = db.session.scalar(select(func.count()).select_from(SearchPending))
    print(
        f"index: {cpu / messages * 1000:.2f} ms CPU a message, {wall:.1f} s wall, held {held * 1000:.0f} ms;"
        f" {pages} pages, {in_bytes / messages:.0f} bytes a message of {chars / messages:.0f} characters;"
        f" {waiting} messages wait"
    )
    release()


def print_search(user_id: UUID, name: str, word: str) -> None:
    user = db.session.get(User, user_id)
    assert user
    search(user, "warm up")
    counts = []
    held, cpu, wall = measured(lambda: counts.append(len(search(user, word).hits)))
    reference = measured(lambda: _looked_through(user_id, word))
    print(
        f"search, {name:18} {counts[0]:3} chats, {cpu * 1000:6.1f} ms CPU, {wall * 1000:6.1f} ms wall,"
        f" held {held * 1000:5.1f} ms; reference {reference[1] * 1000:6.1f} ms CPU, {reference[2] * 1000:6.1f} ms wall"
    )
    release()


def _looked_through(user_id: UUID, word: str) -> None:
    all_words = [Message.content.icontains(each, autoescape=True) for each in word.split()]
    mine = select(Message.id).join(Chat, Chat.id == Message.chat_id).where(Chat.user_id == user_id, *all_words)
    db.session.scalars(mine.order_by(Message.created_at.desc()).limit(200)).all()


def measured(work: Callable[[], object]) -> tuple[float, float, float]:
    """Return seconds: the longest that the loop did not turn, and of all the work, in CPU time; then by the wall."""
    longest, is_over = 0.0, False

    def tick() -> None:
        nonlocal longest
        before = time.process_time()
        while not is_over:
            gevent.sleep(0.002)
            longest, before = max(longest, time.process_time() - before), time.process_time()

    ticking = gevent.spawn(tick)
    gevent.sleep(0.01)
    cpu, wall = time.process_time(), time.monotonic()
    work()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    is_over = True
    ticking.join()
    return longest, cpu, wall


if __name__ == "__main__":
    main()
