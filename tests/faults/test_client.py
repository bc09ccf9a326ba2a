"""The client: it goes away and comes back, reads slowly or not at all, sends twice, opens a second tab."""

import contextlib
import json
import socket
import time
from pathlib import Path
from statistics import median

import gevent
import httpx
import pytest

from chatapp.turns.live import process
from tests.auth.browser import signed_in
from tests.conftest import make_user
from tests.faults import invariants
from tests.faults.conftest import SECRET
from tests.faults.program import Program, worker_pids
from tests.scripted_gemini import says
from tests.streams import Api, Heard, until
from tests.turns.test_turns import settled_once

WORDS = ["one ", "two ", "three ", "four ", "five ", "six"]


@pytest.mark.parametrize("pieces", [0, 1, 5, 6])
def test_an_answer_goes_on_when_its_reader_goes_away(both_app, both_api, demo, pieces):
    chat = both_api.new_chat()
    demo.will_say(*WORDS)

    both_api.send(chat, "Count", pieces=pieces)

    until(lambda: both_api.messages(chat)[1]["status"] == "completed")
    question, answer = both_api.messages(chat)
    assert (question["content"], answer["content"]) == ("Count", "".join(WORDS))
    assert both_api.usage()["total_tokens_used"] == answer["tokens_consumed"] > 10
    settled_once(both_app)


