"""The process: it is killed at any moment, it hangs, its clock steps, its own code fails."""

import random
import time
from datetime import timedelta
from pathlib import Path

import gevent
import httpx
import pytest

from chatapp.chats.models import Message
from chatapp.conversation import stream as stream_frames
from chatapp.exchanges import owner, settling
from chatapp.exchanges import recovery as leases
from chatapp.exchanges.models import Exchange
from chatapp.exchanges.settling import Produced
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db
from chatapp.turns import endings, recovery
from chatapp.turns.live import process
from chatapp.turns.models import Started, Turn
from tests.auth.browser import signed_in
from tests.faults import invariants
from tests.faults.conftest import GEMINI_KEY
from tests.faults.program import worker_pids
from tests.streams import until
from tests.turns.test_recovery import HERE, orphan

pytestmark = pytest.mark.slow

FAILING = Path(__file__).parent / "failing.conf.py"
FOUND_SECONDS = 30


def hold_the_counting(gemini) -> None:
    gemini.post("/__script", json={"to": "count", "times": 0, "wait_seconds": 60, "tokens": 1})


def counts_asked(gemini) -> int:
    return len(
        [each for each in gemini.get("/__requests").json() if (each["kind"], each["state"]) == ("count", "open")]
    )


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.redis
def test_a_process_killed_with_turns_at_every_moment_is_survived_by_another(products, gemini, postgresql_url):
    first, second = products(gemini)
    begun = {}
    for name, steps, text in [
        ("done", ["Done."], "Done."),
        ("before the first piece", [{"hold": True}], ""),
        ("between pieces", ["One, ", "two 漢, ", {"hold": True}, "three"], "One, two 漢, "),
    ]:
        gemini.post("/__script", json={"steps": steps})
        chat = first.new_chat()
        heard, listening = first.start(chat, name)
        begun[name] = (chat, heard, listening, text)
        until(lambda heard=heard, text=text: heard.ids and heard.text == text)
    begun["done"][2].join()
    hold_the_counting(gemini)
    gemini.post("/__script", json={"steps": ["All of it."]})
    chat = first.new_chat()
    begun["settling"] = (chat, *first.start(chat, "settling"), "All of it.")
    until(lambda: begun["settling"][1].text == "All of it." and counts_asked(gemini))
    # The page of another process follows one of them.
    page = second.follow_page(begun["between pieces"][1].turn_id)
    gevent.sleep(0.3)
    first.server.kill()
    killed_at = time.monotonic()
    gemini.post("/__reset", json={})

    frames = page.get(timeout=FOUND_SECONDS)
    invariants.hold(postgresql_url, lease_seconds=FOUND_SECONDS)
    assert time.monotonic() - killed_at < FOUND_SECONDS
    for name, (chat, heard, _listening, text) in begun.items():
        answer = second.messages(chat)[1]
        assert (answer["status"], answer["content"]) == ("completed" if name == "done" else "interrupted", text)
        if name != "done":
            second.resume(chat, heard)
            assert (heard.text, heard.final["code"], heard.resets) == (text, "TURN_INTERRUPTED", 0)
            assert answer["tokens_consumed"] == heard.final["tokens_used"] > 10
    # It ended by itself, with what there is and a way to go on.
    assert frames.endswith("event: done\ndata: -\n\n")
    assert "One, two 漢," in frames
    assert "Continue</button>" in frames
    assert second.send(begun["between pieces"][0], "Go on").final["done"]
    invariants.server_is_well(second.server, secrets=[GEMINI_KEY, "One, two", second.person.key])


