"""GET …/message: a send that an EventSource can make, and that it may repeat by itself."""

import uuid

import gevent
import pytest

from tests.streams import Api, read

SCRIPT = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors"}
NOBODYS = uuid.UUID(int=7)
STREAM = {"Accept": "text/event-stream"}


def sign_in(client, app, user):
    """Put a login's cookie into a test client, as a sign-in leaves it."""
    from chatapp.auth.models import LoginSession, User
    from chatapp.auth.sessions import TOKEN
    from chatapp.kernel.database import write
    from chatapp.kernel.extensions import db

    with app.app_context(), write():
        token = LoginSession.begin(db.session.get(User, user.id))
    with client.session_transaction() as session:
        session[TOKEN] = token


@pytest.fixture
def browser(client, app, user):
    sign_in(client, app, user)
    return client


def ask(browser, chat, headers, **query):
    return browser.get(f"/api/chat/{chat}/message", query_string={"msg": "Hi"} | query, headers=headers)


def test_an_event_source_sends_and_hears_the_answer(api, demo):
    chat = api.new_chat()
    demo.will_say("one", " two")

    heard = api.ask(chat, "Count")

    assert heard.text == "one two"
    assert heard.ids[0].endswith(":0")
    assert heard.ids[-1].endswith(":end")
    assert [message["content"] for message in api.messages(chat)] == ["Count", "one two"]


def test_a_page_of_ours_may_use_it_with_its_cookie(browser, api):
    response = ask(browser, api.new_chat(), STREAM | SCRIPT)

    assert read(response).final["done"]


@pytest.mark.parametrize("headers", [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate"},
    {"Sec-Purpose": "prefetch"},
    {"Purpose": "prefetch"},
])  # fmt: skip
def test_anybody_else_is_refused_and_nothing_is_started(browser, api, demo, headers):
    chat = api.new_chat()

    response = ask(browser, chat, STREAM | SCRIPT | headers)

    assert (response.status_code, response.get_json()["code"]) == (403, "CSRF_FAILED")
    assert demo.requests == []


