"""The turn log: text, offsets, and listeners who share a beat. In memory and with Redis behind it alike."""

from uuid import uuid4

import gevent
import pytest

from chatapp.kernel.redis import SoftRedis
from chatapp.turns.live.log import MAX_THOUGHT_CHARS, Beats, Ending, MemoryLog, Piece, Thought, TurnLog
from chatapp.turns.live.redis_log import RedisLog
from tests.streams import until

DONE = Ending("completed", uuid4(), 12, 88, "estimate", "stop")


BOTH = ["memory", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(params=BOTH)
def make_logs(request):
    """Make the logs of one process; those made by one test with Redis share it."""
    made = []

    def make(**options):
        if request.param == "redis":
            client = SoftRedis(request.getfixturevalue("redis_url"))
            made.append(RedisLog(client, **options))
        else:
            made.append(MemoryLog(**options))
        return made[-1]

    yield make
    for logs in made:
        logs.close()


@pytest.fixture
def log(make_logs):
    return make_logs(beats=Beats(lambda seconds: gevent.sleep(0.005))).open(uuid4())


def heard_of(log: TurnLog, offset: int = 0):
    return list(log.follow(offset, tick_seconds=0.01))


def text_of(heard):
    return "".join(item.text for item in heard if isinstance(item, Piece))


def test_a_listener_hears_what_was_said_before_it_came_and_what_comes_after(log):
    log.append("one")
    listener = gevent.spawn(heard_of, log)
    gevent.sleep(0)
    log.append(" two")
    log.end(DONE)

    assert text_of(listener.get()) == "one two"


def test_the_ending_is_the_last_thing_that_is_heard(log):
    log.append("one")
    log.end(DONE)

    assert heard_of(log) == [Piece("one", 3), DONE]


@pytest.mark.parametrize("offset", range(8))
def test_a_listener_that_returns_gets_exactly_the_rest(log, offset):
    log.append("𝄞 é\n漢字x")
    log.end(DONE)

    assert text_of(heard_of(log, offset)) == "𝄞 é\n漢字x"[offset:]


def test_a_listener_that_is_further_than_the_text_is_told_to_start_over(log):
    log.append("short")
    log.end(DONE)

    assert heard_of(log, 99)[0] == Piece("short", 5, reset=True)


def test_a_copy_that_is_behind_its_listener_waits_until_it_has_caught_up():
    copy = TurnLog(is_copy=True)
    copy.append("one")
    listener = gevent.spawn(heard_of, copy, 5)
    gevent.sleep(0)
    copy.append(" two")
    copy.end(DONE)

    assert listener.get() == [Piece("wo", 7), DONE]


def test_a_copy_that_ends_behind_its_listener_starts_over():
    copy = TurnLog(is_copy=True)
    listener = gevent.spawn(heard_of, copy, 5)
    gevent.sleep(0)
    copy.append("one")
    copy.end(DONE)

    assert listener.get() == [Piece("one", 3, reset=True), DONE]


def test_the_first_piece_goes_out_at_once_and_what_follows_within_a_beat_goes_together():
    beat = gevent.event.Event()
    log = TurnLog(Beats(lambda seconds: beat.wait()))
    heard = []
    gevent.spawn(lambda: heard.extend(log.follow(tick_seconds=0.02)))
    gevent.sleep(0)
    log.append("a")
    gevent.sleep(0)
    gevent.sleep(0)
    assert heard == [Piece("a", 1)]

    log.append("b")
    log.append("c")
    gevent.sleep(0)
    assert len(heard) == 1
    beat.set()
    gevent.sleep(0.01)

    assert heard[1:] == [Piece("bc", 3)]


def test_a_silent_turn_asks_for_a_heartbeat(log):
    listener = log.follow(heartbeat_seconds=0.01)

    assert next(listener) is None
    log.append("x")
    assert next(listener) == Piece("x", 1)


def test_listeners_that_leave_are_forgotten(log):
    for with_thoughts in [True, False] * 50:
        next(log.follow(heartbeat_seconds=0.0001, with_thoughts=with_thoughts))
    log.append("x")

    assert not any(log._waiting.values())
    assert not any(log._waiting_for_thoughts.values())


def test_who_asks_for_thoughts_hears_them_and_nobody_else(log):
    heard, without = [], []
    log.think("Let me ")
    listeners = [gevent.spawn(heard.extend, log.follow(with_thoughts=True)), gevent.spawn(without.extend, log.follow())]
    until(lambda: heard)
    log.think("see.")
    until(lambda: len(heard) == 2)
    log.append("Yes.")
    log.end(DONE)
    gevent.joinall(listeners)

    assert heard == [Thought("Let me "), Thought("see."), Piece("Yes.", 4), DONE]
    assert without == [Piece("Yes.", 4), DONE]


def test_the_first_word_of_the_answer_does_not_wait_with_the_thoughts():
    log = TurnLog(Beats(lambda seconds: gevent.event.Event().wait()))
    log.think("Hm.")
    listener = log.follow(with_thoughts=True)
    next(listener)
    waiting = gevent.spawn(next, listener)
    gevent.sleep(0)
    log.think(" Well.")
    log.append("Yes")

    assert waiting.get(timeout=10) == Thought(" Well.")
    assert next(listener) == Piece("Yes", 3)


def test_a_model_that_thinks_keeps_no_heartbeat_from_who_hears_the_text_alone(log):
    def think_on():
        while True:
            log.think("x")
            gevent.sleep(0)

    thinking = gevent.spawn(think_on)
    with gevent.Timeout(10):
        assert next(log.follow(heartbeat_seconds=0.01)) is None
    thinking.kill()


def test_thoughts_without_end_are_cut_off(log):
    for _ in range(3):
        log.think("x" * (MAX_THOUGHT_CHARS // 2 + 1))

    assert len(log.thoughts) == MAX_THOUGHT_CHARS


def test_an_ended_turn_leaves_the_memory_after_a_while(make_logs):
    later = []
    logs = make_logs(spawn_later=lambda seconds, forget, *what: later.append(lambda: forget(*what)))
    turn_id = uuid4()
    logs.open(turn_id)
    logs.end(turn_id, DONE)
    assert logs.get(turn_id) is not None

    later[0]()

    assert logs.get(turn_id) is None
