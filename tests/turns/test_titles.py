"""Titles by the model: reserved, charged once, and never in the way of the chat."""

import re
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from chatapp.budget import ledger
from chatapp.budget.models import LedgerEntry, UserUsage
from chatapp.chats.models import Chat
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import now, write
from chatapp.kernel.errors import ProviderRateLimited
from chatapp.kernel.extensions import db
from chatapp.turns import recovery, titles
from tests.auth.browser import signed_in
from tests.conftest import make_user
from tests.streams import Api, until

IS_TITLE = Exchange.purpose == "title"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def settings():
    return {"titles": "model"}


def ended(app):
    with app.app_context():
        return list(db.session.scalars(db.select(Exchange).where(IS_TITLE, Exchange.ended_at.is_not(None))))


def title(api, chat_id):
    return api.call("GET", f"/chat/{chat_id}").get_json()["title"]


def held(app):
    with app.app_context():
        return db.session.scalar(db.select(db.func.sum(UserUsage.reserved_tokens)))


def operations(app, turn_id):
    with app.app_context():
        entries = db.select(LedgerEntry.operation, LedgerEntry.delta).where(LedgerEntry.exchange_id == turn_id)
        return dict(db.session.execute(entries).all())


def test_the_model_names_a_chat_after_its_first_answer(both_app, both_api, demo):
    demo.will_say("Ten minutes.")
    demo.will_say('**Title: "Knea', 'ding bread"**\n\nand more')
    chat_id = both_api.new_chat()

    both_api.send(chat_id, "How long do I knead?")
    until(lambda: ended(both_app))
    both_api.send(chat_id, "And then?")

    assert title(both_api, chat_id) == "Kneading bread"
    assert "How long do I knead?" in demo.requests[1].messages[0].content
    assert demo.requests[1].max_output_tokens == titles.BOUNDS.longest
    assert len(demo.requests) == 3


def test_it_is_reserved_released_and_charged_once_beside_the_turn(both_app, both_api, demo):
    demo.will_say("Ten minutes.")
    demo.will_say("Kneading bread")

    spent = both_api.send(both_api.new_chat(), "How long?").final["tokens_used"]
    until(lambda: ended(both_app))

    (record,) = ended(both_app)
    found = operations(both_app, record.id)
    assert found == {
        "reserve": -record.reserved_tokens,
        "release": record.reserved_tokens,
        "charge": -record.charged_tokens,
    }
    assert record.charged_tokens > 10
    assert both_api.usage()["total_tokens_used"] == spent + record.charged_tokens
    assert held(both_app) == 0
    with both_app.app_context():
        assert ledger.verify() == []


def test_a_first_message_that_begins_with_code_names_its_chat_by_the_code():
    assert titles.first_line("```python\nx = 1\n```") == titles.first_line("x = 1") == "x = 1"
    assert titles.first_line("```") == "```"


def test_a_title_that_somebody_gave_stays(app, api, demo):
    hold = demo.hold()
    demo.will_say("Hello.")
    demo.will_say(hold, "The model's title")
    chat_id = api.new_chat()
    api.send(chat_id, "Hello")
    until(lambda: len(demo.requests) == 2)

    api.call("PATCH", f"/chat/{chat_id}", json={"title": "Mine"})
    hold.set()
    until(lambda: ended(app))

    assert title(api, chat_id) == "Mine"


def test_a_chat_that_was_named_from_the_start_is_not_named_again(app, api, demo):
    api.send(api.new_chat(title="Mine"), "Hello")
    api.send(other := api.new_chat(), "Other")
    until(lambda: ended(app))

    assert [str(record.chat_id) for record in ended(app)] == [other]


@pytest.mark.parametrize("error", [ProviderRateLimited(), ValueError("odd")])
def test_a_model_that_fails_leaves_the_first_line_and_holds_nothing(app, api, demo, error):
    demo.will_say("Hello.")
    demo.will_raise(error)
    chat_id = api.new_chat()

    api.send(chat_id, "First line\nand more")
    until(lambda: ended(app))

    assert title(api, chat_id) == "First line"
    assert held(app) == 0
    if isinstance(error, ProviderRateLimited):
        assert ended(app)[0].charged_tokens == 0


