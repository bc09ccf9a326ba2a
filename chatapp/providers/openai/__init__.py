"""Models behind an OpenAI-compatible API: Ollama, vLLM, llama.cpp, LM Studio and the like.

asking.py   what is sent, without what this server rejects
wire.py     what it replies, in every dialect
models.py   which models it has

Source: OpenAI API reference, "Create chat completion" and "The chat completion chunk object", November 2026.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence, Set
from typing import Any
from urllib.parse import urlsplit

import gevent

from chatapp.kernel.config import Settings
from chatapp.kernel.errors import ContentBlocked, ProviderError, ProviderMisconfigured
from chatapp.providers import refusals
from chatapp.providers.base import ChatRequest, Chunk, ModelInfo
from chatapp.providers.event_stream import JsonServer, Patience, Refused, cause_of, most_bytes, network_failure
from chatapp.providers.events import UNREADABLE, parsed
from chatapp.providers.openai.asking import Asking
from chatapp.providers.openai.models import ASSUMED_INPUT_TOKENS, declared_models, info_of, listed_models
from chatapp.providers.openai.wire import Reading
from chatapp.providers.pace import Pace
from chatapp.providers.thoughts import ThoughtSplitter

__all__ = ["OpenAICompatibleProvider", "declared_models"]

logger = logging.getLogger(__name__)

AFTER_FINISH_SECONDS = 10.0  # After a finish reason only the usage may follow.
LIST_SECONDS = 5.0
ASK_AGAIN_SECONDS = 30.0
MOST_THOUGHT_TOKENS = 32_768
# There the key has a header of its own; the other one is for tokens of Microsoft's directory.
AZURE = (".azure.com", ".azure.us", ".azure.cn")


class OpenAICompatibleProvider:
    """Serves one server's models. One per process: it keeps connections and is safe across greenlets.

    Without a configured list of models, the server is asked for one once the process is serving (warm_up), and again
    from time to time while it cannot be reached. Until then a single stand-in represents the server's first model.
    default_model comes first, whether or not the server lists it.
    """

    name = "openai_compatible"

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        connect_seconds: float = 5,
        idle_seconds: float = 60,
        total_seconds: float = 600,
        models: Sequence[ModelInfo] = (),
        default_model: str | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._host = urlsplit(base_url).netloc.rpartition("@")[2]
        self._server = JsonServer(base_url.rstrip("/"), connect_seconds, pace or Pace())
        self._headers = _headers(self._host, api_key) if api_key else {}
        self._idle_seconds = idle_seconds
        self._total_seconds = total_seconds
        self._models = tuple(models)
        self._default_model = default_model
        self._stand_in = ModelInfo(
            "openai-compatible",
            f"First model of {self._host}",
            ASSUMED_INPUT_TOKENS,
            ASSUMED_INPUT_TOKENS,
            has_known_limits=False,
            shares_window=True,
        )
        self._asking: dict[str, Asking] = {}
        self._begin_inside: set[str] = set()
        self._asks_at = float("inf")

    @classmethod
    def from_settings(cls, settings: Settings, known: Set[str] = frozenset()) -> OpenAICompatibleProvider:
        """Take a DEFAULT_MODEL that is not among the known, the ids of models that others offer.

        Raises ValueError naming OPENAI_MODELS.
        """
        chosen = settings.default_model
        return cls(
            settings.openai_base_url or "",
            settings.openai_api_key,
            settings.provider_connect_seconds,
            settings.provider_idle_seconds,
            settings.provider_total_seconds,
            models=declared_models(settings.openai_models),
            default_model=None if chosen in known else chosen,
        )

    def models(self) -> tuple[ModelInfo, ...]:
        """Return the configured or listed models. Does not wait: the server is asked in the background."""
        if not self._models and time.monotonic() >= self._asks_at:
            self._asks_at = time.monotonic() + ASK_AGAIN_SECONDS
            gevent.spawn(self._try_to_list)
        first = self._default_model
        if first is None:
            return self._models or (self._stand_in,)
        known = next((info for info in self._models if info.id == first), info_of(first, None))
        return (known, *(info for info in self._models if info.id != first))

    def warm_up(self) -> None:
        """Start asking for the list of models. A server that is down does not delay anything."""
        self._asks_at = time.monotonic()
        self.models()

    def close(self) -> None:
        """Close idle connections. The provider stays usable: the next call opens new ones."""
        self._server.close()

    def count_tokens(self, model: str, text: str) -> int | None:
        """Return None: the API has no counter."""
        return None

    def list_models(self) -> tuple[ModelInfo, ...]:
        """Ask the server for its models and remember them. Raises ProviderError."""
        patience = Patience(LIST_SECONDS, time.monotonic() + LIST_SECONDS)
        try:
            reply = parsed(self._server.ask("GET", "/models", self._headers, None, patience))
        except Exception as error:
            raise _translate(error, has_begun=False, has_piece=False) from None
        if reply is UNREADABLE:
            logger.warning("%s answered with something other than a list of models", self._host)
            raise ProviderError
        found = listed_models(reply)
        if not found:
            logger.warning("%s lists no chat model", self._host)
        self._models = found or self._models
        return self._models

    def stream(self, request: ChatRequest) -> Iterator[Chunk]:
        """Yield the answer while it is generated. The contract is Provider's.

        Thoughts count towards max_tokens, and whether a model thinks is configured on its server. So a thinking budget
        is added to the limit; without one, thoughts reduce the answer. If the server rejects a part of the request, we
        remember that and send the request again without it. That is not a retry, since the model has not done anything.
        """
        model = self._model_of(request)
        asking = self._asking.setdefault(model, Asking())
        while True:
            refused, body = None, asking.body(model, request)
            try:
                yield from self._answer(model, body, request)
                return
            except Refused as error:
                refused = error
            if not asking.learn(body, refusals.read(refused.body), refused.status):
                # Raised outside the handler: a server's message may contain the key and must not become the context.
                raise _translate(refused, has_begun=False, has_piece=False)
            logger.warning("The OpenAI-compatible server accepts this for %s: %s", model, asking)

    def _answer(self, model: str, body: dict[str, Any], request: ChatRequest) -> Iterator[Chunk]:
        """Yield the answer to one request. May also raise Refused."""
        patience = Patience(self._idle_seconds, time.monotonic() + self._total_seconds)
        reading = Reading(ThoughtSplitter(begins_inside=model in self._begin_inside))
        arriving = self._server.stream("/chat/completions", self._headers, body, patience, _most_bytes(request))
        upstream = (data for events in arriving for data in events)
        try:
            while not reading.is_done and (data := _next(upstream, reading)) is not None:
                yield from reading.take(data)
                if reading.finish is not None:
                    patience.idle_seconds = min(patience.idle_seconds, AFTER_FINISH_SECONDS)
            if (rest := reading.rest()) is not None:
                yield rest
            if reading.restarted:
                # The model's template opens the thought; from now on we know this in advance.
                self._begin_inside.add(model)
            finish = reading.end()
            if finish == "content_filter" and not reading.has_piece:
                raise ContentBlocked
            yield Chunk(usage=reading.usage, finish_reason=finish)
        finally:
            arriving.close()

    def _model_of(self, request: ChatRequest) -> str:
        if request.model != self._stand_in.id:
            return request.model
        listed = self._models or self.list_models()
        if not listed:
            raise ProviderMisconfigured
        return listed[0].id

    def _try_to_list(self) -> None:
        try:
            self.list_models()
        except ProviderError:
            logger.warning(
                "%s returned no list of models and will be asked again; is OPENAI_BASE_URL right?", self._host
            )


def _headers(host: str, api_key: str) -> dict[str, str]:
    azure = {"api-key": api_key} if host.partition(":")[0].endswith(AZURE) else {}
    return {"Authorization": f"Bearer {api_key}", **azure}


def _next(upstream: Iterator[bytes], reading: Reading) -> bytes | None:
    """Return the next event; None at the end, even an abrupt one if the answer had finished."""
    try:
        return next(upstream, None)
    except Refused:
        raise
    except Exception as error:
        # Not BaseException: a kill and GeneratorExit are not ours to handle.
        failure = _translate(error, has_begun=reading.has_begun, has_piece=reading.has_piece)
    if reading.finish is not None:
        return None
    # Raised outside the handler: a server's message may contain the key and must not become the context.
    raise failure


def _most_bytes(request: ChatRequest) -> int:
    thoughts = MOST_THOUGHT_TOKENS if request.thinking_tokens is None else request.thinking_tokens
    return most_bytes(request.max_output_tokens + thoughts)


def _translate(error: Exception, *, has_begun: bool, has_piece: bool) -> ProviderError:
    """Turn a network or server failure into our own error, and log its cause, never the server's message."""
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, Refused):
        told = refusals.read(error.body, error.headers)  # type: ignore[arg-type]
        logger.warning("The OpenAI-compatible server answered %s: %s", error.status, told.for_log)
        return refusals.error_for(error.status, told)
    logger.warning("The OpenAI-compatible server could not be read: %s", cause_of(error))
    return network_failure(error, has_begun=has_begun, has_piece=has_piece)
