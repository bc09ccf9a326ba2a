"""What people and programs may send: sizes, shapes and characters, in every field that takes a text."""

import time

import pytest

from tests.auth.browser import PASSWORD, Browser, make_account, signed_in
from tests.faults.invariants import hold
from tests.streams import read, until

UNSTORABLE = ["a\ud800b", "a\0b"]
ODD = {
    "bidi": "\u202eevil\u202c \u2066x\u2069",
    "zero width": "a\u200bb\u200d\ufeffc",
    "zalgo": "Z\u0351\u036b\u0343a\u0329\u034cl\u034dgo",
    "separators": "a\u2028b\u2029c\x85d\x0be",
    "emoji": "👩‍👩‍👧‍👦🇩🇪",
    "blanks inside": "a\t\tb   c\n\n\n d",
}


@pytest.fixture
def chat(api):
    return api.new_chat()


@pytest.mark.parametrize(
    ("text", "status"),
    [("a" * 5000, 200), ("a" * 5001, 400), ("🙂" * 5000, 200), ("🙂" * 5001, 400)],
    ids=["5,000", "5,001", "5,000 emoji", "5,001 emoji"],
)
@pytest.mark.parametrize("form", ["send", "ask"])
def test_a_message_has_five_thousand_characters_whatever_their_size(api, chat, text, status, form):
    heard = getattr(api, form)(chat, text)

    assert (heard.status, heard.error.get("code")) == (status, None if status == 200 else "INVALID_MESSAGE")
    assert [message["content"] for message in api.messages(chat)[:1]] == [text] * (status == 200)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
@pytest.mark.parametrize("form", ["send", "ask"])
def test_odd_characters_are_kept_to_the_letter(api, chat, demo, text, form):
    demo.will_say(text)

    assert getattr(api, form)(chat, f"  \n{text}\n\t ").text == text
    assert [message["content"] for message in api.messages(chat)] == [text, text]


@pytest.mark.parametrize("text", UNSTORABLE, ids=["lone surrogate", "NUL"])
@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("POST", "/chat", "title"),
        ("POST", "/chat", "system_prompt"),
        ("POST", "/chat", "model"),
        ("PATCH", "/chat/{}", "title"),
        ("PATCH", "/chat/{}", "system_prompt"),
        ("POST", "/chat/{}/message", "message"),
        ("POST", "/tokens/estimate", "text"),
    ],
)
def test_no_field_of_the_api_takes_what_cannot_be_stored(api, chat, text, method, path, field):
    answer = api.call(method, path.format(chat), json={field: text})

    assert answer.status_code == 400
    assert answer.get_json()["code"] == ("INVALID_MESSAGE" if field == "message" else "INVALID_REQUEST")
    assert field in answer.get_json()["message"]
    assert (api.messages(chat), len(api.call("GET", "/chat").get_json()["chats"])) == ([], 1)


@pytest.mark.parametrize(
    ("path", "field", "others"),
    [
        ("/chats", "text", {}),
        ("/chats/{}/messages", "text", {}),
        ("/chats/{}", "title", {}),
        ("/chats/{}", "system_prompt", {}),
        ("/login", "email", {"password": PASSWORD}),
        ("/login", "password", {"email": "grace@example.org"}),
        ("/account/password", "current_password", {"password": PASSWORD}),
        ("/account/password", "password", {"current_password": PASSWORD}),
        ("/account/keys", "key_name", {}),
        ("/account/defaults", "system_prompt", {}),
        ("/account/data/deletion", "current_password", {}),
    ],
)
@pytest.mark.parametrize("text", ["a\0b", "%ED%A0%80", "%FF"], ids=["NUL", "surrogate", "no UTF-8"])
def test_no_form_fails_on_what_cannot_be_stored(app, api, user, chat, path, field, others, text):
    make_account(app)
    browser = Browser(app) if path == "/login" else signed_in(app, user.id)
    fields = {"csrf_token": browser.token(), **others}
    body = "&".join(f"{name}={value}" for name, value in {**fields, field: text.replace("\0", "%00")}.items())

    answer = browser.client.post(
        path.format(chat),
        data=body.replace("@", "%40"),
        content_type="application/x-www-form-urlencoded",
        headers={"Referer": "http://localhost/"},
    )

    assert answer.status_code < 500
    stored = [api.call("GET", f"/chat/{each['id']}").text for each in api.call("GET", "/chat").get_json()["chats"]]
    assert "\\u0000" not in str(stored)


@pytest.mark.parametrize("query", ["msg=%ED%A0%80", "msg=a%00b", "msg=%FF%FE", "key=%FF&msg=Hi"])
def test_the_get_form_takes_no_bytes_that_are_no_text(api, chat, query):
    heard = read(api.call("GET", f"/chat/{chat}/message?{query}", headers={"Accept": "text/event-stream"}))

    if heard.status == 200:
        # What is no UTF-8 stays as it was written: that is how the library reads an address.
        assert api.messages(chat)[0]["content"] == query.removeprefix("msg=")
    else:
        assert (heard.status, api.messages(chat)) == (400, [])


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"message":' * 50_000, b'{"message": "\xff"}', b"\0"])
def test_a_body_of_any_shape_is_refused_and_not_an_error(api, chat, body):
    headers = {"Content-Type": "application/json"}
    for method, path in [("POST", f"/chat/{chat}/message"), ("POST", "/chat"), ("PATCH", f"/chat/{chat}")]:
        assert api.call(method, path, data=body, headers=headers).status_code in (400, 413)
    assert api.messages(chat) == []


def test_a_page_that_was_open_over_night_still_sends(app, api, user, demo, monkeypatch, sqlite_url):
    """The token has no age of its own: it lives as long as the login."""
    browser = signed_in(app, user.id)
    token, chat = browser.token(), api.new_chat()
    later = time.time() + 20 * 3600
    monkeypatch.setattr(time, "time", lambda: later)

    sent = browser.client.post(
        f"/chats/{chat}/messages",
        data={"text": "Still here", "csrf_token": token},
        headers={"Referer": "http://localhost/"},
    )

    assert sent.status_code == 303
    until(lambda: api.messages(chat)[1]["status"] == "completed")
    assert api.messages(chat)[0]["content"] == "Still here"
    hold(sqlite_url)