@pytest.mark.parametrize("headers", [
    {}, {"Origin": "http://evil.test"}, {"Origin": "null"}, {"Origin": "http://localhost:8001"},
    {"Referer": "http://localhost:8001/"}, {"Referer": "http://evil.test/http://localhost/"}, {"Referer": "http://["},
    {"Origin": "http://evil.test", "Referer": "http://localhost/"},
])  # fmt: skip
def test_without_fetch_metadata_nothing_starts_that_does_not_say_it_is_ours(browser, api, demo, headers):
    response = ask(browser, api.new_chat(), STREAM | headers)

    assert (response.status_code, response.get_json()["code"]) == (403, "CSRF_FAILED")
    assert demo.requests == []


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost"}, {"Referer": "http://localhost/c/1"}])
def test_without_fetch_metadata_origin_or_referrer_must_be_ours(browser, api, headers):
    assert read(ask(browser, api.new_chat(), STREAM | headers)).final["done"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_scheme_is_as_good_in_any_case(api, scheme):
    headers = STREAM | {"Authorization": f"{scheme} {api.headers['Authorization'].split()[1]}"}

    assert read(ask(api.client, api.new_chat(), headers)).final["done"]


@pytest.mark.parametrize("accept", ["text/html,*/*", "*/*", "text/event-streams", ""])
def test_only_event_streams_are_served_also_to_keys(api, accept):
    response = ask(api.client, api.new_chat(), api.headers | {"Accept": accept})

    assert (response.status_code, response.get_json()["code"]) == (406, "NOT_ACCEPTABLE")


def test_the_rules_for_headers_come_before_everything_else(client):
    assert ask(client, "nonsense", {"Accept": "text/html"}).status_code == 406
    assert ask(client, "nonsense", STREAM).status_code == 401


def test_a_key_needs_no_fetch_metadata(api):
    headers = api.headers | STREAM | {"Sec-Fetch-Site": "cross-site", "Purpose": "prefetch"}

    assert read(ask(api.client, api.new_chat(), headers)).final["done"]


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_a_reconnect_gets_exactly_the_rest_and_asks_nobody(api, demo, pieces):
    chat = api.new_chat()
    demo.will_say("Ünï\n", "{code}", " 漢字", "🎨 end")
    first = api.ask(chat, "Go", pieces=pieces)

    rest = api.ask(chat, "Another text", last_event_id=first.ids[-1])

    assert first.text + rest.text == "Ünï\n{code} 漢字🎨 end"
    assert len(demo.requests) == 1


def test_a_reconnect_while_it_runs_joins(api, demo):
    chat = api.new_chat()
    demo.will_say("one", demo.hold(), " two")
    first = api.ask(chat, "Go", pieces=1)

    second = gevent.spawn(api.ask, chat, "Go", last_event_id=first.ids[-1])
    gevent.sleep(0.05)
    demo.release()

    assert second.get(timeout=30).text == " two"


def test_a_reconnect_at_the_end_is_told_to_stop(api):
    chat = api.new_chat()
    last = api.ask(chat, "Go").ids[-1]

    assert api.ask(chat, "Go", last_event_id=last).status == 204


@pytest.mark.parametrize("position", ["nonsense", f"{NOBODYS}:0", f"{NOBODYS}:end", ""])
def test_a_reconnect_to_what_is_not_there_starts_nothing(api, demo, position):
    chat = api.new_chat()
    headers = api.headers | STREAM | {"Last-Event-ID": position}

    assert ask(api.client, chat, headers).status_code == 204
    assert demo.requests == []


def test_a_reconnect_to_a_strangers_turn_starts_nothing(app, api, other_user):
    stranger = Api(app, other_user)
    theirs = stranger.ask(stranger.new_chat(), "Secret").ids[1]

    assert api.ask(api.new_chat(), "Go", last_event_id=theirs).status == 204


def test_a_position_beyond_the_text_gets_the_whole_text_once_more(api):
    chat = api.new_chat()
    turn = api.ask(chat, "Go").ids[0].partition(":")[0]

    heard = api.ask(chat, "Go", last_event_id=f"{turn}:999")

    assert (heard.resets, heard.text) == (1, "Hello.")


def test_the_same_key_joins_and_another_text_is_refused(api, demo):
    chat, key = api.new_chat(), str(uuid.uuid4())
    api.ask(chat, "Go", key=key)

    assert api.ask(chat, "Go", key=key).text == "Hello."
    assert api.send(chat, "Go", key=key).text == "Hello."
    assert api.ask(chat, "Other", key=key).error["code"] == "KEY_REUSED"
    assert len(demo.requests) == 1


def test_a_key_that_is_no_uuid_is_refused(api):
    assert api.ask(api.new_chat(), "Go", key="k1").error["code"] == "INVALID_REQUEST"


def test_the_same_text_joins_while_it_runs_and_for_a_moment_after(api, demo):
    chat = api.new_chat()
    demo.will_say("one", demo.hold(), " two")
    reading = gevent.spawn(api.ask, chat, "Go")
    gevent.sleep(0.05)
    joining = gevent.spawn(api.ask, chat, "Go")
    gevent.sleep(0.05)

    assert api.send(chat, "Go").error["code"] == "TURN_IN_PROGRESS"
    assert api.ask(chat, "Other").error["code"] == "TURN_IN_PROGRESS"
    demo.release()
    assert reading.get(timeout=30).text == joining.get(timeout=30).text == "one two"
    assert api.ask(chat, "Go").text == "one two"
    assert len(demo.requests) == 1


def test_the_same_text_later_is_a_new_question(api, demo, monkeypatch):
    from datetime import timedelta

    from chatapp.turns import lifecycle

    chat = api.new_chat()
    api.ask(chat, "continue")
    monkeypatch.setattr(lifecycle, "SAME_SEND", timedelta(0))

    api.ask(chat, "continue")

    assert len(demo.requests) == 2


def test_a_blank_message_is_refused(api):
    assert api.ask(api.new_chat(), "  ").error["code"] == "INVALID_MESSAGE"
