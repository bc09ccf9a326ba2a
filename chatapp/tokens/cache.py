"""Cached counts. Keys are digests, never texts; system prompts are cached separately.

An entry is keyed by the layer that made it, so that an estimate is never served as an exact count.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, Protocol

from chatapp.kernel.redis import SoftRedis, pipeline

Kind = Literal["text", "system"]


def cache_key(model: str, method: str, text: str) -> str:
    return hashlib.sha256(f"{model}\0{method}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


class CountCache(Protocol):
    def get(self, kind: Kind, key: str) -> int | None: ...

    def put(self, kind: Kind, key: str, tokens: int) -> None: ...

    def note(self, is_hit: bool) -> None:
        """Add a look-up to the statistics."""

    def clear(self) -> None: ...

    def stats(self) -> dict[str, Any]:
        """Return system_prompt_cache_entries, text_token_cache_entries, hits, misses, evictions, backend."""
        ...


class MemoryCache:
    """The least recently used counts of this process."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._entries: dict[Kind, OrderedDict[str, int]] = {"text": OrderedDict(), "system": OrderedDict()}
        self._hits = self._misses = self._evictions = 0

    def note(self, is_hit: bool) -> None:
        self._hits += is_hit
        self._misses += not is_hit

    def get(self, kind: Kind, key: str) -> int | None:
        entries = self._entries[kind]
        tokens = entries.get(key)
        if tokens is not None:
            entries.move_to_end(key)
        return tokens

    def put(self, kind: Kind, key: str, tokens: int) -> None:
        entries = self._entries[kind]
        entries[key] = tokens
        entries.move_to_end(key)
        if len(entries) > self._max_entries:
            entries.popitem(last=False)
            self._evictions += 1

    def clear(self) -> None:
        for entries in self._entries.values():
            entries.clear()

    def stats(self) -> dict[str, Any]:
        return {
            "system_prompt_cache_entries": len(self._entries["system"]),
            "text_token_cache_entries": len(self._entries["text"]),
            "hits": self._hits,
            "misses": self._misses,
            "evictions": self._evictions,
            "backend": "memory",
        }


class RedisCache:
    """Counts shared by all processes. If Redis is down, only hits are lost: texts are counted again.

    Each kind has an index of its keys by the time of their last use: it bounds their number. Entries expire, so what
    comes back after an outage is never older than that.
    """

    TTL_SECONDS = 7 * 24 * 3600
    STATS = "chat:count:stats"

    def __init__(self, client: SoftRedis, max_entries: int, clock: Callable[[], float] = time.time) -> None:
        self._redis = client
        self._max_entries = max_entries
        self._clock = clock

    def get(self, kind: Kind, key: str) -> int | None:
        def ask(batch: Any) -> None:
            batch.get(f"chat:count:{kind}:{key}")
            batch.zadd(_index(kind), {key: self._clock()}, xx=True)

        replies = self._redis.call(lambda client: pipeline(client, ask), None)
        found = replies[0] if replies else None
        return int(found) if found is not None and found.isdigit() else None

    def put(self, kind: Kind, key: str, tokens: int) -> None:
        def store(client: Any) -> None:
            def commands(batch: Any) -> None:
                batch.set(f"chat:count:{kind}:{key}", tokens, ex=self.TTL_SECONDS)
                batch.zadd(_index(kind), {key: self._clock()})
                batch.zremrangebyscore(_index(kind), 0, self._clock() - self.TTL_SECONDS)
                batch.zcard(_index(kind))

            entries = pipeline(client, commands)[-1]
            if entries > self._max_entries:
                self._evict(client, kind, entries - self._max_entries)

        self._redis.call(store, None)

    def _evict(self, client: Any, kind: Kind, count: int) -> None:
        oldest = [key.decode() for key, _used_at in client.zpopmin(_index(kind), count)]

        def commands(batch: Any) -> None:
            batch.delete(*[f"chat:count:{kind}:{key}" for key in oldest])
            batch.hincrby(self.STATS, "evictions", len(oldest))

        if oldest:
            pipeline(client, commands)

    def note(self, is_hit: bool) -> None:
        self._redis.call(lambda client: client.hincrby(self.STATS, "hits" if is_hit else "misses", 1), 0)

    def clear(self) -> None:
        def delete(client: Any) -> None:
            for kind in ("text", "system"):
                while keys := client.zrange(_index(kind), 0, 999):
                    names = [f"chat:count:{kind}:{key.decode()}" for key in keys]
                    client.zrem(_index(kind), *keys)
                    client.delete(*names)

        self._redis.call(delete, None)

    def stats(self) -> dict[str, Any]:
        def ask(batch: Any) -> None:
            batch.zcard(_index("system"))
            batch.zcard(_index("text"))
            batch.hgetall(self.STATS)

        nothing: list[Any] = [0, 0, {}]
        system, text, counted = self._redis.call(lambda client: pipeline(client, ask), nothing)
        figures = {name.decode(): int(value) for name, value in counted.items()}
        return {
            "system_prompt_cache_entries": system,
            "text_token_cache_entries": text,
            "hits": figures.get("hits", 0),
            "misses": figures.get("misses", 0),
            "evictions": figures.get("evictions", 0),
            "backend": "redis",
        }


def _index(kind: Kind) -> str:
    return f"chat:count:{kind}"
