"""Logins end, people are shut out, chats and accounts are deleted, limits are lowered, while an answer is written."""

from datetime import timedelta
from functools import partial
from uuid import UUID

import gevent
import pytest
from sqlalchemy import text as sql
from sqlalchemy import update

from chatapp.auth.models import ApiKey, LoginSession, User
from chatapp.budget import ledger
from chatapp.budget.models import LedgerEntry
from chatapp.chats import housekeeping
from chatapp.chats.models import Chat, Message
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from chatapp.transfers import deletion
from chatapp.turns import endings
from chatapp.turns.models import Turn
from tests.auth.browser import Browser, signed_in
from tests.faults.invariants import hold
from tests.streams import until


@pytest.fixture
def turns(app, monkeypatch):
    """The workers, with a heartbeat of 50 ms: that often an open stream asks whether its login still is."""
    turns = app.extensions["live_turns"]
    monkeypatch.setattr(turns, "follow", partial(turns.follow, heartbeat_seconds=0.05))
    return turns


@pytest.fixture
def by():
    """How an answer is watched: on its page, or at the API by the cookie of a login or by a personal key."""
    return "page"


@pytest.fixture
def watching(app, api, user, demo, turns, by):
    """Somebody who watches an answer of which half is said: (browser, chat, what was sent so far, the watcher)."""
    chat, browser = api.new_chat(), signed_in(app, user.id)
    demo.will_say("Half of it, ", demo.hold(), "and the rest.")
    gevent.spawn(api.send, chat, "Hi")
    until(lambda: (found := api.messages(chat)) and found[1]["content"] == "Half of it, ")
    [turn_id] = turns._runs
    sent, cookie = [], browser.cookie()
    address = f"/turns/{turn_id}/stream" if by == "page" else f"/api/chat/{chat}/message?msg=Hi"
    headers = {"Accept": "text/event-stream", "Referer": "http://localhost/"} | (user.headers if by == "key" else {})

    def watch():
        with app.test_client() as tab:
            if by != "key":
                tab.set_cookie(browser.cookie_name, cookie)
            sent.extend(tab.get(address, headers=headers).iter_encoded())

    watcher = gevent.spawn(watch)
    until(lambda: turns._log.get(turn_id).listeners == 2)
    return browser, chat, sent, watcher


def test_a_login_that_gets_too_old_in_mid_answer_still_hears_it(app, api, demo, watching, sqlite_url):
    browser, chat, sent, watcher = watching
    with app.app_context(), write() as session:
        session.execute(update(LoginSession).values(created_at=sql("'2020-01-01 00:00:00'")))
    gevent.sleep(0.2)
    assert not watcher.ready()
    demo.release()
    watcher.get(timeout=10)

    assert "and the rest." in b"".join(sent).decode()
    assert api.messages(chat)[1]["content"] == "Half of it, and the rest."
    refused = browser.get(f"/chats/{chat}")
    assert (refused.status_code, refused.headers["Location"]) == (303, f"/login?next=/chats/{chat}")
    hold(sqlite_url)


@pytest.mark.parametrize(
    ("by", "last"), [("page", b"event: done\ndata: -\n\n"), ("cookie", b"Half of it, \n\n")], ids=["page", "cookie"]
)
def test_signing_out_in_another_tab_ends_the_logins_streams_and_its_cookie(app, api, demo, watching, last, sqlite_url):
    browser, chat, sent, watcher = watching
    copied = Browser(app)
    copied.take(browser.cookie())

    browser.post("/logout")

    watcher.get(timeout=30)
    assert b"".join(sent).replace(b": keep-alive\n\n", b"").endswith(last)
    assert copied.client.get("/api/chat").status_code == 401
    demo.release()
    until(lambda: api.messages(chat)[1]["content"] == "Half of it, and the rest.")
    assert b"and the rest" not in b"".join(sent)
    hold(sqlite_url)


@pytest.mark.parametrize("by", ["key"])
def test_a_key_that_is_revoked_ends_its_streams(app, demo, watching, sqlite_url):
    _browser, _chat, sent, watcher = watching

    with app.app_context():
        db.session.scalar(db.select(ApiKey)).revoke()

    watcher.get(timeout=30)
    demo.release()
    assert b"".join(sent).replace(b": keep-alive\n\n", b"").endswith(b"Half of it, \n\n")
    hold(sqlite_url)


@pytest.mark.parametrize("by", ["page", "cookie", "key"])
def test_who_is_shut_out_hears_no_more(app, api, user, demo, watching, sqlite_url):
    _browser, _chat, sent, watcher = watching

    with app.app_context():
        db.session.get_one(User, user.id).disable()

    watcher.get(timeout=30)
    demo.release()
    assert b"and the rest" not in b"".join(sent)
    assert api.call("GET", "/chat").status_code == 401
    hold(sqlite_url)