MOMENTS = {
    # Moment → status and text of the answer afterwards; None: nothing was saved, nothing was charged.
    "admission": None,
    "saved": ("interrupted", ""),
    "settling": ("interrupted", "You said"),
    "committed": ("completed", "You said"),
}


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.redis
def test_a_worker_that_dies_at_any_point_is_replaced_and_its_turn_is_found(products, gemini, postgresql_url):
    first, second = products(gemini, config=FAILING)
    chats = {}
    for moment, expected in MOMENTS.items():
        chat = first.new_chat()
        [worker] = worker_pids(first.server)
        heard = first.send(chat, f"die at {moment}", key=moment)
        assert not heard.final
        until(lambda worker=worker: worker_pids(first.server) not in ([], [worker]))
        died_at = time.monotonic()
        until(
            lambda chat=chat: [each["status"] for each in second.messages(chat)][1:] != ["in_progress"], FOUND_SECONDS
        )
        assert time.monotonic() - died_at < FOUND_SECONDS
        chats[moment] = chat
        if expected is None:
            assert second.messages(chat) == []
            continue
        answer = second.messages(chat)[1]
        assert (answer["status"], answer["content"][: len("You said")]) == expected
        # The client's own second try, with its key, hears how it ended. It starts nothing and costs nothing.
        again = second.send(chat, f"die at {moment}", key=moment)
        assert (again.text, again.final.get("code")) == (
            answer["content"],
            None if expected[0] == "completed" else "TURN_INTERRUPTED",
        )
        assert again.final["tokens_used"] == answer["tokens_consumed"] > 10
    invariants.hold(postgresql_url)
    assert second.usage()["total_tokens_used"] == sum(
        message["tokens_consumed"] for chat in chats.values() for message in second.messages(chat)
    )


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.redis
def test_a_worker_whose_loop_hangs_is_replaced_and_its_turns_are_interrupted(products, gemini, postgresql_url):
    first, second = products(gemini, config=FAILING)
    gemini.post("/__script", json={"steps": ["So far", {"hold": True}]})
    chat = first.new_chat()
    heard, listening = first.start(chat, "Hi")
    until(lambda: heard.text == "So far")
    gevent.sleep(0.3)

    first.start(first.new_chat(), "die at spin")
    listening.join()
    until(lambda: httpx.get(f"{first.server.url}/healthz", timeout=30).status_code == 200)

    assert first.resume(chat, heard).final["code"] == "TURN_INTERRUPTED"
    invariants.saved_is_shown(second.messages(chat), heard)
    invariants.hold(postgresql_url)


@pytest.mark.postgresql
@pytest.mark.redis
def test_a_process_that_dies_between_commit_and_announcement_leaves_a_whole_answer(
    pair, demo, monkeypatch, postgresql_url
):
    first, second = pair
    demo.will_say("Whole.")
    dead = gevent.event.Event()
    monkeypatch.setattr(first.client.application.extensions["live_turns"]._log, "end", lambda *_: dead.wait())
    chat = first.new_chat()
    heard = first.send(chat, "Hi", pieces=1)
    until(lambda: second.messages(chat)[1]["status"] == "completed")
    first.client.application.extensions["live_turns"].close()

    rest = second.ask(chat, "", last_event_id=heard.ids[-1])

    assert (heard.text + rest.text, rest.final["done"]) == ("Whole.", True)
    invariants.hold(postgresql_url)


# Leases


def test_the_longer_of_log_and_checkpoint_is_kept_of_a_dead_owners_answer(app, api, demo):
    turn_id = orphan(app, api, demo, f"{HERE}|999999999|1")

    with app.app_context():
        recovery.settle_orphans(set(), lambda _turn_id, part: {"text": "so far and on", "thoughts": "Hm, and on"}[part])
        assert endings.stored_answer(turn_id) == Produced("so far and on", "Hm, and on")


@pytest.mark.postgresql
@pytest.mark.redis
def test_of_many_processes_that_find_a_dead_owners_turn_one_settles_it(pair, demo, postgresql_url):
    apps = [each.client.application for each in pair]
    orphan(apps[0], pair[0], demo, f"{HERE}|999999999|1")

    def sweep(app):
        with app.app_context():
            return recovery.settle_orphans(set())

    sweeps = [gevent.spawn(sweep, app) for app in apps * 4]

    assert sum(each.get(timeout=10) for each in sweeps) == 1
    invariants.hold(postgresql_url)


@pytest.mark.parametrize(("trusts_leases", "settled"), [(False, 0), (True, 1)])
def test_a_lease_that_ran_out_while_the_database_was_away_is_not_trusted(app, api, demo, trusts_leases, settled):
    orphan(app, api, demo, "elsewhere|boot|space|1|1", timedelta(minutes=1))

    with app.app_context():
        assert recovery.settle_orphans(set(), trusts_leases=trusts_leases) == settled


