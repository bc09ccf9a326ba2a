"""What one process takes on: open turns, a loop that keeps up, listeners, and how long a connection may live."""

import socket
from uuid import uuid4

import gevent
import pytest

from chatapp.conversation import stream as stream_frames
from chatapp.kernel.errors import RateLimited
from chatapp.turns.live.listeners import Listeners, ListenerSlot, LoopLag
from tests.auth.browser import signed_in
from tests.streams import Api, Heard, read, until
from tests.turns.test_turns import settled_once


def turns_of(app):
    return app.extensions["live_turns"]


# Turns


class Time:
    """Time that passes only while somebody sleeps, and then a little late."""

    def __init__(self) -> None:
        self.now, self.late = 0.0, 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late


def test_a_loop_that_is_late_again_and_again_is_measured_and_one_stall_is_not_enough():
    clock = Time()
    lag = LoopLag(clock, clock.sleep)
    for clock.late in (0, 0, 1, 0):
        lag.measure()
    assert 0.1 < lag.seconds < 0.2
    clock.late = 1
    for _ in range(10):
        lag.measure()
    assert lag.seconds > 0.8


@pytest.mark.parametrize("settings", [{"max_loop_lag_ms": 500}])
def test_a_process_whose_loop_is_late_takes_no_new_turn(app, api):
    chat = api.new_chat()
    turns_of(app)._lag.seconds = 0.6

    refused = api.call("POST", f"/chat/{chat}/message", json={"message": "Hi"})

    assert (refused.status_code, refused.get_json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert refused.headers["Retry-After"] == "5"
    assert api.messages(chat) == []


@pytest.mark.parametrize("settings", [{"max_open_turns": 3}])
def test_a_full_process_refuses_and_takes_turns_again_when_one_has_ended(both_app, both_api, demo):
    chats = [both_api.new_chat() for _ in range(12)]
    for _ in chats:
        demo.will_say("a", demo.hold(), "b")
    # All at once: those that are still being admitted count as well.
    sends = [gevent.spawn(both_api.send, chat, "Hi") for chat in chats]
    until(lambda: sum(send.ready() for send in sends) == 9)

    assert {send.get().error["code"] for send in sends if send.ready()} == {"SERVICE_UNAVAILABLE"}
    demo.release()
    assert sum(send.get(timeout=10).text == "ab" for send in sends) == 3
    assert both_api.send(chats[0], "Again", key="k").status == 200
    settled_once(both_app)


@pytest.mark.parametrize("settings", [{"max_user_turns": 2}])
def test_one_person_has_so_many_answers_in_progress_and_the_next_waits(app, api, other_user, demo):
    demo.will_say("a", demo.hold())
    demo.will_say("b", demo.hold())
    chats = [api.new_chat() for _ in range(3)]
    for chat in chats[:2]:
        api.send(chat, "Hi", pieces=1)

    refused = api.call("POST", f"/chat/{chats[2]}/message", json={"message": "Hi"})

    assert (refused.status_code, refused.get_json()["code"]) == (429, "RATE_LIMITED")
    assert refused.headers["Retry-After"]
    assert Api(app, other_user).send(Api(app, other_user).new_chat(), "Hi").final["done"]
    demo.release()
    until(lambda: turns_of(app).open_count() == 0)
    assert api.send(chats[2], "Hi").final["done"]


# Listeners


@pytest.mark.parametrize("settings", [{"max_listeners_per_turn": 2}, {"max_listeners_per_user": 2}])
def test_so_many_listen_to_an_answer_and_no_more_until_one_leaves(app, api, demo):
    chat = api.new_chat()
    demo.will_say("a", demo.hold(), "b")
    listening = [gevent.spawn(api.send, chat, "Hi", key="k1") for _ in range(2)]
    until(lambda: turns_of(app).listeners.count == 2)

    refused = api.send(chat, "Hi", key="k1")
    assert (refused.status, refused.error["code"]) == (429, "RATE_LIMITED")

    demo.release()
    gevent.joinall(listening)
    assert api.send(chat, "Hi", key="k1").text == "ab"
    assert len(turns_of(app).listeners) == 0


@pytest.mark.parametrize("settings", [{"max_listeners_per_user": 2}])
def test_a_send_that_nobody_could_listen_to_starts_nothing(both_app, both_api, demo):
    chats = [both_api.new_chat() for _ in range(8)]
    for _ in chats:
        demo.will_say("a", demo.hold())
    sends = [gevent.spawn(both_api.send, chat, "Hi") for chat in chats]
    until(lambda: sum(send.ready() for send in sends) == 6 and len(demo.requests) == 2)

    assert {send.get().status for send in sends if send.ready()} == {429}
    assert sum(bool(both_api.messages(chat)) for chat in chats) == 2


@pytest.mark.parametrize("settings", [{"max_listeners": 2}])
def test_a_process_full_of_listeners_refuses_the_next_and_still_says_that_it_is_well(app, api, user, demo):
    chat = api.new_chat()
    demo.will_say("a", demo.hold())
    sending = gevent.spawn(api.send, chat, "Hi")
    until(lambda: len(demo.requests) == 1 and turns_of(app)._runs)
    [turn] = turns_of(app)._runs
    listening = gevent.spawn(api.ask, chat, "", last_event_id=f"{turn}:0")
    until(lambda: turns_of(app).listeners.count == 2)

    refused = api.ask(chat, "", last_event_id=f"{turn}:0")

    assert (refused.status, refused.error["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert signed_in(app, user.id).get(f"/turns/{turn}/stream").text == stream_frames.DONE
    assert app.test_client().get("/healthz").status_code == 200
    demo.release()
    assert sending.get(timeout=30).text == listening.get(timeout=30).text == "a"
    until(lambda: len(turns_of(app).listeners) == 0)


def test_a_place_is_given_back_whatever_becomes_of_the_request(app, api, demo):
    chat = api.new_chat()
    assert api.send(chat, " ").status == 400
    heard = api.send(chat, "Hi", pieces=0)
    api.ask(chat, "Hi", last_event_id=heard.ids[0], pieces=0)

    until(lambda: turns_of(app).open_count() == 0)
    assert len(turns_of(app).listeners) == 0
    assert turns_of(app)._beginning == 0


def test_a_seat_is_left_where_its_block_fails_and_only_once():
    listeners = Listeners()
    with pytest.raises(RateLimited), ListenerSlot(listeners._of).acquire(user := uuid4(), 1) as slot:
        slot.acquire(uuid4(), 0)
    slot.release()
    assert len(listeners) == 0
    assert ListenerSlot(listeners._of).acquire(user, 1)


@pytest.mark.parametrize("path", ["/api/chat/{chat}/message?msg=Hi", "/turns/{turn}/stream"])
def test_a_head_starts_nothing_and_takes_no_place(app, api, user, demo, path):
    chat = api.new_chat()
    turn = api.send(chat, "Hi").ids[0].partition(":")[0]
    browser = signed_in(app, user.id).client

    answer = browser.head(path.format(chat=chat, turn=turn), headers={"Accept": "text/event-stream"})

    assert answer.status_code == (405 if "msg" in path else 200)
    assert len(demo.requests) == 1
    assert len(turns_of(app).listeners) == 0


# Connections


@pytest.mark.parametrize("settings", [{"stream_seconds": 0.001}])
def test_a_connection_that_lived_long_enough_ends_after_a_whole_event_and_is_resumed(api, demo):
    chat = api.new_chat()
    demo.will_say("one", demo.hold(), " two")
    first = gevent.spawn(api.send, chat, "Hi")
    until(lambda: demo.requests)
    gevent.sleep(0.01)
    demo.release()
    heard: Heard = first.get(timeout=30)
    text, connections = heard.text, 1
    while not heard.final:
        heard = api.ask(chat, "", last_event_id=heard.ids[-1])
        text, connections = text + heard.text, connections + 1

    assert (text, heard.final["done"]) == ("one two", True)
    assert connections > 1
    assert len(demo.requests) == 1


@pytest.mark.slow  # It waits for a heartbeat.
@pytest.mark.parametrize("settings", [{"stream_seconds": 0.001}])
def test_a_page_whose_connection_lived_long_enough_is_not_told_that_it_is_over(app, api, user, demo):
    demo.will_say("one", demo.hold())
    turn = api.send(api.new_chat(), "Hi", pieces=1).ids[0].partition(":")[0]

    frames = signed_in(app, user.id).get(f"/turns/{turn}/stream").text

    assert "one" in frames
    assert "event: done" not in frames


class Peer(socket.socket):
    """A connection of gunicorn's that remembers its time limits."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.limits = []

    def settimeout(self, seconds) -> None:
        self.limits.append(seconds)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_stream_has_a_time_limit_for_its_peer_and_the_next_request_has_none(api, family):
    with Peer(family) as peer:
        environ = {"gunicorn.socket": peer}
        answer = api.call("POST", f"/chat/{api.new_chat()}/message", json={"message": "x"}, environ_base=environ)

        assert read(answer).final["done"]
        assert peer.limits[-2:] == [30, None]
        if family == socket.AF_INET:
            assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_every_response_has_that_time_limit(app, user):
    with Peer(socket.AF_INET) as peer:
        signed_in(app, user.id).client.get("/account", environ_base={"gunicorn.socket": peer}).close()

        assert peer.limits == [30, None]


def test_a_listener_whose_response_cannot_be_made_gives_its_place_back(app, user, api, demo, monkeypatch):
    demo.will_say("a", demo.hold())
    turn_id = api.send(api.new_chat(), "Hi", pieces=1).turn_id
    browser = signed_in(app, user.id)

    def fail(*_):
        raise RuntimeError("the database is gone")

    monkeypatch.setattr("chatapp.chats.queries.opening_of", fail)
    before = turns_of(app).listeners.count
    app.testing = False
    for _ in range(3):
        assert browser.get(f"/turns/{turn_id}/stream").status_code == 500

    assert turns_of(app).listeners.count == before
