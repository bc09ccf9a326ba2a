"""The turn log through Redis: what one process writes behind, another reads, whatever Redis loses in between."""

from uuid import uuid4

import gevent
import pytest
import redis

from chatapp.kernel.redis import SoftRedis
from chatapp.turns.live.log import Ending, TurnLog
from chatapp.turns.live.redis_log import EXPIRE_SECONDS, RedisLog, end_key, text_key
from tests.streams import until

pytestmark = pytest.mark.redis
TURN = uuid4()
DONE = Ending("completed", uuid4(), 12, 88, "estimate", "stop")
WORDS = ["Grüße ", "👩‍👩‍👧 ", "e\u0301 ", "漢字\n", "```py\n", "𝄞", "`"]


@pytest.fixture
def raw(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def writer(redis_url):
    logs = RedisLog(SoftRedis(redis_url))
    yield logs
    logs.close()


@pytest.fixture
def reader(redis_url):
    return RedisLog(SoftRedis(redis_url))


@pytest.fixture
def copy():
    return TurnLog(is_copy=True)


def flush(writer):
    writer._write(writer._texts(writer._written))


@pytest.mark.parametrize("part", ["text", "thoughts"])
def test_a_reader_has_what_was_written_whatever_the_size_of_the_pieces(writer, reader, copy, part):
    log = writer.open(TURN)
    for word in WORDS:
        (log.append if part == "text" else log.think)(word)
        flush(writer)
        reader.fetch({TURN: copy})
        assert getattr(copy, part) == getattr(log, part) == reader.stored_text(TURN, part)


def test_with_the_end_a_reader_has_all_of_the_text_and_of_the_thoughts(writer, reader, copy):
    log = writer.open(TURN)
    log.think("".join(WORDS))
    log.append("Yes.")
    writer.end(TURN, DONE)
    reader.fetch({TURN: copy})

    assert (copy.text, copy.thoughts, copy.ending) == ("Yes.", "".join(WORDS), DONE)


def test_of_an_answer_that_began_without_thoughts_none_are_asked_for(writer, reader, raw, copy):
    writer.open(TURN).append("Yes")
    flush(writer)
    reader.fetch({TURN: copy})
    raw.config_resetstat()

    reader.fetch({TURN: copy})

    assert raw.info("commandstats")["cmdstat_getrange"]["calls"] == 1


def test_all_turns_of_a_process_are_written_behind_them_in_one_pipeline(writer, reader, raw, monkeypatch):
    pipelines, call = [], writer._redis.call
    monkeypatch.setattr(writer._redis, "call", lambda ask, default: pipelines.append(ask) or call(ask, default))
    turns = [uuid4() for _ in range(3)]
    for turn_id in turns:
        writer.open(turn_id).append("text")
    assert pipelines == []
    until(lambda: pipelines)
    until(lambda: all(reader.stored_text(turn_id) == "text" for turn_id in turns))

    assert len(pipelines) == 1
    assert all(0 < raw.ttl(text_key(turn_id)) <= EXPIRE_SECONDS for turn_id in turns)


def test_what_is_written_twice_is_there_once(writer, reader, copy):
    log = writer.open(TURN)
    log.append("one")
    flush(writer)
    writer._written[TURN, "text"] = (0, 0)
    log.append(" two")
    flush(writer)
    reader.fetch({TURN: copy})

    assert copy.text == "one two"


@pytest.mark.parametrize("had", range(len("Grüße 👩")))
def test_after_a_flush_a_reader_goes_on_exactly_or_waits(writer, reader, raw, copy, had):
    log = writer.open(TURN)
    log.append("Grüße 👩")
    flush(writer)
    copy.append(log.text[:had])
    raw.flushdb()
    log.append("‍👧 und")
    reader.fetch({TURN: copy})
    assert log.text.startswith(copy.text)

    flush(writer)
    reader.fetch({TURN: copy})
    assert copy.text == log.text
    assert reader.stored_text(TURN) == log.text


def test_a_reader_never_takes_the_hole_that_a_flush_leaves(writer, reader, raw, copy):
    writer.open(TURN).append("0123456789")
    flush(writer)
    copy.append("0123")
    raw.flushdb()
    raw.setrange(text_key(TURN), 10, "abc")
    reader.fetch({TURN: copy})

    assert copy.text == "0123"
    assert reader.stored_text(TURN) == ""


@pytest.mark.parametrize("left", range(7))
def test_a_text_that_was_cut_within_a_character_is_read_up_to_it(writer, reader, raw, copy, left):
    writer.open(TURN).append("aé漢b")
    flush(writer)
    raw.set(text_key(TURN), raw.get(text_key(TURN))[:left])
    reader.fetch({TURN: copy})

    assert copy.text == reader.stored_text(TURN) == "aé漢b".encode()[:left].decode(errors="ignore")


def test_an_end_with_a_text_that_is_not_whole_is_left_to_the_database(writer, reader, raw, copy):
    writer.open(TURN).append("all of it")
    writer.end(TURN, DONE)
    raw.set(text_key(TURN), "all of")
    reader.fetch({TURN: copy})

    assert (copy.text, copy.ending) == ("all of", None)


def test_text_that_came_from_the_database_meanwhile_is_not_added_twice(writer, reader, copy, monkeypatch):
    writer.open(TURN).append("checkpoint and more")
    flush(writer)
    call = reader._redis.call

    def slow(ask, default):
        replies = call(ask, default)
        copy.replace("checkpoint")
        return replies

    monkeypatch.setattr(reader._redis, "call", slow)
    reader.fetch({TURN: copy})
    assert copy.text == "checkpoint"
    monkeypatch.setattr(reader._redis, "call", call)
    reader.fetch({TURN: copy})
    assert copy.text == "checkpoint and more"


def test_listeners_here_hear_the_end_without_waiting_for_redis(writer, monkeypatch):
    log = writer.open(TURN)
    log.append("x")
    hold = gevent.event.Event()
    monkeypatch.setattr(writer._redis, "call", lambda ask, default: hold.wait() and default)
    ending = gevent.spawn(writer.end, TURN, DONE)
    gevent.sleep(0)

    assert list(log.follow())[-1] == DONE
    hold.set()
    ending.get()


def test_what_has_ended_expires_too(writer, raw):
    writer.open(TURN).append("x")
    writer.end(TURN, DONE)

    assert 0 < raw.ttl(end_key(TURN)) <= EXPIRE_SECONDS
