"""What a model is asked for fits its window, and nobody is charged for what it was never asked."""

import json
from uuid import UUID

import pytest
from sqlalchemy import event

from chatapp.chats.models import Chat, Message
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from chatapp.providers.base import ModelInfo
from chatapp.turns import context
from tests.auth.browser import signed_in
from tests.streams import until
from tests.turns.test_turns import settled_once

SMALL = {"shares_window": True, "max_input_tokens": 4096, "max_output_tokens": 4096}


def fill(app, chat, exchanges, chars):
    """Give a chat earlier exchanges, each with a question and an answer of so many characters."""
    with app.app_context(), write() as session:
        head = None
        for number in range(exchanges):
            for role in ("user", "assistant"):
                text = f"{number}{role} " + "word " * (chars // 5)
                session.add(message := Message(chat_id=UUID(chat), parent_id=head, role=role, content=text))
                session.flush()
                head = message.id
        session.get(Chat, UUID(chat)).head_id = head


@pytest.fixture
def small(app, demo, monkeypatch):
    """The scripted model, with a window that question and answer share."""
    info = demo.models()[0]
    shrunk = ModelInfo(info.id, info.label, **SMALL)
    monkeypatch.setattr(demo, "models", lambda: (shrunk,))
    return shrunk


def test_enormous_imported_messages_are_neither_sent_nor_read(both_app, both_api, demo):
    chat, read = both_api.new_chat(), []
    fill(both_app, chat, 5, 400_000)
    with both_app.app_context():
        event.listen(Message, "load", load := lambda message, _: read.append(len(message.content)))

    both_api.send(chat, "hi")

    event.remove(Message, "load", load)
    assert [message.content for message in demo.requests[-1].messages] == ["hi"]
    assert max(read, default=0) < 400_000


@pytest.mark.parametrize("settings", [{"history_tokens": 1000}])
def test_history_is_bounded_whatever_the_model_takes(app, api, demo):
    chat = api.new_chat()
    fill(app, chat, 5, 1200)

    api.send(chat, "And now?")

    shown = [message.content.split()[0] for message in demo.requests[-1].messages]
    assert shown == ["4user", "4assistant", "And"]


def test_the_oldest_exchanges_are_left_out_so_that_the_answer_has_room(app, api, demo, small):
    chat = api.new_chat()
    fill(app, chat, 5, 2000)

    api.send(chat, "And now?")

    request = demo.requests[-1]
    shown = [message.content.split()[0] for message in request.messages]
    assert shown == ["2user", "2assistant", "3user", "3assistant", "4user", "4assistant", "And"]
    assert sum(len(message.content) for message in request.messages) / 5 + request.max_output_tokens <= 4096


def test_answering_again_asks_for_no_more_than_sending(app, api, demo, small, user):
    chat, browser = api.new_chat(), signed_in(app, user.id)
    fill(app, chat, 5, 2000)
    api.send(chat, "And now?")
    answer = api.messages(chat)[-1]["id"]
    settled_once(app)

    browser.post(f"/messages/{answer}/versions", key="again")
    until(lambda: len(demo.requests) == 2)

    first, again = demo.requests
    assert (again.messages, again.max_output_tokens) == (first.messages, first.max_output_tokens)


def test_a_question_longer_than_the_window_is_refused_before_anything_is_reserved(app, api, user, small):
    chat, before = api.new_chat(), api.call("GET", "/user/usage").get_json()

    refused = api.call("POST", f"/chat/{chat}/message", json={"message": "猫 犬" * 1600})

    assert refused.status_code == 400
    assert "too long for this model" in json.dumps(refused.get_json())
    assert (api.call("GET", "/user/usage").get_json(), api.messages(chat)) == (before, [])


@pytest.mark.parametrize("metering", ["exchange", "provider"])
def test_a_fault_of_ours_before_the_model_said_anything_costs_nothing(app, api, demo, metering):
    demo.will_raise(RuntimeError("a bug"))

    heard = api.send(api.new_chat(), "Tell me")

    assert (heard.final["code"], heard.final["tokens_used"]) == ("INTERNAL_ERROR", 0)
    settled_once(app)


def test_a_model_that_went_away_before_it_was_asked_costs_nothing(app, api, demo, monkeypatch):
    from chatapp.kernel.errors import InvalidRequest
    from chatapp.providers.registry import Providers

    def gone(self, model_id):
        raise InvalidRequest("model: this model is not available")

    chat = api.new_chat()
    monkeypatch.setattr(Providers, "for_model", gone)

    assert api.send(chat, "Tell me").final["tokens_used"] == 0
    settled_once(app)


def test_a_limit_of_an_odd_number_of_messages_keeps_whole_exchanges(app, api):
    chat = api.new_chat()
    fill(app, chat, 3, 20)
    with app.app_context():
        head = db.session.get(Chat, UUID(chat)).head_id
        assert [message.role for message in context.history_from(head)] == ["user", "assistant"] * 3
