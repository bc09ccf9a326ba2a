"""Redis as an optional service: every call is short, and after a few failures calls stop for a moment.

Everything read from it is available some other way, so a failure costs a cache hit or some freshness, never a request.
With the client's defaults, a call would block for 57 seconds when Redis hangs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.2
FAILURES_TO_OPEN = 3
COOL_SECONDS = 2.0

T = TypeVar("T")


def soft_options() -> dict[str, Any]:
    """Return client options for short calls. A connection that died while idle is replaced once.

    A call that timed out is not repeated: it would take as long again.
    """
    return {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    }


class SoftRedis:
    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=32,
            timeout=TIMEOUT_SECONDS,
            **soft_options(),
        )
        self._client = redis.Redis(connection_pool=pool)
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0

    def call(self, ask: Callable[[Any], T], default: T) -> T:
        """Return the result of ask, or default if Redis is down, slow or overloaded, or has just been."""
        if self._clock() < self._closed_until:
            return default
        try:
            value = ask(self._client)
        except (redis.RedisError, OSError) as error:
            self._note_failure(error)
            return default
        self._failures = 0
        return value

    def _note_failure(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._closed_until = self._clock() + COOL_SECONDS
        if self._failures == FAILURES_TO_OPEN:
            logger.warning("Redis does not respond; continuing without it: %s", type(error).__name__)

    def close(self) -> None:
        self._client.connection_pool.disconnect()


def warn_if_silent(url: str) -> None:
    """Warn at startup if Redis does not respond. Later warnings come only when it is needed."""
    with redis.Redis.from_url(url, **soft_options()) as client:
        try:
            client.ping()
        except (redis.RedisError, OSError) as error:
            logger.warning("Redis does not respond; continuing without it. Is REDIS_URL right? %s", error)


def pipeline(client: redis.Redis, commands: Callable[[Any], None]) -> list[Any]:
    """Send commands in one go and return their replies. Raises RedisError if one of them fails."""
    with client.pipeline(transaction=False) as batch:
        commands(batch)
        replies: list[Any] = batch.execute()
    return replies
