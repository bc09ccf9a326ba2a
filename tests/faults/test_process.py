"""Section 2 of the faults: the process. It is killed, it is full, its clock steps, its own code fails."""

import os
import random
import signal
import socket
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import gevent
import httpx
import pytest

from chatapp.chats.models import Chat, Message
from chatapp.database import now, write
from chatapp.extensions import db
from chatapp.turns import limits, recovery, settle, workers
from chatapp.turns.log import MemoryLog
from chatapp.turns.models import Turn
from tests import servers
from tests.conftest import make_user
from tests.faults import invariants
from tests.faults.conftest import SECRET
from tests.faults.program import Program
from tests.streams import Api, Heard, until
from tests.turns.test_recovery import HERE, orphan

KEY = "scripted-key-of-no-value"


@pytest.fixture
def gemini(start, tmp_path):
    """A scripted Gemini beside the servers: gemini.post("/__script", json=[...])."""
    process = start(servers.gemini(tmp_path))
    with httpx.Client(base_url=process.url) as client:
        yield client


def gemini_settings(gemini) -> dict[str, str]:
    return {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": str(gemini.base_url), "COUNT_SECONDS": "30"}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def status_of(program: Program, chat: str) -> str:
    return str(program.messages(chat)[1]["status"])


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.redis
def test_a_process_killed_at_each_point_of_a_turn_is_survived_by_the_other(products, gemini, postgresql_url):
    first, second = products(**gemini_settings(gemini))
    begun = {}
    for name, steps in {
        "done": ["Done."],
        "waiting": [{"hold": True}],
        "between": ["One, ", "two, ", {"hold": True}, "three"],
    }.items():
        gemini.post("/__script", json={"steps": steps})
        chat = first.new_chat()
        begun[name] = (chat, *first.start(chat, name))
        heard = begun[name][1]
        until(lambda name=name, heard=heard: heard.text == {"done": "Done.", "between": "One, two, "}.get(name, ""))
        until(lambda heard=heard: heard.ids)
    begun["done"][2].join()
    gemini.post(
        "/__script", json=[{"steps": ["All of it."]}, {"to": "count", "times": 0, "wait_seconds": 60, "tokens": 1}]
    )
    chat = first.new_chat()
    begun["counting"] = (chat, *first.start(chat, "counting"))
    until(lambda: any(each["kind"] == "count" and each["state"] == "open" for each in gemini.get("/__requests").json()))
    gevent.sleep(0.2)  # One write behind.
    first.server.kill()
    gemini.post("/__reset", json={})

    invariants.hold(postgresql_url, lease_seconds=12)

    ended = {"done": ("completed", "Done."), "waiting": ("interrupted", ""), "between": ("interrupted", "One, two, ")}
    for name, (chat, heard, _) in begun.items():
        answer = second.messages(chat)[1]
        assert (answer["status"], answer["content"]) == ended.get(name, ("interrupted", "All of it."))
        if name != "done":
            second.resume(chat, heard)
            assert (heard.text, heard.final["code"], heard.resets) == (answer["content"], "TURN_INTERRUPTED", 0)
            assert answer["tokens_consumed"] == heard.final["tokens_used"] > 10
    assert second.send(begun["between"][0], "Go on").final["done"]
    invariants.server_is_well(second.server, secrets=[KEY, "One, two", second.person.key])


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.redis
def test_a_worker_that_is_killed_is_replaced_and_its_listener_hears_the_end(
    server, make_person, gemini, postgresql_url, redis_url
):
    shared = {"DATABASE_URL": postgresql_url, "REDIS_URL": redis_url, "SECRET_KEY": SECRET, "RATE_LIMITS": "false"}
    one = server(**shared, **gemini_settings(gemini))
    program = Program(one, make_person(postgresql_url))
    gemini.post("/__script", json={"steps": ["So far", {"hold": True}]})
    chat = program.new_chat()
    heard, listening = program.start(chat, "Hi")
    until(lambda: heard.text == "So far")
    gevent.sleep(0.2)

    [worker] = children(one.pid)
    os.kill(worker, signal.SIGKILL)
    listening.join()
    killed_at = time.monotonic()
    while not heard.final:
        gevent.sleep(0.1)
        program.resume(chat, heard)

    assert time.monotonic() - killed_at < 12
    assert (heard.text, heard.final["code"]) == ("So far", "TURN_INTERRUPTED")
    invariants.saved_is_shown(program.messages(chat), heard)
    invariants.hold(postgresql_url)


@pytest.mark.postgresql
@pytest.mark.redis
def test_a_process_that_dies_between_commit_and_announcement_leaves_a_whole_answer(
    pair, demo, monkeypatch, postgresql_url
):
    first, second = pair
    demo.will_say("Whole.")
    dead = gevent.event.Event()
    monkeypatch.setattr(first.client.application.extensions["services"].turns._log, "end", lambda *_: dead.wait())
    chat = first.new_chat()
    heard = first.send(chat, "Hi", pieces=1)
    until(lambda: second.messages(chat)[1]["status"] == "completed")
    first.client.application.extensions["services"].turns.close()

    rest = second.ask(chat, "", last_event_id=heard.ids[-1])

    assert (heard.text + rest.text, rest.final["done"]) == ("Whole.", True)
    invariants.hold(postgresql_url)


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.redis
def test_an_answer_is_stopped_from_any_process_within_a_second(products, gemini, postgresql_url):
    first, second = products(**gemini_settings(gemini))
    for program in (first, second):
        gemini.post("/__script", json={"steps": ["So far", {"hold": True}]})
        chat = first.new_chat()
        heard, listening = first.start(chat, "Hi")
        until(lambda heard=heard: heard.text)
        asked_at = time.time()
        assert program.call("POST", f"/chat/{chat}/stop").status_code == 204
        listening.join()

        upstream = [each for each in gemini.get("/__requests").json() if each["kind"] == "stream"][-1]
        assert upstream["state"] == "closed"
        assert upstream["closed_at"] - asked_at < 1
        assert (heard.final["code"], status_of(second, chat)) == ("TURN_STOPPED", "stopped")
        assert heard.final["tokens_used"] > 10
        invariants.saved_is_shown(second.messages(chat), heard)
    invariants.hold(postgresql_url)


# What a process takes on


@pytest.mark.slow
def test_a_full_process_refuses_at_once_and_is_well(server, make_person, sqlite_url):
    one = server(
        DATABASE_URL=sqlite_url, SECRET_KEY=SECRET, RATE_LIMITS="false", MAX_OPEN_TURNS="1", DEMO_PACE_SECONDS="0.1"
    )
    program = Program(one, make_person(sqlite_url))
    heard, _ = program.start(program.new_chat(), "Write a long story")
    until(lambda: heard.ids)
    refused = []
    for chat in [program.new_chat() for _ in range(9)]:
        began = time.monotonic()
        answer = program.call("POST", f"/chat/{chat}/message", json={"message": "Hi"})
        refused.append(time.monotonic() - began)
        assert (answer.status_code, answer.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0

    assert sorted(refused)[4] < 0.1
    assert httpx.get(f"{one.url}/healthz", timeout=1).json()["open_turns"] == 1


class Time:
    def __init__(self) -> None:
        self.now, self.late = 0.0, 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late


def test_a_loop_that_is_late_again_and_again_is_measured_and_one_stall_is_not_enough():
    clock = Time()
    lag = limits.LoopLag(clock, clock.sleep)
    for clock.late in (0, 0, 1, 0):
        lag.measure()
    assert 0.1 < lag.seconds < 0.2
    clock.late = 1
    for _ in range(10):
        lag.measure()
    assert lag.seconds > 0.8


def test_a_process_whose_loop_is_late_takes_no_new_turn(app, api):
    chat = api.new_chat()
    app.extensions["services"].turns._lag.seconds = 0.6

    refused = api.call("POST", f"/chat/{chat}/message", json={"message": "Hi"})

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert api.messages(chat) == []


@pytest.mark.parametrize("settings", [{"max_listeners_per_turn": 2}, {"max_listeners_per_user": 2}])
def test_so_many_listen_to_an_answer_and_no_more_until_one_leaves(api, demo):
    chat = api.new_chat()
    demo.will_say("a", demo.hold(), "b")
    listening = [gevent.spawn(api.send, chat, "Hi", key="k1") for _ in range(2)]
    until(lambda: demo.requests)
    gevent.sleep(0.05)

    refused = api.send(chat, "Hi", key="k1")
    assert (refused.status, refused.error["code"]) == (429, "RATE_LIMITED")

    demo.release()
    gevent.joinall(listening)
    assert api.send(chat, "Hi", key="k1").text == "ab"


@pytest.mark.parametrize("settings", [{"stream_seconds": 0.01}])
def test_a_connection_that_lived_long_enough_ends_after_a_whole_event_and_is_resumed(api, demo):
    chat = api.new_chat()
    demo.will_say("one", demo.hold(), " two")
    first = gevent.spawn(api.send, chat, "Hi")
    until(lambda: demo.requests)
    gevent.sleep(0.05)
    demo.release()
    heard = first.get(timeout=5)
    assert (heard.text, heard.final) in [("one", {}), ("one two", {})]
    until(lambda: api.messages(chat)[1]["status"] == "completed")

    rest = Heard(200)
    for _ in range(3):
        if not rest.final:
            last = (rest.ids or heard.ids)[-1]
            more = api.ask(chat, "", last_event_id=last)
            rest = Heard(200, rest.text + more.text, ids=more.ids, final=more.final)
    assert (heard.text + rest.text, rest.final.get("done")) == ("one two", True)


@pytest.mark.slow
def test_a_reader_that_takes_nothing_is_dropped_and_comes_back_with_its_position(
    server, make_person, gemini, sqlite_url
):
    big = {"MAX_OUTPUT_TOKENS": "50000000", "TOKEN_LIMIT": "100000000", "SEND_SECONDS": "1"}
    one = server(DATABASE_URL=sqlite_url, SECRET_KEY=SECRET, RATE_LIMITS="false", **big, **gemini_settings(gemini))
    program = Program(one, make_person(sqlite_url, limit=100_000_000))
    gemini.post("/__script", json={"steps": ["x" * 200_000] * 60, "usage": "none", "pace_seconds": 0})
    chat = program.new_chat()
    host, port = one.url.removeprefix("http://").split(":")
    body = b'{"message": "Hi"}'
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((host, int(port)))
        head = f"POST /api/chat/{chat}/message HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        key = f"Authorization: Bearer {program.person.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        reader.sendall((head + key).encode() + body)
        until(lambda: (found := program.messages(chat)) and found[1]["status"] == "completed", 60)
        gevent.sleep(1.5)
        reader.settimeout(10)
        got = b""
        while data := reader.recv(1_000_000):
            got += data

    events = [event for event in got.decode().rpartition("\n\n")[0].split("\n\n") if "id: " in event]
    assert '"done": true' not in got.decode()[-1000:]
    heard = Heard(200, ids=[events[-1].split("id: ")[1].split("\n")[0]])
    at = int(heard.ids[0].rpartition(":")[2])
    assert program.resume(chat, heard).final["done"]
    assert at + len(heard.text) == 60 * 200_000
    assert httpx.get(f"{one.url}/healthz", timeout=1).json()["open_turns"] == 0


# Its own code fails

STEPS = ["_facts", "_bill", "_close", "_usage_json", "_write_log_line"]


def fail_once(monkeypatch, owner, name):
    """Make the first call of a function fail, and the following ones work."""
    real, calls = getattr(owner, name), []

    def failing(*arguments, **named):
        calls.append(name)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, failing)
    return calls


@pytest.mark.parametrize("step", STEPS)
def test_a_bug_in_a_step_of_the_settling_fails_the_answer_and_it_is_settled_once(
    app, api, demo, monkeypatch, step, sqlite_url
):
    calls = fail_once(monkeypatch, settle, step)
    demo.will_say("so far")
    chat = api.new_chat()

    heard = api.send(chat, "Hi")

    assert calls
    if step == "_write_log_line":  # All is committed by then.
        assert heard.final["done"]
    else:
        assert (heard.final["code"], api.messages(chat)[1]["status"]) == ("INTERNAL_ERROR", "failed")
    invariants.saved_is_shown(api.messages(chat), heard)
    invariants.hold(sqlite_url)


@pytest.mark.parametrize("name", ["_take", "read"])
def test_a_bug_in_the_reading_fails_the_answer(api, monkeypatch, name, sqlite_url):
    fail_once(monkeypatch, workers.Run, name)
    chat = api.new_chat()

    heard = api.send(chat, "Hi")

    assert (heard.final["code"], api.messages(chat)[1]["status"]) == ("INTERNAL_ERROR", "failed")
    invariants.hold(sqlite_url)


def test_a_bug_in_the_counting_is_an_estimate(api, demo, sqlite_url):
    demo.count_rule = lambda text: 1 // 0
    demo.will_say("Sure.")

    assert api.send(api.new_chat(), "Hi").final["calculation_method"] == "estimate"
    invariants.hold(sqlite_url)


def test_what_cannot_be_settled_at_all_is_told_and_settled_by_the_sweep(app, api, demo, monkeypatch, sqlite_url):
    demo.will_say("so far")
    chat = api.new_chat()
    with monkeypatch.context() as broken:
        broken.setattr(settle, "_bill", lambda *_: 1 // 0)
        assert api.send(chat, "Hi").final["code"] == "INTERNAL_ERROR"

    with app.app_context():
        with write():
            db.session.scalars(db.select(Turn)).one().heartbeat_at = now() - 2 * recovery.LEASE
        assert recovery.settle_orphans(set()) == 1
    assert api.messages(chat)[1]["status"] == "interrupted"
    invariants.hold(sqlite_url)


@pytest.mark.parametrize("step", ["_hear_stops", "_heartbeat", "_checkpoint", "_sweep"])
def test_a_bug_in_the_pulse_costs_one_beat(app, api, demo, monkeypatch, step, sqlite_url):
    monkeypatch.setattr(workers, "PULSE_SECONDS", 0.01)
    monkeypatch.setattr(workers, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(workers, "HEARTBEAT_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(workers, "CHECKPOINT_SECONDS", 0.0)
    calls = fail_once(monkeypatch, workers.Workers, step)
    demo.will_say("a", demo.hold(), "b")
    chat = api.new_chat()
    sending = gevent.spawn(api.send, chat, "Hi")
    until(lambda: demo.requests)
    if step == "_checkpoint":
        with app.app_context():
            until(lambda: db.session.scalar(db.select(Message.content).where(Message.role == "assistant")) == "a")
    until(lambda: len(calls) > 1)
    demo.release()

    assert sending.get(timeout=5).text == "ab"
    invariants.hold(sqlite_url)


# Its clock steps, its leases end


@pytest.mark.postgresql
@pytest.mark.parametrize("hours", [2, -2])
def test_a_clock_that_steps_declares_nobody_dead(pair, demo, monkeypatch, postgresql_url, hours):
    first, second = pair
    demo.will_say("a", demo.hold(), "b")
    chat = first.new_chat()
    sending = gevent.spawn(first.send, chat, "Hi")
    until(lambda: demo.requests)
    app = second.client.application
    with app.app_context(), write():
        db.session.scalars(db.select(Turn)).one().owner = "elsewhere|boot|space|1|1"
    for module in ("chatapp.database", "chatapp.turns.lifecycle", "chatapp.turns.settle", "chatapp.turns.models"):
        monkeypatch.setattr(f"{module}.now", lambda: now() + timedelta(hours=hours))
    with app.app_context():
        assert recovery.settle_orphans(set()) == 0
    demo.release()

    assert sending.get(timeout=5).final["done"]
    invariants.hold(postgresql_url)


@pytest.mark.parametrize(("trusts_leases", "settled"), [(False, 0), (True, 1)])
def test_a_lease_that_ran_out_while_the_database_was_away_is_not_trusted(app, api, demo, trusts_leases, settled):
    orphan(app, api, demo, "elsewhere|boot|space|1|1", timedelta(minutes=1))

    with app.app_context():
        assert recovery.settle_orphans(set(), trusts_leases=trusts_leases) == settled


def test_a_turn_that_another_process_settled_ends_here_with_what_was_saved(app, api, demo, monkeypatch, sqlite_url):
    monkeypatch.setattr(workers, "CHECKPOINT_SECONDS", 1000.0)
    demo.will_say("one", demo.hold(), " two")
    chat = api.new_chat()
    sending = gevent.spawn(api.send, chat, "Hi")
    until(lambda: demo.requests)
    with app.app_context():
        turn_id = db.session.scalar(db.select(Turn.id))
        settle.settle(turn_id, settle.Answer("on"), settle.interrupted())

    heard = sending.get(timeout=5)
    assert (heard.text, heard.resets, heard.final["code"]) == ("on", 1, "TURN_INTERRUPTED")
    assert demo.closed == 1
    invariants.saved_is_shown(api.messages(chat), heard)
    invariants.hold(sqlite_url)


def test_the_longer_of_log_and_checkpoint_is_kept_of_a_dead_owners_answer(app, api, demo):
    turn_id = orphan(app, api, demo, f"{HERE}|999999999|1")

    with app.app_context():
        recovery.settle_orphans(set(), lambda asked: "so far and on" if asked == turn_id else "")
        assert settle.stored_text(turn_id) == "so far and on"


# What is left behind


def test_turns_cut_at_random_leave_nothing_behind(app, api, demo, monkeypatch, sqlite_url):
    seed = random.randrange(10**6)
    monkeypatch.setattr("chatapp.turns.log.KEPT_SECONDS", 0.0)
    chance = random.Random(seed)
    chat = api.new_chat()
    api.send(chat, "warm up")
    with invariants.nothing_grows(app):
        for number in range(150):
            demo.will_say(*(f"{word} " for word in range(chance.randint(1, 9))))
            api.send(chat, f"Question {number}", pieces=chance.randint(0, 9))
            until(lambda: not app.extensions["services"].turns.open_count())
    turns = app.extensions["services"].turns
    assert (len(turns.listeners), turns._copies, turns._log._logs) == (0, {}, {}), f"seed {seed}"
    invariants.hold(sqlite_url)


def test_a_chat_that_was_deleted_is_purged_after_a_while_and_its_cost_stays(both_app, both_api, demo):
    chats = [both_api.new_chat() for _ in range(2)]
    for chat in chats:
        both_api.send(chat, "Hi")
    used = both_api.usage()["total_tokens_used"]
    both_api.call("DELETE", f"/chat/{chats[0]}")
    with both_app.app_context():
        assert recovery.purge_deleted_chats() == 0
        with write():
            db.session.get(Chat, UUID(chats[0])).deleted_at = now() - 2 * recovery.PURGE_AFTER
        assert recovery.purge_deleted_chats() == 1
        assert [str(chat.id) for chat in db.session.scalars(db.select(Chat))] == [chats[1]]
        assert len(db.session.scalars(db.select(Message)).all()) == 2
    assert both_api.usage()["total_tokens_used"] == used


def test_a_deleted_chat_with_a_very_long_branch_is_purged(app, api):
    chat = UUID(api.new_chat())
    with app.app_context():
        ids = [UUID(int=number) for number in range(1, 2500)]
        parents = [None, *ids]
        rows = [
            {"id": key, "chat_id": chat, "parent_id": parent, "role": "user", "content": "x"}
            for key, parent in zip(ids, parents, strict=False)
        ]
        with write():
            db.session.execute(db.insert(Message), rows)
            db.session.get(Chat, chat).deleted_at = now() - 2 * recovery.PURGE_AFTER
        assert recovery.purge_deleted_chats() == 1
        assert db.session.scalar(db.select(db.func.count(Message.id))) == 0


def test_a_chat_that_still_answers_is_not_purged(app, api, demo):
    demo.will_say("a", demo.hold())
    chat = api.new_chat()
    api.send(chat, "Hi", pieces=1)
    with app.app_context():
        with write():
            db.session.get(Chat, UUID(chat)).deleted_at = now() - 2 * recovery.PURGE_AFTER
        assert recovery.purge_deleted_chats() == 0


def test_memory_serves_what_it_has_without_a_database(app, api, demo, monkeypatch):
    """A listener that is a little late costs no query."""
    assert isinstance(app.extensions["services"].turns._log, MemoryLog)
    chat = api.new_chat()
    heard = api.send(chat, "Hi")
    monkeypatch.setattr(settle, "stored_states", lambda ids: pytest.fail("asked the database"))

    assert api.ask(chat, "", last_event_id=heard.ids[0]).text == "Hello."