@pytest.fixture
def program(server, make_person, gemini, sqlite_url):
    """A program before one real process, with a scripted Gemini behind it."""
    made = []

    def make(**env):
        big = {"MAX_OUTPUT_TOKENS": "50000000", "SECRET_KEY": SECRET, "RATE_LIMITS": "false"}
        model = {"GEMINI_API_KEY": "k", "GEMINI_BASE_URL": str(gemini.base_url)}
        config = Path(__file__).with_name("unmeasured.conf.py")
        one = server(config=config, DATABASE_URL=sqlite_url, **big, **model, **env)
        made.append(Program(one, make_person(sqlite_url, limit=10**9)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def request_of(program, chat, text="Hi"):
    """Return the bytes of a send, and where they go."""
    host, port = program.server.url.removeprefix("http://").split(":")
    body = json.dumps({"message": text}).encode()
    head = (
        f"POST /api/chat/{chat}/message HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {program.person.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body, (host, int(port))


def streams(gemini):
    return [each for each in gemini.get("/__requests").json() if each["kind"] == "stream"]


@pytest.mark.slow
def test_who_hangs_up_before_the_first_byte_has_asked_once_or_not_at_all(program, gemini, sqlite_url):
    program = program()
    reset = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    for cut, is_rough, is_sent in [(20, False, False), (-3, False, False), (None, False, True), (None, True, True)]:
        chat = program.new_chat()
        raw, address = request_of(program, chat)
        with socket.create_connection(address) as connection:
            connection.sendall(raw[:cut])
            gevent.sleep(0 if cut else 0.05)
            if is_rough:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        if is_sent:
            until(lambda chat=chat: [each["status"] for each in program.messages(chat)][1:] == ["completed"])
        gevent.sleep(0.1)
        assert len(program.messages(chat)) == (2 if is_sent else 0)
    assert len(streams(gemini)) == 2
    invariants.hold(sqlite_url)
    invariants.server_is_well(program.server)


@pytest.mark.slow
def test_a_reader_that_takes_nothing_is_dropped_and_comes_back_with_its_position(program, gemini, sqlite_url):
    program = program(SEND_SECONDS="1")
    for _ in range(2):
        gemini.post("/__script", json={"steps": ["x" * 200_000] * 60, "usage": "none", "pace_seconds": 0})
    chat = program.new_chat()
    raw, address = request_of(program, chat)
    other = program.new_chat()
    program.send(other, "What an answer of this length takes by itself is there before.")
    before = memory_bytes(program.server)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(address)
        reader.sendall(raw)
        until(lambda: program.messages(chat)[1:] and program.messages(chat)[1]["content"])
        # Nobody else is held up.
        assert program.send(other, "Hi").final["done"]
        until(lambda: program.messages(chat)[1]["status"] == "completed", 60)
        gevent.sleep(1.5)
        # Nothing waits for the reader.
        assert memory_bytes(program.server) - before < 150_000_000
        reader.settimeout(3)
        got = b""
        # Dropped while its window was shut, it is told so by a reset, or by nothing at all.
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            while data := reader.recv(1_000_000):
                got += data

    events = [event for event in got.decode().rpartition("\n\n")[0].split("\n\n") if "id: " in event]
    assert '"done": true' not in got.decode()[-1000:]
    heard = Heard(200, ids=[events[-1].split("id: ")[1].split("\n")[0]])
    at = int(heard.ids[0].rpartition(":")[2])
    assert program.resume(chat, heard).final["done"]
    assert at + len(heard.text) == 60 * 200_000
    invariants.hold(sqlite_url)
    invariants.server_is_well(program.server)


def memory_bytes(server):
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in worker_pids(server)]
    return sum(pages) * 4096


@pytest.mark.slow
def test_pages_are_there_while_hundreds_listen_and_all_of_them_hear_the_end(program, gemini, sqlite_url):
    program = program(MAX_LISTENERS_PER_TURN="2000", MAX_LISTENERS_PER_USER="2000")
    gemini.post("/__script", json={"steps": ["So far", {"hold": True}, " and on"]})
    chat = program.new_chat()
    heard, listening = program.start(chat, "Hi")
    until(lambda: heard.text)
    host, port = program.server.url.removeprefix("http://").split(":")
    ask = (
        f"GET /api/chat/{chat}/message HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {program.person.key}\r\nLast-Event-ID: {heard.turn_id}:0\r\n\r\n"
    )
    connections = [socket.create_connection((host, int(port))) for _ in range(400)]
    for connection in connections:
        connection.sendall(ask.encode())
        assert b"So far" in receive_until(connection, b"So far")
    assert {program.call("GET", f"/chat/{chat}").status_code for _ in range(20)} == {200}
    gemini.post("/__release")

    assert all(b'"done": true' in receive_until(each, b'"done": true') for each in connections)
    listening.join()
    for connection in connections:
        connection.close()
    invariants.hold(sqlite_url)
    invariants.server_is_well(program.server)


def receive_until(connection, end):
    connection.settimeout(20)
    got = b""
    while end not in got and (data := connection.recv(65_536)):
        got += data
    return got


@pytest.mark.slow
def test_a_full_process_refuses_at_once(program, gemini, sqlite_url):
    program = program(MAX_OPEN_TURNS="1")
    gemini.post("/__script", json={"steps": ["So far", {"hold": True}]})
    heard, listening = program.start(program.new_chat(), "Hi")
    until(lambda: heard.text)
    refusing, reading = [], []
    for chat in [program.new_chat() for _ in range(9)]:
        began = time.monotonic()
        answer = program.call("POST", f"/chat/{chat}/message", json={"message": "Hi"})
        refusing.append(time.monotonic() - began)
        assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0
        began = time.monotonic()
        assert program.call("GET", f"/chat/{chat}").status_code == 200
        reading.append(time.monotonic() - began)

    # A refusal costs about what the smallest request does; bench/prompt.py says how long one takes.
    assert median(refusing) < 3 * median(reading)
    assert httpx.get(f"{program.server.url}/healthz").json()["open_turns"] == 1
    assert httpx.get(f"{program.server.url}/readyz").status_code == 503
    gemini.post("/__release")
    listening.join()
    invariants.hold(sqlite_url)


# Two tabs, and the same send many times


@pytest.mark.postgresql
@pytest.mark.redis
def test_of_two_sends_at_the_same_moment_one_is_answered_and_both_read_the_same(pair, demo, postgresql_url):
    chat = pair[0].new_chat()
    demo.will_say("one", demo.hold(), " two")
    sends = [gevent.spawn(api.send, chat, f"From tab {number}") for number, api in enumerate(pair)]
    until(lambda: any(send.ready() for send in sends) and demo.requests)
    [refused] = [send.get() for send in sends if send.ready()]
    assert (refused.status, refused.error["code"]) == (409, "TURN_IN_PROGRESS")
    [turn] = [run for api in pair for run in api.client.application.extensions["live_turns"]._runs]
    joining = [gevent.spawn(api.ask, chat, "", last_event_id=f"{turn}:0") for api in pair]
    gevent.sleep(0.2)
    demo.release()

    [answered] = [send.get(timeout=10) for send in sends if send.get(timeout=10).status == 200]
    assert [each.get(timeout=10).text for each in joining] == [answered.text] * 2 == ["one two"] * 2
    assert len(demo.requests) == 1
    invariants.hold(postgresql_url)


@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.parametrize("times", [3, 20])
def test_the_same_send_in_parallel_in_two_processes_is_one_turn_and_one_charge(pair, demo, postgresql_url, times):
    chat = pair[0].new_chat()
    demo.will_say("only", demo.hold(), " once")
    sends = [gevent.spawn(pair[number % 2].send, chat, "Hi", key="k1") for number in range(times)]
    until(lambda: demo.requests)
    gevent.sleep(0.1)
    demo.release()
    heard = [send.get(timeout=10) for send in sends]

    assert {one.text for one in heard} == {"only once"}
    assert len({one.final["message_id"] for one in heard}) == len(demo.requests) == 1
    assert pair[1].usage()["total_tokens_used"] == heard[0].final["tokens_used"]
    assert [pair[1].send(chat, "Other", key="k1").error["code"] for _ in range(2)] == ["KEY_REUSED"] * 2
    assert len(pair[1].messages(chat)) == 2
    invariants.hold(postgresql_url)


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.redis
def test_a_send_that_timed_out_and_is_repeated_at_another_process_is_one_turn(products, gemini, postgresql_url):
    first, second = products(gemini)
    gemini.post("/__script", json={"steps": [{"hold": True}, "Slowly"]})
    chat, address = first.new_chat(), "{}/api/chat/{}/message"
    headers = first.person.headers | {"Idempotency-Key": "k1"}
    with pytest.raises(httpx.ReadTimeout):
        with httpx.stream(
            "POST",
            address.format(first.server.url, chat),
            json={"message": "Hi"},
            headers=headers,
            timeout=httpx.Timeout(20, read=0.5),
        ) as answer:
            answer.read()
    again = [each.start(chat, "Hi", key="k1") for each in (second, first, second) for _ in range(3)]
    until(lambda: all(heard.ids for heard, _ in again))
    gemini.post("/__release")
    gevent.joinall([listening for _, listening in again], timeout=20)

    assert {heard.text for heard, _ in again} == {"Slowly"}
    assert len(streams(gemini)) == 1
    assert second.usage()["total_tokens_used"] == again[0][0].final["tokens_used"]
    refused = second.call("POST", f"/chat/{chat}/message", json={"message": "Other"}, headers={"Idempotency-Key": "k1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "KEY_REUSED")
    invariants.hold(postgresql_url)


def test_a_form_that_is_sent_twenty_times_is_one_message(app, api, user, demo):
    chat = api.new_chat()
    demo.will_say("only", demo.hold(), " once")
    browsers = [signed_in(app, user.id) for _ in range(20)]
    for browser in browsers:
        browser.fields = {"text": "Hi", "key": "form-1"}
    posts = [gevent.spawn(each.post, f"/chats/{chat}/messages", **each.fields) for each in browsers]
    gevent.joinall(posts, timeout=10)
    demo.release()

    assert {post.get().status_code for post in posts} == {303}
    until(lambda: api.messages(chat)[1]["status"] == "completed")
    assert [message["content"] for message in api.messages(chat)] == ["Hi", "only once"]
    settled_once(app)


def test_a_stranger_with_the_same_key_joins_nothing(app, api, other_user, demo):
    chat, key = api.new_chat(), "k1"
    demo.will_say("Secret.")
    api.send(chat, "Hi", key=key)
    stranger = Api(app, other_user)

    assert stranger.send(chat, "Hi", key=key).status == 403
    assert stranger.send(stranger.new_chat(), "Hi", key=key).text == "Hello."


# A stop from anywhere


class Beats:
    """The pulse of a process, counted from now on, and how far the count had come when a turn was first stopped."""

    def __init__(self, monkeypatch, app):
        turns = app.extensions["live_turns"]
        self.count, self.at_stop = 0, None
        hear_stops, stop = turns._hear_stops, turns.stop

        def counted():
            self.count += 1
            hear_stops()

        def noted(*args):
            self.at_stop = self.count if self.at_stop is None else self.at_stop
            return stop(*args)

        monkeypatch.setattr(turns, "_hear_stops", counted)
        monkeypatch.setattr(turns, "stop", noted)


@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.parametrize("moment", ["before the first piece", "between pieces"])
@pytest.mark.parametrize("who", ["its own process", "another process", "another tab", "everybody, twice"])
def test_an_answer_is_stopped_from_anywhere_with_the_next_beat(
    make_app, postgresql_url, redis_url, scripted, monkeypatch, who, moment
):
    values = {"redis_url": redis_url, "gemini_api_key": "k", "gemini_base_url": scripted.url}
    apps = [make_app(postgresql_url, has_demo=False, **values) for _ in range(2)]
    person = make_user(apps[0], "ada@example.org")
    first, second = pair = [Api(app, person) for app in apps]
    chat = first.new_chat()
    said = ["So far", " and on"] if moment == "between pieces" else []
    scripted.script(says(*said, {"hold": True}, "never"))
    sending = gevent.spawn(first.send, chat, "Hi")
    until(lambda: scripted.requests and (not said or first.messages(chat)[1]["content"] == "".join(said)))
    [turn] = apps[0].extensions["live_turns"]._runs
    listening = gevent.spawn(second.ask, chat, "", last_event_id=f"{turn}:0")
    gevent.sleep(0.2)
    tab, address = signed_in(apps[1], person.id), f"/turns/{turn}/cancellation"
    token = tab.token()
    beats = Beats(monkeypatch, apps[0])
    if who == "another tab":
        sent = {"data": {"csrf_token": token}, "headers": {"Referer": "http://localhost/"}}
        assert tab.client.post(address, **sent).status_code == 303
    for api in {"its own process": [first], "another process": [second], "another tab": []}.get(who, [*pair] * 2):
        assert api.call("POST", f"/chat/{chat}/stop").status_code == 204
    until(lambda: scripted.requests[0].state == "closed")

    # A beat that reads while the request commits may miss it; two beats are the promised second.
    assert beats.at_stop <= (0 if who == "its own process" else 2)
    assert 2 * process.PULSE_SECONDS <= 1
    heard, elsewhere = sending.get(timeout=30), listening.get(timeout=30)
    assert heard.text == elsewhere.text == "".join(said)
    assert heard.final == elsewhere.final
    assert (heard.final["code"], second.messages(chat)[1]["status"]) == ("TURN_STOPPED", "stopped")
    assert second.usage()["total_tokens_used"] == heard.final["tokens_used"] > 10
    invariants.saved_is_shown(second.messages(chat), heard)
    invariants.hold(postgresql_url)