def test_a_turn_that_another_process_settled_ends_here_with_what_was_saved(app, api, demo, monkeypatch, sqlite_url):
    monkeypatch.setattr(process, "CHECKPOINT_SECONDS", 1000.0)
    demo.will_say("one", demo.hold(), " two")
    chat = api.new_chat()
    sending = gevent.spawn(api.send, chat, "Hi")
    until(lambda: demo.requests)
    with app.app_context():
        turn = db.session.scalars(db.select(Turn)).one()
        started = Started(turn.id, turn.chat_id, turn.question_id, turn.answer_id)
        endings.settle(started, Produced("on"), settling.interrupted())

    heard = sending.get(timeout=30)
    assert (heard.text, heard.resets, heard.final["code"]) == ("on", 1, "TURN_INTERRUPTED")
    invariants.saved_is_shown(api.messages(chat), heard)
    invariants.hold(sqlite_url)


@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.parametrize("hours", [2, -2])
def test_a_clock_that_steps_declares_nobody_dead_and_signs_nobody_out(pair, demo, monkeypatch, postgresql_url, hours):
    first, second = pair
    demo.will_say("a", demo.hold(), "b")
    chat = first.new_chat()
    sending = gevent.spawn(first.send, chat, "Hi")
    until(lambda: demo.requests)
    app = second.client.application
    with app.app_context(), write():
        # On another host, so that only its lease speaks for it.
        db.session.scalars(db.select(Exchange)).one().owner = "elsewhere|boot|space|1|1"
    for module in (
        "kernel.database",
        "turns.lifecycle",
        "exchanges.settling",
        "exchanges.models",
        "turns.models",
        "auth.models",
    ):
        monkeypatch.setattr(f"chatapp.{module}.now", lambda: now() + timedelta(hours=hours))
    with app.app_context():
        assert recovery.settle_orphans(set()) == 0
        db.session.rollback()
        with write():
            db.session.scalars(db.select(Exchange)).one().owner = owner.me()
    demo.release()

    assert sending.get(timeout=30).final["done"]
    assert second.call("GET", "/chat").status_code == 200
    invariants.hold(postgresql_url)


def test_a_process_that_is_closed_reads_no_further(app, api, demo, monkeypatch):
    demo.will_say("one", hold := demo.hold(), " two")
    listening = gevent.spawn(api.send, api.new_chat(), "Hi")
    turns = app.extensions["live_turns"]
    until(lambda: [run for run in turns._runs.values() if run.log.text])
    taken = []
    monkeypatch.setattr(process.Run, "_receive", lambda *arguments: taken.append(arguments))

    turns.close()
    hold.set()
    gevent.sleep(0.05)

    assert taken == []
    listening.kill()


# Its own code fails

STEPS = ["_bill", "_close", "_counts", "_write_log_line"]


def fail_once(monkeypatch, owner, name, error=RuntimeError):
    """Make the first call of a function fail, and the following ones work."""
    real, calls = getattr(owner, name), []

    def failing(*arguments, **named):
        calls.append(name)
        if len(calls) == 1:
            raise error("a bug")
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, failing)
    return calls