def test_the_chat_goes_on_while_the_model_thinks_of_a_title(app, api, demo):
    demo.will_say("Hello.")
    demo.will_say(demo.hold(), "Late")
    demo.will_say("Second.")
    chat_id = api.new_chat()
    api.send(chat_id, "Hello")
    until(lambda: len(demo.requests) == 2)

    assert api.send(chat_id, "Again").text == "Second."


def test_without_budget_for_it_there_is_no_title(app, demo):
    demo.will_say("word " * 50)
    poor = Api(app, make_user(app, "poor@example.org", limit=100))
    chat_id = poor.new_chat()

    assert poor.send(chat_id, "Hello").final["done"]
    with app.app_context():
        until(lambda: not app.extensions["live_turns"]._workers)
        assert db.session.scalar(db.select(db.func.count(Exchange.id)).where(IS_TITLE)) == 0
    assert title(poor, chat_id) == "Hello"


def test_what_a_dead_process_left_is_settled(both_app, both_api, demo):
    demo.will_say("Hello.")
    demo.will_say(demo.hold(), "Never")
    both_api.send(both_api.new_chat(), "Hello")
    until(lambda: len(demo.requests) == 2)
    both_app.extensions["live_turns"].close()
    with both_app.app_context(), write() as session:
        session.scalar(db.select(Exchange).where(IS_TITLE)).heartbeat_at = now() - timedelta(minutes=5)

    with both_app.app_context():
        assert [recovery.settle_orphans(set()) for _ in range(2)] == [1, 0]

    (record,) = ended(both_app)
    held_for_texts = record.reserved_tokens - record.max_answer_tokens
    assert held_for_texts * 0.9 < record.charged_tokens <= held_for_texts
    assert held(both_app) == 0
    with both_app.app_context():
        assert ledger.verify() == []


def test_the_page_asks_until_the_title_is_there(app, api, user, demo):
    hold = demo.hold()
    demo.will_say("Hello.")
    demo.will_say(hold, "A <b>name</b>")
    browser = signed_in(app, user.id)
    address = browser.post("/chats", text="Hello", key=str(uuid4())).headers["Location"]
    stream = re.search(r"/turns/[-0-9a-f]{36}/stream", browser.get(address).text)[0]
    ask = re.search(r'hx-get="(/chats/[^"]+/naming[^"]*)"', browser.get(stream).text)[1]
    until(lambda: len(demo.requests) == 2)

    assert "tries=2" in browser.get(ask, headers=HTMX).text
    hold.set()
    until(lambda: ended(app))

    assert (
        '<h1 id="title" hx-swap-oob="true"><bdi>A &lt;b&gt;name&lt;/b&gt;</bdi></h1>'
        in browser.get(ask, headers=HTMX).text
    )
    assert "1 title" in browser.get("/usage").text


def test_a_stranger_does_not_hear_of_a_title(app, api, other_user):
    chat_id = api.new_chat()

    assert signed_in(app, other_user.id).get(f"/chats/{chat_id}/naming").status_code == 404


def test_a_chat_that_goes_meanwhile_leaves_its_cost_and_no_error(app, api, demo, caplog):
    hold = demo.hold()
    demo.will_say("Hello.")
    demo.will_say(hold, "Late")
    chat_id = api.new_chat()
    api.send(chat_id, "Hello")
    until(lambda: len(demo.requests) == 2)
    with app.app_context(), write() as session:
        session.execute(db.delete(Chat).where(Chat.id == UUID(chat_id)))

    hold.set()
    until(lambda: ended(app))

    assert str(ended(app)[0].chat_id) == chat_id
    assert held(app) == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("  # A **good** one  ", "A **good** one"),
        ("“Quoted.”", "Quoted"),
        ("Titel: Brot", "Brot"),
        ("\n\n**Bold**\nmore", "Bold"),
        ("a\u202eb\0c\u200b\td", "ab\ufffdc d"),
        ("x" * 80, "x" * 59 + "…"),
        (" \n ** \n", ""),
        ("", ""),
    ],
)
def test_a_title_is_one_short_line(said, kept):
    assert titles.clean(said) == kept
