"""Counting texts: with the provider's own counter, otherwise a local tokenizer, otherwise an estimate.

A count that fails or is late never fails a turn: the next layer counts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import gevent
from flask import current_app

from chatapp.kernel.config import Settings
from chatapp.kernel.errors import ChatAppError
from chatapp.tokens import estimate
from chatapp.tokens.cache import CountCache, Kind, cache_key
from chatapp.tokens.local import LocalTokenizer

logger = logging.getLogger(__name__)

Method = Literal["api", "local", "estimate"]
STRENGTH = {"api": 2, "local": 1, "estimate": 0}


@dataclass(frozen=True, slots=True)
class TokenCount:
    tokens: int
    method: Method
    is_cached: bool = False


# The empty text has no tokens by definition, so it weakens no sum.
EMPTY = TokenCount(0, "api", True)


class CountsTokens(Protocol):
    def count_tokens(self, model: str, text: str) -> int | None:
        """Return a model's own count of a text; None if it has no counter."""
        ...


class KnowsModels(Protocol):
    def for_model(self, model_id: str) -> CountsTokens:
        """Return a model's provider. Raises InvalidRequest for an unknown model."""
        ...


class Counter:
    """Counts for this process. Providers, cache and tokenizer are chosen in create_app."""

    def __init__(
        self, providers: KnowsModels, cache: CountCache, settings: Settings, local: LocalTokenizer | None = None
    ) -> None:
        self._providers = providers
        self._cache = cache
        self._settings = settings
        self._local = local
        self._layers: tuple[Method, ...] = ("api", "local", "estimate") if local else ("api", "estimate")

    def count(self, model: str, text: str, kind: Kind = "text") -> TokenCount:
        """Return a text's tokens for a model and the method that counted them."""
        if not text:
            return EMPTY
        for method in self._layers:
            key = cache_key(model, self._source(method), text)
            cached = self._cache.get(kind, key)
            if cached is not None:
                self._cache.note(is_hit=True)
                return TokenCount(cached, method, True)
            tokens = self._count_by(method, model, text)
            if tokens is not None:
                self._cache.note(is_hit=False)
                self._cache.put(kind, key, tokens)
                return TokenCount(tokens, method)
        raise AssertionError("the estimate always counts")

    def count_all(self, model: str, texts: dict[str, str], system: str = "") -> dict[str, TokenCount]:
        """Count texts and the system prompt in parallel; the result has the texts' names and "system"."""
        jobs = {name: gevent.spawn(self.count, model, text) for name, text in texts.items()}
        jobs["system"] = gevent.spawn(self.count, model, system, "system")
        gevent.joinall(list(jobs.values()))
        return {name: job.get() for name, job in jobs.items()}

    def estimate(self, text: str) -> int:
        """Estimate with the configured estimator (TOKEN_ESTIMATOR); never waits."""
        if self._settings.token_estimator == "calibrated":
            return estimate.calibrated(text)
        return estimate.seed(
            text,
            chars_per_token=self._settings.estimate_chars_per_token,
            special_factor=self._settings.estimate_special_factor,
            buffer=self._settings.estimate_buffer,
        )

    def stats(self) -> dict[str, Any]:
        """Return the figures of GET /api/chat/token-stats."""
        stats = self._cache.stats()
        stats["total_cache_entries"] = stats["system_prompt_cache_entries"] + stats["text_token_cache_entries"]
        looked_up = stats["hits"] + stats["misses"]
        return stats | {"hit_rate": round(stats["hits"] / looked_up, 4) if looked_up else 0.0}

    def clear(self) -> None:
        self._cache.clear()

    def _count_by(self, method: Method, model: str, text: str) -> int | None:
        if method == "estimate":
            return self.estimate(text)
        try:
            with gevent.Timeout(self._settings.count_seconds, False):
                if method == "local" and self._local:
                    return self._local.count(text)
                return self._providers.for_model(model).count_tokens(model, text)
        except ChatAppError as error:
            logger.info("The provider could not count a text: %s", error.code)
        except Exception:
            # A counter that fails unexpectedly must not keep a turn from being settled.
            logger.exception("A text could not be counted: %s", method)
        return None

    def _source(self, method: Method) -> str:
        """Name what counts, for the cache key."""
        if method == "local" and self._local:
            return f"local {self._local.name}"
        # A different formula gives a different number.
        return f"estimate {self._settings.token_estimator}" if method == "estimate" else method


def weakest(counts: list[TokenCount]) -> Method:
    """Return the least exact method among counts: a sum is only as good as its weakest part."""
    return min((count.method for count in counts), key=STRENGTH.__getitem__)


def counter() -> Counter:
    """Return the counter of the running application."""
    found: Counter = current_app.extensions["counter"]
    return found