@pytest.mark.parametrize("step", STEPS)
def test_a_bug_in_a_step_of_the_settling_fails_the_answer_and_it_is_settled_once(
    api, demo, monkeypatch, step, sqlite_url
):
    calls = fail_once(monkeypatch, settling, step)
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


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, RecursionError])
@pytest.mark.parametrize("name", ["_receive", "read"])
def test_a_bug_in_the_reading_fails_the_answer(api, monkeypatch, name, error, sqlite_url):
    fail_once(monkeypatch, process.Run, name, error)
    chat = api.new_chat()

    heard = api.send(chat, "Hi")

    assert (heard.final["code"], api.messages(chat)[1]["status"]) == ("INTERNAL_ERROR", "failed")
    assert api.send(chat, "Again").final["done"]
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
        broken.setattr(settling, "_bill", lambda *_: 1 // 0)
        assert api.send(chat, "Hi").final["code"] == "INTERNAL_ERROR"

    with app.app_context():
        with write():
            db.session.scalars(db.select(Exchange)).one().heartbeat_at = now() - 2 * leases.LEASE
        assert recovery.settle_orphans(set()) == 1
    assert api.messages(chat)[1]["status"] == "interrupted"
    invariants.hold(sqlite_url)


def test_a_bug_in_a_view_is_an_error_with_a_reference_and_nothing_of_its_insides(app, api, demo, monkeypatch):
    app.testing = app.config["PROPAGATE_EXCEPTIONS"] = False
    chat = api.new_chat()
    fail_once(monkeypatch, process.LiveTurns, "admit")

    answer = api.call("POST", f"/chat/{chat}/message", json={"message": "Hi"})

    assert (answer.status_code, answer.get_json()["code"]) == (500, "INTERNAL_ERROR")
    assert answer.headers["X-Request-ID"] in answer.get_json()["message"]
    assert "a bug" not in answer.text
    assert api.messages(chat) == []
    assert api.send(chat, "Hi").final["done"]


def test_a_bug_in_a_template_is_an_error_page_and_the_end_of_a_stream(app, api, user, demo, monkeypatch):
    app.testing = app.config["PROPAGATE_EXCEPTIONS"] = False
    browser, chat = signed_in(app, user.id), api.new_chat()
    turn = api.send(chat, "Hi").ids[0].partition(":")[0]

    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setitem(app.jinja_env.globals, "method_text", fail)
    followed, page = browser.get(f"/turns/{turn}/stream"), browser.get(f"/chats/{chat}")

    assert "Hello." in followed.text
    assert followed.text.endswith(stream_frames.DONE)
    assert page.status_code == 500
    assert page.headers["X-Request-ID"] in page.text
    assert "a bug" not in followed.text + page.text


def stored_content(app):
    with app.app_context():
        return db.session.scalar(db.select(Message.content).filter_by(role="assistant"))


@pytest.mark.parametrize("step", ["_hear_stops", "_heartbeat", "_checkpoint", "_sweep"])
def test_a_bug_in_the_pulse_costs_one_beat(app, api, demo, monkeypatch, step, sqlite_url):
    monkeypatch.setattr(process, "PULSE_SECONDS", 0.01)
    monkeypatch.setattr(process, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(process, "HEARTBEAT_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(process, "CHECKPOINT_SECONDS", 0.0)
    calls = fail_once(monkeypatch, process.LiveTurns, step)
    demo.will_say("a", demo.hold(), "b")
    sending = gevent.spawn(api.send, api.new_chat(), "Hi")
    until(lambda: demo.requests)
    if step == "_checkpoint":
        until(lambda: stored_content(app) == "a")
    until(lambda: len(calls) > 1)
    demo.release()

    assert sending.get(timeout=30).text == "ab"
    invariants.hold(sqlite_url)


def test_an_answer_that_ends_while_it_is_looked_up_is_shown_as_far_as_it_was_heard(app, api, demo, monkeypatch):
    """The rows are from before the end, and the turn is no longer worked on; its log still has the text."""
    from chatapp.chats.models import Chat

    rows = Chat.branch

    def slow(chat, *arguments):
        found = rows(chat, *arguments)
        if found and demo.requests:
            demo.release()
            until(lambda: not app.extensions["live_turns"].open_count())
        return found

    chat = api.new_chat()
    demo.will_say("so far", demo.hold(), " and on")
    api.send(chat, "Hi", pieces=1)
    monkeypatch.setattr(Chat, "branch", slow)

    assert [api.messages(chat)[1]["content"] for _ in range(2)] == ["so far and on"] * 2


# What is left behind


@pytest.mark.parametrize("turns", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_turns_cut_at_random_leave_nothing_behind(app, api, demo, monkeypatch, sqlite_url, turns):
    seed = random.randrange(10**6)
    monkeypatch.setattr("chatapp.turns.live.log.KEPT_SECONDS", 0.0)
    chance = random.Random(seed)
    chat, service = api.new_chat(), app.extensions["live_turns"]
    api.send(chat, "warm up")
    with app.app_context(), write():
        db.session.execute(db.update(process.UserUsage).values(token_limit=10**9))
    with invariants.nothing_grows(app):
        for number in range(turns):
            demo.will_say(*(f"{word} " for word in range(chance.randint(1, 9))))
            heard = api.send(chat if number % 50 else (chat := api.new_chat()), "Hi", pieces=chance.randint(0, 9))
            if chance.random() < 0.3:
                api.ask(chat, "", last_event_id=heard.ids[-1], pieces=chance.randint(0, 3))
            until(lambda: not service.open_count())
    until(lambda: not service._log._logs)
    assert (len(service.listeners), len(service._remote), service._beginning) == (0, 0, 0), f"seed {seed}"
    assert service._workers == set()
