"""Redis is down, dies, hangs, is flushed, is full and comes back: it costs other processes some freshness, nothing else."""

import statistics
import time

import gevent
import pytest
import redis

from chatapp.exchanges import recovery as leases
from chatapp.kernel import redis as kernel_redis
from chatapp.turns.live import process
from tests.conftest import make_user
from tests.faults.invariants import hold
from tests.faults.stores.conftest import TEXT
from tests.servers import free_port
from tests.streams import Api, read, until

pytestmark = [pytest.mark.postgresql, pytest.mark.redis]

SLOWEST_SECONDS = 0.25


@pytest.fixture
def pair(make_app, postgresql_url, redis_store):
    """The same person's programs before two applications that share a Redis of this test's own."""
    apps = [make_app(postgresql_url, redis_url=redis_store.url) for _ in range(2)]
    person = make_user(apps[0], "ada@example.org")
    return [Api(app, person) for app in apps]


@pytest.fixture
def calls(monkeypatch):
    """How long each call to Redis took that was made, in seconds."""
    made, call = [], kernel_redis.SoftRedis.call

    def timed(self, ask, default):
        def measured(client):
            began = time.monotonic()
            try:
                return ask(client)
            finally:
                made.append(time.monotonic() - began)

        return call(self, measured, default)

    monkeypatch.setattr(kernel_redis.SoftRedis, "call", timed)
    return made


def resume(api, said, position):
    headers = {"Accept": "text/event-stream", "Last-Event-ID": position}
    return read(api.call("GET", f"/chat/{said.chat}/message", headers=headers))


def beginning(api):
    [turn_id] = api.client.application.extensions["live_turns"]._runs
    return f"{turn_id}:0"


def test_without_redis_from_the_start_everything_works(make_app, postgresql_url, half_said, ends_well):
    app = make_app(postgresql_url, redis_url=f"redis://127.0.0.1:{free_port()}", rate_limits=True)
    api = Api(app, make_user(app, "ada@example.org"))
    said = half_said(api)

    said.go_on()

    ends_well(api, postgresql_url, said.chat, said.heard())
    assert api.call("GET", "/chat/token-stats").get_json()["total_cache_entries"] == 0
    assert api.call("POST", "/tokens/estimate", json={"text": "Hi"}).get_json()["tokens"] > 0


def test_an_answer_outlives_redis_here_and_in_the_other_process(
    pair, redis_store, postgresql_url, half_said, ends_well
):
    said = half_said(pair[0])
    there = gevent.spawn(resume, pair[1], said, beginning(pair[0]))
    gevent.sleep(0.3)

    redis_store.kill()
    said.go_on()

    ends_well(pair[0], postgresql_url, said.chat, said.heard())
    ends_well(pair[1], postgresql_url, said.chat, there.get(timeout=30))


def test_redis_that_hangs_costs_a_moment_and_then_nothing(
    pair, redis_store, postgresql_url, half_said, ends_well, calls
):
    said = half_said(pair[0])
    there = gevent.spawn(resume, pair[1], said, beginning(pair[0]))
    gevent.sleep(0.3)
    calls.clear()

    with redis_store.paused():
        said.go_on()
        heard = said.heard()
        usual = statistics.median(calls)
        ends_well(pair[1], postgresql_url, said.chat, there.get(timeout=30))
        ends_well(pair[0], postgresql_url, said.chat, heard)
        calls.clear()
        began = time.monotonic()
        assert pair[0].send(pair[0].new_chat(), "Hi").final["done"]
        tried = len(calls)

    # The breaker is open, and lets one through every two seconds.
    assert tried <= 2 + (time.monotonic() - began) / kernel_redis.COOL_SECONDS
    assert usual <= SLOWEST_SECONDS


def test_request_limits_go_on_without_a_redis_that_hangs(make_app, postgresql_url, redis_store, monkeypatch):
    app = make_app(postgresql_url, redis_url=redis_store.url, rate_limits=True, sends_per_minute=3)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)  # A window does not end within the test.
    api = Api(app, make_user(app, "ada@example.org"))
    chat = api.new_chat()

    with redis_store.paused():
        statuses = [api.send(chat, f"Hi {number}").status for number in range(5)]

    assert statuses == [200, 200, 200, 429, 429]


def test_a_living_turn_is_not_taken_for_dead_while_redis_hangs(
    pair, redis_store, postgresql_url, half_said, ends_well, monkeypatch
):
    monkeypatch.setattr(leases, "LEASE", leases.LEASE / 10)
    for name in ("HEARTBEAT_EVERY_SECONDS", "SWEEP_SECONDS", "TRUST_SECONDS", "PULSE_SECONDS"):
        monkeypatch.setattr(process, name, getattr(process, name) / 10)
    said = half_said(pair[0])
    pair[1].client.application.extensions["live_turns"].start()

    with redis_store.paused():
        gevent.sleep(leases.LEASE.total_seconds() * 2)
        said.go_on()
        heard = said.heard()

    ends_well(pair[0], postgresql_url, said.chat, heard)


@pytest.mark.parametrize("had", [0, 7, 17])
def test_a_flush_between_cut_and_return_leaves_no_hole(
    pair, redis_store, postgresql_url, half_said, ends_well, demo, had
):
    said = half_said(pair[0])
    position = beginning(pair[0]).replace(":0", f":{had}")
    with redis.Redis.from_url(redis_store.url) as client:
        until(lambda: client.keys("chat:turn:*:text"))
        client.flushall()

    there = gevent.spawn(resume, pair[1], said, position)
    gevent.sleep(0.3)
    said.go_on()

    heard = there.get(timeout=30)
    assert heard.text == (TEXT if heard.resets else TEXT[had:])
    ends_well(pair[0], postgresql_url, said.chat, said.heard())
    assert len(demo.requests) == 1


def test_a_full_redis_is_as_good_as_none(pair, redis_store, postgresql_url, half_said, ends_well):
    said = half_said(pair[0])
    there = gevent.spawn(resume, pair[1], said, beginning(pair[0]))
    with redis.Redis.from_url(redis_store.url) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.OutOfMemoryError):
            client.set("one", "more")

    said.go_on()

    ends_well(pair[0], postgresql_url, said.chat, said.heard())
    ends_well(pair[1], postgresql_url, said.chat, there.get(timeout=30))


def test_redis_that_comes_back_leaves_no_hole_and_serves_no_old_count(
    pair, redis_store, postgresql_url, half_said, ends_well, demo, monkeypatch
):
    monkeypatch.setattr(kernel_redis, "COOL_SECONDS", 0.2)
    demo.count_rule = lambda text: 100
    assert pair[0].call("POST", "/tokens/estimate", json={"text": "Hi"}).get_json()["tokens"] == 100
    said = half_said(pair[0])
    there = gevent.spawn(resume, pair[1], said, beginning(pair[0]))
    gevent.sleep(0.3)

    redis_store.kill()
    said.third.set()
    gevent.sleep(1)
    redis_store.start()
    demo.count_rule = lambda text: 200
    with redis.Redis.from_url(redis_store.url) as client:
        until(lambda: client.keys("chat:turn:*:text"))
    said.end.set()

    ends_well(pair[0], postgresql_url, said.chat, said.heard())
    ends_well(pair[1], postgresql_url, said.chat, there.get(timeout=30))
    assert pair[1].call("POST", "/tokens/estimate", json={"text": "Hi"}).get_json()["tokens"] == 200
    hold(postgresql_url)
