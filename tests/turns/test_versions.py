"""Answers given again, questions in other words, and the rest of an answer: turns that begin inside the tree."""

import re
from dataclasses import replace
from uuid import UUID

import gevent
import pytest

from chatapp.budget import ledger
from chatapp.chats import housekeeping
from chatapp.chats.models import Chat, Message
from chatapp.conversation import page as conversation_page
from chatapp.kernel.database import write
from chatapp.kernel.errors import ProviderInterrupted, TurnConflict
from chatapp.kernel.extensions import db
from chatapp.turns import lifecycle
from chatapp.turns.models import Turn
from tests.auth.browser import signed_in
from tests.conftest import make_user
from tests.streams import until
from tests.turns.test_turns import settled_once

HTMX = {"HX-Request": "true"}


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


@pytest.fixture
def chat(api):
    return api.new_chat()


def said(api, chat):
    return [message["content"] for message in api.messages(chat)]


def answered(app):
    """Wait until nothing is being answered."""

    def is_quiet():
        with app.app_context():
            return not db.session.scalar(db.select(db.func.count(Turn.id)).where(Turn.is_open))

    until(is_quiet)


def press(app, browser, message, what, **fields):
    response = browser.post(f"/messages/{message['id']}/{what}", **fields)
    answered(app)
    return response


def turn_count(app):
    with app.app_context():
        return db.session.scalar(db.select(db.func.count(Turn.id)))


def test_an_answer_is_given_again_beside_the_old_one(app, browser, api, demo, chat):
    demo.will_say("First.")
    demo.will_say("Second.")
    api.send(chat, "Hi")
    question, answer = api.messages(chat)

    response = press(app, browser, answer, "versions")

    assert response.status_code == 303
    assert said(api, chat) == ["Hi", "Second."]
    assert [message.content for message in demo.requests[-1].messages] == ["Hi"]
    assert api.messages(chat)[0]["id"] == question["id"]
    assert "2/2" in browser.get(f"/chats/{chat}").text
    settled_once(app)


def test_each_version_is_charged_as_an_exchange_of_its_own(app, browser, api, demo, chat):
    api.send(chat, "Hi")
    answer = api.messages(chat)[1]
    before = api.usage()["total_tokens_used"]

    press(app, browser, answer, "versions")

    assert api.messages(chat)[1]["tokens_consumed"] > 10
    assert api.usage()["total_tokens_used"] == before + api.messages(chat)[1]["tokens_consumed"]


def test_a_version_that_was_chosen_is_the_one_that_goes_on(app, browser, api, demo, chat):
    demo.will_say("First.")
    demo.will_say("Second.")
    api.send(chat, "Hi")
    first = api.messages(chat)[1]
    press(app, browser, first, "versions")

    press(app, browser, first, "selection")
    api.send(chat, "And now?")

    assert said(api, chat) == ["Hi", "First.", "And now?", "Hello."]
    assert [message.content for message in demo.requests[-1].messages] == ["Hi", "First.", "And now?"]


def test_a_branch_that_is_chosen_again_is_shown_to_its_end(app, browser, api, demo, chat):
    api.send(chat, "One")
    first = api.messages(chat)[1]
    api.send(chat, "Two")
    press(app, browser, first, "versions")
    assert said(api, chat) == ["One", "Hello."]

    press(app, browser, first, "selection")

    assert said(api, chat) == ["One", "Hello.", "Two", "Hello."]


def test_a_question_in_other_words_begins_a_branch(app, browser, api, demo, chat):
    api.send(chat, "One")
    api.send(chat, "Two")
    second = api.messages(chat)[2]

    press(app, browser, second, "versions", text="Two, please")

    assert said(api, chat) == ["One", "Hello.", "Two, please", "Hello."]
    assert [message.content for message in demo.requests[-1].messages] == ["One", "Hello.", "Two, please"]
    page = browser.get(f"/chats/{chat}").text
    assert page.count("2/2") == 1
    press(app, browser, second, "selection")
    assert said(api, chat)[2] == "Two"


def test_the_first_question_has_versions_too(app, browser, api, demo, chat):
    api.send(chat, "One")

    press(app, browser, api.messages(chat)[0], "versions", text="Uno")

    assert said(api, chat) == ["Uno", "Hello."]
    assert "2/2" in browser.get(f"/chats/{chat}").text


@pytest.mark.parametrize("text", ["", "  ", "x" * 5001])
def test_words_that_cannot_be_sent_are_refused_and_change_nothing(app, browser, api, demo, chat, text):
    api.send(chat, "One")

    response = press(app, browser, api.messages(chat)[0], "versions", text=text)

    assert response.status_code == 400
    assert "between 1 and 5000 characters" in response.text
    assert said(api, chat) == ["One", "Hello."]


