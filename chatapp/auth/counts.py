"""Expiring counters for failed sign-ins and pauses, in memory or in Redis."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from chatapp.kernel.redis import SoftRedis, pipeline

MAX_ENTRIES = 20_000


class Counts(Protocol):
    def add(self, key: str, seconds: int) -> int:
        """Increment and return the count. It expires this many seconds after the first increment."""
        ...

    def get(self, key: str) -> int: ...

    def take(self, key: str) -> int:
        """Return the count and clear it."""
        ...

    def hold(self, key: str, seconds: int) -> None:
        """Hold a key for this many seconds from now."""

    def held_seconds(self, key: str) -> int:
        """Return how many seconds a key is still held; 0 if it is not."""
        ...


class MemoryCounts:
    """Counters of this process. The least recently updated are evicted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def add(self, key: str, seconds: int) -> int:
        number, until = self._read(key)
        self._write(key, number + 1, until if number else self._clock() + seconds)
        return number + 1

    def get(self, key: str) -> int:
        return self._read(key)[0]

    def take(self, key: str) -> int:
        number = self.get(key)
        self._entries.pop(key, None)
        return number

    def hold(self, key: str, seconds: int) -> None:
        self._write(key, 1, self._clock() + seconds)

    def held_seconds(self, key: str) -> int:
        number, until = self._read(key)
        return int(until - self._clock()) + 1 if number else 0

    def _read(self, key: str) -> tuple[int, float]:
        number, until = self._entries.get(key, (0, 0.0))
        return (number, until) if until > self._clock() else (0, 0.0)

    def _write(self, key: str, number: int, until: float) -> None:
        self._entries[key] = number, until
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)


class RedisCounts:
    """Counters shared by all processes. While Redis is down nothing is counted; per-minute limits use memory."""

    def __init__(self, client: SoftRedis) -> None:
        self._redis = client

    def add(self, key: str, seconds: int) -> int:
        def commands(batch: Any) -> None:
            batch.incr(_name(key))
            batch.expire(_name(key), seconds, nx=True)

        return int(self._redis.call(lambda client: pipeline(client, commands)[0], 0))

    def get(self, key: str) -> int:
        return int(self._redis.call(lambda client: client.get(_name(key)), 0) or 0)

    def take(self, key: str) -> int:
        return int(self._redis.call(lambda client: client.getdel(_name(key)), 0) or 0)

    def hold(self, key: str, seconds: int) -> None:
        self._redis.call(lambda client: client.set(_name(key), 1, ex=seconds), None)

    def held_seconds(self, key: str) -> int:
        return max(0, int(self._redis.call(lambda client: client.ttl(_name(key)), 0)))


def _name(key: str) -> str:
    return f"chat:tries:{key}"
