"""Numbers that are forgotten after a while, kept in memory or in Redis: failed tries and pauses."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from chatapp.kernel.redis import SoftRedis, pipeline

MAX_ENTRIES = 20_000


class Counts(Protocol):
    def add(self, key: str, seconds: int) -> int:
        """Count one more and return how many; they are forgotten so many seconds after the first."""
        ...

    def get(self, key: str) -> int: ...

    def take(self, key: str) -> int:
        """Return a number and forget it."""
        ...

    def hold(self, key: str, seconds: int) -> None:
        """Hold something for so long from now on."""

    def held_seconds(self, key: str) -> int:
        """Return how long something is still held; 0 where it is not."""
        ...


class MemoryCounts:
    """Those of this process, the ones used last."""

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
    """Those that all processes share. While Redis is down nothing is counted: the limits a minute hold in memory."""

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