@pytest.mark.parametrize("ending", ["stopped", "interrupted", "length"])
def test_an_answer_that_ended_early_goes_on(app, browser, api, demo, chat, ending):
    if ending == "length":
        demo.will_say("Once upon", finish_reason="length")
        api.send(chat, "Tell me")
    elif ending == "interrupted":
        demo.will_raise(ProviderInterrupted(), "Once upon")
        api.send(chat, "Tell me")
    else:
        demo.will_say("Once upon", demo.hold())
        reading = gevent.spawn(api.send, chat, "Tell me")
        until(lambda: api.messages(chat) and api.messages(chat)[-1]["content"])
        api.call("POST", f"/chat/{chat}/stop")
        reading.get(timeout=30)
    cut = api.messages(chat)[1]
    assert "Continue" in browser.get(f"/chats/{chat}").text
    demo.will_say(" a time.")

    press(app, browser, cut, "continuation")

    asked = demo.requests[-1].messages
    assert [message.role for message in asked] == ["user", "assistant", "user"]
    assert [message.content for message in asked[:2]] == ["Tell me", "Once upon"]
    assert said(api, chat)[3] == " a time."
    assert api.messages(chat)[3]["tokens_consumed"] > 10
    page = browser.get(f"/chats/{chat}").text
    assert "Continued" in page
    assert asked[2].content not in page
    settled_once(app)


def test_an_answer_in_two_pieces_is_shown_and_copied_as_one(browser, app, api, demo, chat):
    demo.will_say("Once upon", finish_reason="length")
    api.send(chat, "Tell me")
    demo.will_say(" a time.")

    press(app, browser, api.messages(chat)[1], "continuation")

    page = browser.get(f"/chats/{chat}").text
    assert "The answer reached the length limit." not in page
    assert page.count("Copy the answer") == page.count("Regenerate") // 2 == 1
    assert browser.get(f"/messages/{api.messages(chat)[3]['id']}.md").text == "Once upon a time."


def test_an_answer_that_the_budget_cut_short_goes_on_only_with_a_budget(app, browser, api, user, demo, chat):
    demo.will_say("Once upon", finish_reason="length")
    api.send(chat, "Tell me")
    left = api.usage()["total_tokens_used"] + 10

    with app.app_context(), write():
        ledger.set_limit(user.id, left, "test")

    page = browser.get(f"/chats/{chat}").text
    assert "The answer reached the length limit." in page
    assert "Continue</button>" not in page


def test_a_whole_answer_has_no_rest(app, browser, api, demo, chat):
    api.send(chat, "Hi")

    response = press(app, browser, api.messages(chat)[1], "continuation")

    assert response.status_code == 400
    assert turn_count(app) == 1


def test_code_that_was_cut_off_goes_on_as_code(app, browser, api, demo, chat):
    demo.will_say("```python\nx = 1\n", finish_reason="length")
    api.send(chat, "Code")
    demo.will_say("y = 2\n```\n\nDone.")

    press(app, browser, api.messages(chat)[1], "continuation")

    rest = browser.get(f"/chats/{chat}").text.split("Continued")[1]
    assert '<p dir="auto">y' not in rest
    assert rest.index("<figure") < rest.index("Done.")


@pytest.mark.parametrize("what", ["versions", "selection", "continuation"])
def test_nothing_begins_while_the_chat_is_answering(app, browser, api, demo, chat, what):
    demo.will_say("Once upon", finish_reason="length")
    api.send(chat, "One")
    answer = api.messages(chat)[1]
    demo.will_say("a", demo.hold())
    reading = gevent.spawn(api.send, chat, "Two")
    until(lambda: len(demo.requests) == 2)

    response = browser.post(f"/messages/{answer['id']}/{what}")

    assert response.status_code == 409
    demo.release()
    assert reading.get(timeout=30).final["done"]
    assert turn_count(app) == 2


@pytest.mark.parametrize("what", ["versions", "continuation"])
def test_the_same_form_sent_twice_is_one_turn(app, browser, api, demo, chat, what):
    demo.will_say("Once upon", finish_reason="length")
    api.send(chat, "Hi")
    answer = api.messages(chat)[1]

    for _ in range(2):
        assert press(app, browser, answer, what, key="k").status_code == 303

    assert turn_count(app) == 2
    settled_once(app)


def test_an_old_form_with_other_words_is_another_turn(app, browser, api, demo, chat):
    api.send(chat, "One")
    question = api.messages(chat)[0]

    for text in ("Uno", "Eins"):
        press(app, browser, question, "versions", key="k", text=text)

    assert said(api, chat)[0] == "Eins"
    assert turn_count(app) == 3


