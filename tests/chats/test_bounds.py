"""However much a person has: a page, a list and a removal take only some of it at a time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, insert, text

from chatapp.chats import housekeeping, queries
from chatapp.chats.models import Chat, Message
from chatapp.conversation import views
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db
from tests.auth.browser import signed_in

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def save_chat(app, user, count, *, content="word", continues=False, status="completed", deleted_at=None):
    """Save a chat of one branch; return its id and those of its messages, the first one first."""
    chat_id, ids = uuid4(), [uuid4() for _ in range(count)]
    rows = [
        {
            "id": own,
            "chat_id": chat_id,
            "parent_id": above,
            "role": ("user", "assistant")[number % 2],
            "content": f"{content} {number}",
            "status": status if number % 2 else "completed",
            "continues": continues and number % 2 == 0 and number > 0,
            "created_at": NOON + timedelta(seconds=number),
        }
        for number, (own, above) in enumerate(zip(ids, [None, *ids], strict=False))
    ]
    with app.app_context(), write() as session:
        session.add(Chat(id=chat_id, user_id=user.id, title="Long", model="m", head_id=ids[-1], deleted_at=deleted_at))
        session.flush()
        session.execute(insert(Message), rows)
    return chat_id, ids


class Statements:
    """The statements that the application makes while it is listened to."""

    def __init__(self, app):
        with app.app_context():
            self._engine = db.engine
        self.found = []

    def __enter__(self):
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self.found

    def __exit__(self, *_):
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, _connection, _cursor, statement, *_rest):
        self.found.append(statement)


def test_the_api_gives_a_long_chat_in_pages_from_its_end(app, api, user):
    chat_id, ids = save_chat(app, user, 450)

    pages, cursor = [], None
    while cursor or not pages:
        page = api.call("GET", f"/chat/{chat_id}?limit=200" + (f"&cursor={cursor}" if cursor else "")).get_json()
        pages.append([message["id"] for message in page["messages"]])
        cursor = page["next_cursor"]

    assert [len(page) for page in pages] == [200, 200, 50]
    assert [id for page in reversed(pages) for id in page] == [str(id) for id in ids]


def test_a_page_of_long_messages_has_fewer_of_them(app, api, user):
    chat_id, _ids = save_chat(app, user, 60, content="x" * 100_000)

    page = api.call("GET", f"/chat/{chat_id}").get_json()

    assert len(page["messages"]) == 20
    assert page["next_cursor"]


@pytest.mark.parametrize("query", ["cursor=nonsense", "limit=201", "limit=0"])
def test_a_page_that_is_none_is_refused_by_name(app, api, user, query):
    chat_id, _ids = save_chat(app, user, 2)

    refused = api.call("GET", f"/chat/{chat_id}?{query}")

    assert refused.status_code == 400
    assert query.split("=")[0] in refused.get_json()["message"]


def test_an_answer_of_many_pieces_is_read_in_few_statements(app, user):
    _chat_id, ids = save_chat(app, user, 40, content="`", continues=True)
    with app.app_context():
        message, question = db.session.get(Message, ids[-1]), db.session.get(Message, ids[-2])
        with Statements(app) as found:
            whole, opening = queries.whole_text(message), queries.opening_of(question)

    assert (whole[:6], whole[-4:]) == ("` 1` 3", "` 39")
    assert opening == ""
    assert len(found) < 12


def test_a_page_of_answers_that_ended_early_asks_for_the_budget_once(app, user):
    chat_id, ids = save_chat(app, user, 60, status="stopped")

    with Statements(app) as found:
        page = signed_in(app, user.id).get(f"/chats/{chat_id}?before={ids[40]}", headers={"HX-Request": "true"})

    assert page.status_code == 200
    assert sum("FROM user_usage" in statement for statement in found) <= 1


def test_a_long_chat_that_was_deleted_is_removed_a_few_messages_at_a_time(app, user):
    chat_id, _ids = save_chat(app, user, 1000, deleted_at=now() - timedelta(days=1))
    with app.app_context(), Statements(app) as found:
        assert housekeeping.purge_deleted_chats() == 1
        left = db.session.scalar(db.select(db.func.count()).select_from(Message).where(Message.chat_id == chat_id))

    assert left == 0
    assert sum(statement.startswith("DELETE FROM messages") for statement in found) >= 5


LOOKED_FOR = {
    "a deleted message's turns": "SELECT id FROM turns WHERE question_id = 'x'",
    "a chat's title": "SELECT id FROM exchanges WHERE chat_id = 'x' AND purpose = 'title'",
    "deleted chats": "SELECT id FROM chats WHERE deleted_at < '2026-01-01'",
    "deleted users": "SELECT id FROM users WHERE deleted_at < '2026-01-01'",
    "a user's open answers": "SELECT count(*) FROM turns WHERE user_id = 'x' AND is_open = 1",
    "a page of an export": (
        "SELECT id FROM messages WHERE chat_id = 'x' AND (created_at, id) > ('2026', 'x') ORDER BY created_at, id LIMIT 50"
    ),
}


@pytest.mark.parametrize("what", LOOKED_FOR)
def test_what_is_looked_for_again_and_again_has_an_index(app, what):
    with app.app_context(), db.engine.connect() as connection:
        plan = [row[-1] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {LOOKED_FOR[what]}"))]

    assert not [step for step in plan if step.startswith("SCAN") or "TEMP B-TREE" in step], plan


def test_a_strangers_deleted_chat_is_not_taken_back(app, user, other_user):
    chat_id, _ids = save_chat(app, other_user, 2, deleted_at=now())

    assert signed_in(app, user.id).post(f"/chats/{chat_id}/restoration").status_code == 404
    with app.app_context():
        assert db.session.get(Chat, UUID(str(chat_id))).deleted_at is not None


def test_a_chat_whose_first_message_meets_a_fault_is_taken_back(app, user, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("chatapp.turns.lifecycle.start", fail)
    app.testing = False

    assert signed_in(app, user.id).post("/chats", text="Hi").status_code == 500
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count(Chat.id))) == 0


def test_a_chat_that_another_send_is_filling_is_not_taken_back(app, user):
    chat_id, _ids = save_chat(app, user, 2)
    with app.app_context():
        with write() as session:
            session.execute(db.update(Chat).where(Chat.id == chat_id).values(head_id=None))
        views._forget_empty(chat_id)

        assert db.session.get(Chat, chat_id) is not None
