"""A fork is a new chat with the conversation up to one answer; nothing of it is charged again."""

import pytest

from chatapp.budget.models import UserUsage
from chatapp.chats.models import Chat
from chatapp.kernel.extensions import db
from tests.auth.browser import signed_in


@pytest.fixture
def chat(api, demo):
    """A chat of two questions."""
    chat_id = api.new_chat(title="Bread", system_prompt="Be brief.")
    for text in ("How long do I knead it?", "And then?"):
        demo.will_say(f"About “{text}”")
        api.send(chat_id, text)
    return chat_id


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def answers(api, chat):
    return [message for message in api.call("GET", f"/chat/{chat}").json["messages"] if message["role"] == "assistant"]


def forked(browser, answer):
    return browser.post(f"/messages/{answer['id']}/fork").headers["Location"].rpartition("/")[2]


def test_a_fork_holds_the_conversation_up_to_that_answer(api, browser, chat):
    new = api.call("GET", f"/chat/{forked(browser, answers(api, chat)[0])}").json

    assert [message["content"] for message in new["messages"]] == [
        "How long do I knead it?",
        "About “How long do I knead it?”",
    ]
    assert (new["title"], new["system_prompt"]) == ("Bread (fork)", "Be brief.")


def test_the_two_chats_go_their_own_ways(api, browser, chat, demo):
    new = forked(browser, answers(api, chat)[0])

    demo.will_say("Bake it.")
    api.send(new, "What next?")

    assert len(answers(api, new)) == 2
    assert answers(api, new)[1]["content"] == "Bake it."
    assert [each["content"] for each in answers(api, chat)][1] == "About “And then?”"
    assert demo.requests[-1].messages[0].content == "How long do I knead it?"


def test_a_fork_costs_nothing_and_its_copies_have_no_bill(app, api, user, browser, chat):
    with app.app_context():
        before = db.session.get_one(UserUsage, user.id).total_tokens_used

    new = forked(browser, answers(api, chat)[1])

    with app.app_context():
        assert db.session.get_one(UserUsage, user.id).total_tokens_used == before
    assert [each["tokens_consumed"] for each in answers(api, new)] == [0, 0]


def test_an_answer_that_is_being_written_is_not_forked(app, api, browser, chat, demo):
    demo.will_say("Some", demo.hold())
    browser.post(f"/chats/{chat}/messages", text="More?")
    with app.app_context():
        head = db.session.scalars(db.select(Chat.head_id)).one()

    assert browser.post(f"/messages/{head}/fork").status_code == 409


def test_a_question_is_no_place_to_fork(api, browser, chat):
    question = api.call("GET", f"/chat/{chat}").json["messages"][0]

    assert browser.post(f"/messages/{question['id']}/fork").status_code == 404
