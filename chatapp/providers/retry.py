"""Retries, but only as long as nobody has seen any output."""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Iterator

import gevent

from chatapp.kernel.errors import ProviderError
from chatapp.providers.base import ChatRequest, Chunk, Provider

BASE_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 30.0

OnRetry = Callable[[ProviderError, int, float], object]


def stream_with_retries(
    provider: Provider,
    request: ChatRequest,
    *,
    tries: int = 3,
    sleep: Callable[[float], object] = gevent.sleep,
    random: Callable[[], float] = _random.random,
    on_retry: OnRetry | None = None,
) -> Iterator[Chunk]:
    """Yield a provider's answer, asking again while it fails before its first piece, text or thought.

    After the first piece nothing is retried: it would be billed twice and repeat itself. on_retry is called with the
    error, the number of attempts so far and the wait in seconds. A failed attempt's usage may come before the next
    one's; it is cumulative, so the last one counts. Raises what the last attempt raised.
    """
    for tried in range(1, tries + 1):
        has_piece = False
        answer = provider.stream(request)
        try:
            for chunk in answer:
                has_piece = has_piece or bool(chunk.delta or chunk.thought)
                yield chunk
            return
        except ProviderError as error:
            wait_seconds = _wait_seconds(error, tried, random)
            if has_piece or tried == tries or wait_seconds is None:
                raise
            if on_retry is not None:
                on_retry(error, tried, wait_seconds)
        finally:
            close = getattr(answer, "close", None)
            if close is not None:
                close()
        sleep(wait_seconds)


def _wait_seconds(error: ProviderError, tried: int, random: Callable[[], float]) -> float | None:
    """Return how long to wait before the next attempt, None if another attempt makes no sense."""
    asked_seconds = error.retry_after_seconds or 0.0
    if not error.can_retry or asked_seconds > MAX_RETRY_AFTER_SECONDS:
        return None
    backoff_seconds = min(BASE_SECONDS * 2 ** (tried - 1), MAX_BACKOFF_SECONDS)
    # Jitter between half and full, so that turns refused together do not retry together.
    return max(backoff_seconds * (1 + random()) / 2, asked_seconds)
