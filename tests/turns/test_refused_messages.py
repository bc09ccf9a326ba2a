"""A message that is refused and was sent without a script comes back in its box, with the reason beside it."""

from html import escape

import pytest

from chatapp.auth.models import LoginSession
from tests.auth.browser import error_of, signed_in
from tests.auth.test_auth_sessions import fails
from tests.conftest import make_user

LONG = "<b>" + "x" * 5001


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def box(page):
    return page.split("<textarea", 1)[1].split(">\n", 1)[1].split("</textarea>")[0]


@pytest.mark.parametrize("path", ["/chats", "/chats/{chat}/messages"])
def test_a_message_that_is_too_long(browser, api, path):
    page = browser.post(path.format(chat=api.new_chat()), text=LONG, key="k")

    assert page.status_code == 400
    assert box(page.text) == escape(LONG)
    assert "between 1 and 5000" in error_of(page.text, "text")


def test_a_message_without_budget_keeps_its_persona_too(app, demo):
    browser = signed_in(app, make_user(app, "poor@example.org", limit=20).id)

    page = browser.post("/chats", text="Why is that?", key="k", persona="critic")

    assert (page.status_code, box(page.text)) == (403, "Why is that?")
    assert "token budget" in error_of(page.text, "text")
    assert '<option value="critic" selected' in page.text


def test_a_message_to_a_chat_that_is_answering(browser, api, demo):
    hold = demo.hold()
    demo.will_say("As far as this", hold)
    chat = api.new_chat()
    browser.post(f"/chats/{chat}/messages", text="One", key="1")

    page = browser.post(f"/chats/{chat}/messages", text="Two", key="2")

    assert (page.status_code, box(page.text)) == (409, "Two")
    assert "already answering" in error_of(page.text, "text")
    hold.set()


@pytest.mark.parametrize("settings", [{"rate_limits": True, "sends_per_minute": 1}])
def test_a_message_too_many(browser, api):
    browser.post("/chats", text="One", key="1")

    page = browser.post("/chats", text="Two", key="2")

    assert (page.status_code, box(page.text)) == (429, "Two")
    assert page.headers["Retry-After"] == "60"


def test_an_edit_that_is_too_long(app, browser, api):
    chat = api.new_chat()
    api.send(chat, "One")
    question = api.messages(chat)[0]["id"]

    page = browser.post(f"/messages/{question}/versions", text=LONG)

    assert (page.status_code, box(page.text)) == (400, escape(LONG))
    assert "between 1 and 5000" in error_of(page.text, "text")


def test_of_a_chat_that_is_gone_there_is_no_box(app, browser, api):
    chat = api.new_chat()
    api.call("DELETE", f"/chat/{chat}")

    page = browser.post(f"/chats/{chat}/messages", text="One", key="1")

    assert page.status_code == 404
    assert "<textarea" not in page.text


def test_a_script_gets_the_reason_alone(browser, api):
    answer = browser.post("/chats", text=LONG, key="k", headers={"HX-Request": "true"})

    assert (answer.status_code, "<textarea" in answer.text) == (400, False)
    assert "between 1 and 5000" in answer.text


@pytest.mark.parametrize("settings", [{"rate_limits": True}], ids=["limited"])
@pytest.mark.parametrize("is_ours", [True, False])
def test_a_message_that_the_database_does_not_take_stands_on_the_page_that_says_so(browser, monkeypatch, is_ours):
    """Another site's does not: it would stand there beside our token."""
    fields = {"text": "Not <lost>", "key": "k", "csrf_token": browser.token() if is_ours else "theirs"}
    monkeypatch.setattr(LoginSession, "by_token", fails)

    answer = browser.client.post("/chats", data=fields, headers={"Referer": "http://localhost/"})

    assert answer.status_code == 503
    assert ("Not &lt;lost&gt;</textarea>" in answer.text) == is_ours
    assert ('name="key" value="k"' in answer.text) == is_ours