def test_without_budget_no_version_begins(app, demo):
    from tests.streams import Api

    person = make_user(app, "poor@example.org", limit=130)
    api, browser = Api(app, person), signed_in(app, person.id)
    chat = api.new_chat()
    demo.will_say("word " * 60)
    api.send(chat, "Hi")

    response = press(app, browser, api.messages(chat)[1], "versions")

    assert response.status_code == 403
    assert turn_count(app) == 1
    settled_once(app)


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("post", "/versions"),
        ("post", "/selection"),
        ("post", "/continuation"),
        ("get", "/edit"),
        ("get", ""),
        ("get", ".md"),
    ],
)
def test_a_strangers_message_does_not_exist(app, browser, api, demo, chat, other_user, method, what):
    api.send(chat, "Hi")
    message = api.messages(chat)[0]
    stranger = signed_in(app, other_user.id)

    assert getattr(stranger, method)(f"/messages/{message['id']}{what}").status_code == 404
    assert turn_count(app) == 1


def test_an_edit_is_a_page_and_a_fragment(browser, api, demo, chat):
    api.send(chat, "One <two>")
    question = api.messages(chat)[0]

    page, piece = (browser.get(f"/messages/{question['id']}/edit", headers=headers) for headers in ({}, HTMX))

    assert "<html" in page.text
    assert "<html" not in piece.text
    assert "One &lt;two&gt;</textarea>" in page.text
    assert "One &lt;two&gt;</textarea>" in piece.text


def test_a_fragment_brings_the_whole_conversation_and_its_stream(app, browser, api, demo, chat):
    api.send(chat, "One")
    demo.will_say("a", demo.hold())

    piece = browser.post(f"/messages/{api.messages(chat)[1]['id']}/versions", headers=HTMX).text

    assert len(re.findall(r'class="turn"', piece)) == 1
    assert "hx-sse:connect" in piece
    assert 'id="stop"' in piece
    demo.release()


def test_a_version_far_up_is_shown_with_what_is_below_it(app, browser, api, demo, chat, monkeypatch):
    monkeypatch.setattr(conversation_page, "SHOWN_MESSAGES", 2)
    demo.will_say("The old one.")
    api.send(chat, "One")
    first = api.messages(chat)[1]
    for text in ("Two", "Three"):
        api.send(chat, text)
    press(app, browser, first, "versions")

    piece = browser.post(f"/messages/{first['id']}/selection", headers=HTMX).text

    assert "The old one." in piece
    assert "Three" in piece


def test_a_deleted_chats_tree_is_purged_whole(app, browser, api, demo, chat, monkeypatch):
    from datetime import timedelta

    api.send(chat, "One")
    press(app, browser, api.messages(chat)[1], "versions")
    api.call("DELETE", f"/chat/{chat}")
    monkeypatch.setattr(housekeeping, "PURGE_AFTER", timedelta(0))

    with app.app_context():
        assert housekeeping.purge_deleted_chats() == 1
        assert db.session.scalar(db.select(db.func.count(Message.id))) == 0
        assert db.session.scalar(db.select(db.func.count(Chat.id))) == 0


def test_a_branch_is_not_chosen_at_the_moment_in_which_a_turn_begins(app, browser, api, demo, chat, monkeypatch):
    api.send(chat, "One")
    first = api.messages(chat)[1]["id"]
    press(app, browser, api.messages(chat)[1], "versions")
    answered(app)
    held = demo.hold()
    demo.will_say("Three", held)
    real = lifecycle.last_below

    def begin_meanwhile(message_id):
        found = real(message_id)
        monkeypatch.setattr(lifecycle, "last_below", real)
        api.send(chat, "Two", pieces=1)
        return found

    monkeypatch.setattr(lifecycle, "last_below", begin_meanwhile)
    with app.app_context(), pytest.raises(TurnConflict):
        lifecycle.choose(db.session.get(Chat, UUID(chat)), db.session.get(Message, UUID(first)))

    assert said(api, chat)[-1] == "Three"
    held.set()
    answered(app)


def test_a_send_that_is_refused_leaves_the_chats_model_as_it_was(app, browser, api, demo, chat):
    demo._models = (*demo.models(), replace(demo.models()[0], id="other"))

    refused = browser.post(f"/chats/{chat}/messages", headers=HTMX, text=" ", model="other")
    model_then = api.call("GET", f"/chat/{chat}").get_json()["model"]
    browser.post(f"/chats/{chat}/messages", headers=HTMX, text="Hi", model="other")

    assert refused.status_code in (400, 422)
    assert (model_then, api.call("GET", f"/chat/{chat}").get_json()["model"]) == ("scripted", "other")
    answered(app)
