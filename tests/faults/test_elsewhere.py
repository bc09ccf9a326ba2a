"""What one process shows and does of an answer that another one works on."""

import gevent
import pytest

from chatapp.turns.live import process
from tests.auth.browser import signed_in
from tests.faults import invariants
from tests.streams import until

pytestmark = [pytest.mark.postgresql, pytest.mark.redis]


def turns_of(api):
    return api.client.application.extensions["live_turns"]


def begun(pair, demo, *pieces):
    """Let the first process say the first piece; return the chat, the turn and the listener there."""
    chat = pair[0].new_chat()
    demo.will_say(*pieces)
    listening = gevent.spawn(pair[0].send, chat, "Hi")
    until(lambda: (turns := turns_of(pair[0])._runs) and next(iter(turns.values())).log.text)
    [turn] = turns_of(pair[0])._runs
    return chat, turn, listening


@pytest.fixture
def without_checkpoints(monkeypatch):
    monkeypatch.setattr(process.LiveTurns, "_checkpoint", lambda *_: None)


def page(api, user_id, chat):
    return signed_in(api.client.application, user_id).client.get(f"/chats/{chat}").text


@pytest.fixture
def owner_id(pair):
    from chatapp.auth.models import User
    from chatapp.kernel.extensions import db

    with pair[0].client.application.app_context():
        return db.session.scalars(db.select(User.id)).one()


def test_an_answer_of_another_process_is_shown_as_far_as_it_was_said(pair, demo, owner_id, without_checkpoints):
    chat, _turn, listening = begun(pair, demo, "said so far", demo.hold(), ", and on")

    until(lambda: pair[1].messages(chat)[1]["content"] == "said so far", 5)
    assert "said so far" in page(pair[1], owner_id, chat)
    demo.release()
    listening.get(timeout=10)


def test_where_redis_knows_less_the_checkpoint_is_shown(pair, demo, owner_id):
    chat, turn, listening = begun(pair, demo, "said so far", demo.hold(), ", and on")
    turns_of(pair[0])._log._written.clear()  # Nothing more reaches Redis, and what is there goes.
    until(lambda: pair[1].messages(chat)[1]["content"] == "said so far", 5)
    turns_of(pair[1])._log._redis.call(lambda client: client.flushdb(), None)

    assert turns_of(pair[1]).peek(turn).text == ""
    assert pair[1].messages(chat)[1]["content"] == "said so far"
    assert "said so far" in page(pair[1], owner_id, chat)
    demo.release()
    listening.get(timeout=10)


def test_a_process_that_leaves_sends_the_listeners_of_others_turns_on_and_they_lose_nothing(pair, demo, postgresql_url):
    chat, turn, listening = begun(pair, demo, "one ", demo.hold(), "two")
    moved = gevent.spawn(pair[1].ask, chat, "", last_event_id=f"{turn}:0")
    until(lambda: turns_of(pair[1])._remote and turns_of(pair[1]).peek(turn).text)
    turns_of(pair[1]).drain()

    before = moved.get(timeout=30)
    assert (before.text, before.final) == ("one ", {})
    after = gevent.spawn(pair[0].ask, chat, "", last_event_id=before.ids[-1])
    gevent.sleep(0)
    demo.release()
    assert (before.text + after.get(timeout=10).text, after.get().resets) == ("one two", 0)
    assert after.get().final == listening.get(timeout=10).final
    invariants.hold(postgresql_url)


def test_a_page_at_a_process_that_leaves_is_not_told_that_its_answer_is_over(pair, demo, owner_id):
    _chat, turn, listening = begun(pair, demo, "one ", demo.hold(), "two")
    browsers = [signed_in(api.client.application, owner_id).client for api in pair]
    frames = gevent.spawn(lambda: browsers[1].get(f"/turns/{turn}/stream").text)
    until(lambda: turns_of(pair[1])._remote and turns_of(pair[1]).peek(turn).text)
    turns_of(pair[1]).drain()

    left = frames.get(timeout=30)
    assert ("one" in left, "event: done" in left) == (True, False)
    again = gevent.spawn(lambda: browsers[0].get(f"/turns/{turn}/stream").text)
    demo.release()
    assert "two" in again.get(timeout=10)
    assert "event: done" in again.get()
    listening.get(timeout=10)
