"""Counts that are remembered: bounded, by digest, system prompts apart; in Redis shared, and lost without harm."""

import signal

import gevent
import pytest
import redis

from chatapp.kernel.config import load
from chatapp.kernel.redis import COOL_SECONDS, SoftRedis
from chatapp.providers.registry import Providers
from chatapp.tokens.cache import MemoryCache, RedisCache, cache_key
from chatapp.tokens.count import Counter
from tests import servers

MODEL = "scripted"
SECRET_TEXT = "the launch code is 4711"


class Clock:
    seconds = 1_000_000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_cache(request, clock):
    """Make a cache of each kind: make_cache(max_entries)."""
    if request.param == "memory":
        return MemoryCache
    url = request.getfixturevalue("redis_url")
    return lambda max_entries: RedisCache(SoftRedis(url, clock), max_entries, clock)


both = pytest.mark.parametrize("make_cache", ["memory", pytest.param("redis", marks=pytest.mark.redis)], indirect=True)


@both
def test_what_was_put_is_there_and_system_prompts_are_apart(make_cache):
    cache = make_cache(10)
    cache.put("text", "k", 3)
    cache.put("system", "k", 0)

    assert (cache.get("text", "k"), cache.get("system", "k"), cache.get("text", "other")) == (3, 0, None)
    stats = cache.stats()
    assert (stats["text_token_cache_entries"], stats["system_prompt_cache_entries"]) == (1, 1)


@both
def test_the_least_recently_used_count_goes_first(make_cache, clock):
    cache = make_cache(2)
    for key in ("a", "b"):
        clock.seconds += 1
        cache.put("text", key, 1)
    clock.seconds += 1
    cache.get("text", "a")
    clock.seconds += 1
    cache.put("text", "c", 1)

    assert [cache.get("text", key) for key in "abc"] == [1, None, 1]
    assert (cache.stats()["evictions"], cache.stats()["text_token_cache_entries"]) == (1, 2)


@both
def test_it_never_holds_more_than_its_bound(make_cache, clock):
    cache = make_cache(5)
    for number in range(30):
        clock.seconds += 1
        cache.put("text", str(number), number)

    assert cache.stats()["text_token_cache_entries"] == 5
    assert [cache.get("text", str(number)) for number in (0, 24, 25, 29)] == [None, None, 25, 29]


@both
def test_a_cleared_cache_is_empty_and_goes_on(make_cache):
    cache = make_cache(10)
    cache.put("text", "k", 3)
    cache.put("system", "k", 3)
    cache.clear()

    assert (cache.get("text", "k"), cache.stats()["system_prompt_cache_entries"]) == (None, 0)
    cache.put("text", "k", 4)
    assert cache.get("text", "k") == 4


@both
def test_hits_and_misses_make_the_rate(make_cache, demo):
    counter = Counter(Providers([demo]), make_cache(10), load())
    for text in ("one", "one", "one", "two"):
        counter.count(MODEL, text)

    stats = counter.stats()
    assert (stats["hits"], stats["misses"], stats["hit_rate"], stats["total_cache_entries"]) == (2, 2, 0.5, 2)


def test_a_key_tells_model_method_and_text_apart_and_holds_none_of_them():
    keys = {
        cache_key(*parts) for parts in [("m", "api", "t"), ("n", "api", "t"), ("m", "local", "t"), ("m", "api", "u")]
    }

    assert len(keys) == 4
    assert all(len(key) == 64 and SECRET_TEXT not in key for key in keys)


def test_an_estimate_is_never_served_as_a_count(demo):
    counter = Counter(Providers([demo]), MemoryCache(10), load())
    assert counter.count(MODEL, "Hello").method == "estimate"
    demo.count_rule = lambda text: 42

    count = counter.count(MODEL, "Hello")

    assert (count.tokens, count.method, count.is_cached) == (42, "api", False)


@pytest.mark.redis
def test_processes_share_counts_which_expire_and_hold_no_text(redis_url, demo):
    counters = [Counter(Providers([demo]), RedisCache(SoftRedis(redis_url), 10), load()) for _ in range(2)]
    demo.count_rule = lambda text: 42
    counters[0].count(MODEL, SECRET_TEXT, "system")

    assert counters[1].count(MODEL, SECRET_TEXT, "system").is_cached
    assert demo.counted == [SECRET_TEXT]
    with redis.Redis.from_url(redis_url) as raw:
        [key] = raw.keys("chat:count:system:*")
        assert 0 < raw.ttl(key) <= RedisCache.TTL_SECONDS
        assert not any(b"4711" in name for name in raw.keys("*"))


@pytest.mark.redis
def test_a_flushed_redis_and_a_strange_value_cost_a_hit_and_no_more(redis_url, demo):
    cache = RedisCache(SoftRedis(redis_url), 10)
    counter = Counter(Providers([demo]), cache, load())
    first = counter.count(MODEL, "Hello")
    with redis.Redis.from_url(redis_url) as raw:
        raw.flushdb()
        assert counter.count(MODEL, "Hello") == first
        for key in raw.keys("chat:count:text:*"):
            raw.set(key, "not a number")

    assert counter.count(MODEL, "Hello") == first


@pytest.mark.redis
@pytest.mark.parametrize("fault", ["down", "hung"])
def test_a_redis_that_is_gone_costs_hits_only_and_comes_back_by_itself(start, tmp_path, demo, clock, fault):
    recipe = servers.redis(tmp_path)
    process = start(recipe)
    counter = Counter(Providers([demo]), RedisCache(SoftRedis(recipe.url, clock), 10), load())
    counter.count(MODEL, "Hello")
    process.kill() if fault == "down" else process.send(signal.SIGSTOP)

    with gevent.Timeout(5):
        lost = [counter.count(MODEL, "Hello").is_cached for _ in range(50)]
    start(recipe) if fault == "down" else process.send(signal.SIGCONT)
    clock.seconds += COOL_SECONDS
    counter.count(MODEL, "Hello")

    assert lost == [False] * 50
    assert counter.count(MODEL, "Hello").is_cached
