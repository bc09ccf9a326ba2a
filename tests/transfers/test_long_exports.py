"""Exports of much: what they take grows with what is exported, and others have their turn in between."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import gevent
import pytest
from sqlalchemy import event, insert

from chatapp.chats.models import Chat, Message
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from tests.auth.browser import signed_in

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


@contextmanager
def work(app):
    """Count what the database does: a list that grows by one for every 100 steps of SQLite's machine."""
    steps = []
    with app.app_context():
        engine = db.engine

    def watch(connection, *_rest):
        connection.set_progress_handler(lambda: steps.append(1) or 0, 100)

    def forget(connection, *_rest):
        connection.set_progress_handler(None, 100)

    event.listen(engine, "checkout", watch)
    event.listen(engine, "checkin", forget)
    yield steps
    event.remove(engine, "checkout", watch)
    event.remove(engine, "checkin", forget)


def save_long_chat(app, user, count, continues=False):
    """Save a chat of one branch, all of it in one instant; return its id."""
    chat_id, ids = uuid4(), [UUID(int=number + 1 + (count << 64)) for number in range(count)]
    rows = [
        {"id": own, "chat_id": chat_id, "parent_id": above, "content": f"word {number}", "created_at": NOON}
        | {"role": ("user", "assistant")[number % 2], "continues": continues and number % 2 == 0 and number > 0}
        for number, (own, above) in enumerate(zip(ids, [None, *ids], strict=False))
    ]
    with app.app_context(), write() as session:
        session.add(Chat(id=chat_id, user_id=user.id, title="Long", model="m", head_id=ids[-1]))
        session.flush()
        session.execute(insert(Message), rows)
    return chat_id


def save_usage(app, user, count):
    with app.app_context(), write() as session:
        tokens = ("overhead_tokens", "reserved_tokens", "max_answer_tokens", "counted_tokens", "charged_tokens")
        row = dict.fromkeys(tokens, 1) | {"user_id": user.id, "model": "m", "day": NOON.date(), "purpose": "answer"}
        row |= {"status": "completed", "metering": "exchange", "method": "local", "owner": "-", "parts": []}
        rows = [
            row | {"id": uuid4(), "chat_id": uuid4(), "ended_at": NOON + timedelta(seconds=number)}
            for number in range(count)
        ]
        session.execute(insert(Exchange), rows)


@pytest.mark.parametrize("kind", ["json", "md"])
@pytest.mark.parametrize("continues", [False, True])
def test_a_chat_of_twice_the_messages_takes_twice_the_work(app, user, browser, kind, continues):
    taken = []
    for count in (1000, 2000):
        chat_id = save_long_chat(app, user, count, continues)
        with work(app) as steps:
            text = browser.get(f"/chats/{chat_id}/export.{kind}").text
        taken.append(len(steps))
        assert f"word {count - 1}" in text

    assert 1.5 < taken[1] / taken[0] < 2.5


def test_twice_the_chats_take_twice_the_work(app, user, browser):
    taken = []
    for more in (1000, 1000):
        with app.app_context(), write() as session:
            row = {"user_id": user.id, "title": "Short", "model": "m", "created_at": NOON}
            session.execute(insert(Chat), [row | {"id": uuid4()} for _ in range(more)])
        with work(app) as steps:
            chats = json.loads(browser.get("/account/data/chats.json").text)["chats"]
        taken.append(len(steps))

    assert len(chats) == 2000
    assert 1.5 < taken[1] / taken[0] < 2.5


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_twice_the_exchanges_take_twice_the_work(app, user, browser, kind):
    taken = []
    for more in (2000, 2000):
        save_usage(app, user, more)
        with work(app) as steps:
            text = browser.get(f"/usage/export.{kind}?from=2026-01-01&to=2026-01-03").text
        taken.append(len(steps))

    assert text.count("completed") == 4000
    assert 1.5 < taken[1] / taken[0] < 2.5


@pytest.mark.parametrize("path", ["/chats/{}/export.json", "/chats/{}/export.md", "/usage/export.csv?{}"])
def test_others_have_their_turn_while_much_is_exported(app, user, browser, path):
    chat_id = save_long_chat(app, user, 1000)
    save_usage(app, user, 1000)
    turns = []
    asked = "from=2026-01-01&to=2026-01-03" if "usage" in path else chat_id

    def others():
        while True:
            turns.append(1)
            gevent.sleep(0)

    other = gevent.spawn(others)
    assert browser.get(path.format(asked)).data
    other.kill()

    assert len(turns) >= 5