# At each point of a turn

POINTS = ["before the first piece", "between pieces", "while it is counted", "after the settling", "after the end"]


def at(point, app, api, demo, monkeypatch, act):
    """Send, let act happen at that point of the turn, and return what was heard."""
    chat, was_here = api.new_chat(), []

    def do_it():
        if not was_here:
            was_here.append(point)
            with app.app_context():
                act(chat)

    first, second = demo.hold(), demo.hold()
    demo.will_say(first, "Some, ", second, "and more.")
    if point == "while it is counted":
        demo.count_rule = lambda text: do_it()
    if point == "after the settling":
        settled = endings.settle
        monkeypatch.setattr(endings, "settle", lambda *args, **options: (settled(*args, **options), do_it())[0])
    sending = gevent.spawn(api.send, chat, "Hi")
    until(lambda: demo.requests)
    if point == "before the first piece":
        do_it()
    first.set()
    if point == "between pieces":
        until(lambda: "Some, " in [run.log.text for run in app.extensions["live_turns"]._runs.values()])
        do_it()
    second.set()
    heard = sending.get(timeout=20)
    if point == "after the end":
        do_it()
    assert was_here == [point]
    until(lambda: not app.extensions["live_turns"].open_count())
    return chat, heard


@pytest.mark.parametrize("point", POINTS)
def test_a_chat_that_is_deleted_at_any_point_leaves_its_cost(
    both_app, both_api, demo, database, point, monkeypatch, caplog
):
    def delete(chat):
        assert both_api.client.delete(f"/api/chat/{chat}", headers=both_api.headers).status_code == 204

    chat, heard = at(point, both_app, both_api, demo, monkeypatch, delete)

    assert heard.final["tokens_used"] > 0
    assert heard.final.get("message") == ("The answer was stopped" if point in POINTS[:2] else None)
    assert both_api.call("GET", f"/chat/{chat}").status_code == 404
    assert both_api.usage()["total_tokens_used"] == heard.final["tokens_used"]
    hold(database)
    monkeypatch.setattr(housekeeping, "PURGE_AFTER", timedelta(0))
    with both_app.app_context():
        assert housekeeping.purge_deleted_chats() == 1
        assert [db.session.scalars(db.select(table)).all() for table in (Chat, Message, Turn)] == [[], [], []]
        entries = db.select(LedgerEntry.operation).where(LedgerEntry.exchange_id == UUID(heard.turn_id))
        assert sorted(db.session.scalars(entries)) == ["charge", "release", "reserve"]
    assert both_api.usage()["total_tokens_used"] == heard.final["tokens_used"]
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == []
    hold(database)


@pytest.mark.parametrize("point", POINTS)
def test_an_account_that_is_deleted_at_any_point_leaves_nothing(
    both_app, both_api, demo, database, point, monkeypatch, caplog
):
    def delete(_chat):
        user = db.session.scalar(db.select(User))
        deletion.delete_user(user.id, user.password_hash)

    at(point, both_app, both_api, demo, monkeypatch, delete)

    with both_app.app_context(), db.engine.connect() as connection:
        tables = ["users", "chats", "messages", "turns", "user_usage", "ledger_entries", "api_keys", "login_sessions"]
        assert [connection.execute(sql(f"SELECT count(*) FROM {table}")).scalar() for table in tables] == [0] * 8
    assert both_api.call("GET", "/chat").status_code == 401
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    hold(database)


@pytest.mark.parametrize("point", POINTS)
def test_who_is_shut_out_at_any_point_is_charged_once(app, api, demo, sqlite_url, point, monkeypatch, caplog):
    at(point, app, api, demo, monkeypatch, lambda _chat: db.session.scalar(db.select(User)).disable())

    assert api.call("GET", "/chat").status_code == 401
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    hold(sqlite_url)


@pytest.mark.parametrize(
    ("by", "said"),
    [("page", b"Your token budget is used up"), ("cookie", b'"code": "TOKEN_LIMIT_EXCEEDED"')],
    ids=["page", "cookie"],
)
def test_a_limit_that_is_lowered_in_mid_answer_ends_it_there(app, api, user, demo, watching, said, sqlite_url):
    _browser, chat, sent, watcher = watching

    with app.app_context(), write():
        ledger.set_limit(user.id, 1, "lowered")

    watcher.get(timeout=10)
    assert said in b"".join(sent[-2:])
    answer = api.messages(chat)[1]
    assert (answer["status"], answer["content"]) == ("stopped", "Half of it, ")
    assert answer["usage"]["error_code"] == "TOKEN_LIMIT_EXCEEDED"
    refused = api.send(chat, "More")
    assert (refused.status, refused.error["code"]) == (403, "TOKEN_LIMIT_EXCEEDED")
    hold(sqlite_url, limits_stood=False)
