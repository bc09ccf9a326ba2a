"""How many queries a page asks, whatever is in the database, and how long 2,000 chats take."""

from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import event, insert

from chatapp.chats.models import Chat, Message
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db
from tests.auth.browser import signed_in
from tests.conftest import make_user

HTMX = {"HX-Request": "true"}


@pytest.fixture
def ada(both_app):
    return make_user(both_app, "ada@example.org")


@contextmanager
def counted(app):
    """Collect the statements of the block, without the beginnings of transactions."""
    asked = []
    with app.app_context():
        engine = db.engine

    def note(_connection, _cursor, statement, *_rest):
        if not statement.startswith("BEGIN"):
            asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


def fill(app, person, chats, messages):
    """Put chats there, and into the newest of them messages. Return its id."""
    instant = now()
    rows = [
        {
            "id": uuid4(),
            "user_id": person.id,
            "title": f"Chat {number} about bread",
            "model": "scripted",
            "pinned": number % 500 == 7,
            "archived": number % 10 == 9,
            "updated_at": instant - timedelta(hours=number),
        }
        for number in range(chats)
    ]
    ids = [uuid4() for _ in range(messages)]
    said = [
        {
            "id": ids[place],
            "chat_id": rows[0]["id"],
            "parent_id": ids[place - 1] if place else None,
            "role": "assistant" if place % 2 else "user",
            "content": f"Line {place} about bread",
        }
        for place in range(messages)
    ]
    with app.app_context(), write() as session:
        session.execute(insert(Chat), rows)
        if said:
            session.execute(insert(Message), said)
        session.get(Chat, rows[0]["id"]).head_id = ids[-1] if ids else None
    return rows[0]["id"]


# The login with its user, the chats of the sidebar, the budget; a search reads what waits for the index, its texts in lots, the
# chats and what they show; a chat adds itself, its open turn, its messages and their versions.
BOUNDS = [("/", 5), ("/chats", 4), ("/chats?archived=1", 4), ("/chats?q=bread", 8), ("/chats?limit=2000", 4)]


@pytest.mark.parametrize(("path", "bound"), [*BOUNDS, ("/chats/{chat}", 8), ("/chats/{chat}/export.md", 8)])
def test_a_page_asks_as_much_of_many_chats_as_of_few(both_app, ada, path, bound):
    few = make_user(both_app, "few@example.org")
    asked = {}
    for person, chats, messages in ((few, 1, 2), (ada, 100, 50)):
        chat_id = fill(both_app, person, chats, messages)
        browser = signed_in(both_app, person.id)
        assert browser.get("/").status_code == 200
        with counted(both_app) as asked[person.email]:
            assert browser.get(path.format(chat=chat_id)).text

    assert len(asked["ada@example.org"]) <= bound, asked["ada@example.org"]
    assert len(asked["ada@example.org"]) <= len(asked["few@example.org"]) + 1


def test_the_list_alone_is_two_queries(both_app, ada):
    fill(both_app, ada, 100, 0)
    browser = signed_in(both_app, ada.id)
    browser.get("/")

    with counted(both_app) as asked:
        browser.get("/chats", headers=HTMX)

    assert len(asked) == 2, asked
