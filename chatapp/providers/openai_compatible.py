"""Models behind an OpenAI-compatible API: Ollama, vLLM, llama.cpp, LM Studio and their kin.

It says and reads only what all of these share: GET /models, and POST /chat/completions as an event stream that ends
with [DONE] and carries the usage in its last chunk. Everything in a reply may be of any shape; what is not as it should
be is passed over. Source: OpenAI API reference, "Create chat completion" and "The chat completion chunk object",
November 2026.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gevent

from chatapp.errors import (
    ContentBlocked,
    ProviderError,
    ProviderInterrupted,
    ProviderMisconfigured,
    ProviderRateLimited,
)
from chatapp.pace import Pace
from chatapp.providers.base import ChatRequest, Chunk, FinishReason, ModelInfo, Usage
from chatapp.providers.event_stream import JsonServer, Patience, Refused, cause_of, network_failure
from chatapp.providers.gemini.wire import tokens

log = logging.getLogger(__name__)

# Only some servers tell how much a model takes; of the others it is assumed, and not shown.
ASSUMED_INPUT_TOKENS = 32_768
MAX_PIECE_CHARACTERS = 1_000_000
AFTER_FINISH_SECONDS = 10.0  # What may still come after a finish reason is the usage.
LIST_SECONDS = 5.0
ASK_AGAIN_SECONDS = 30.0
FINISH_REASONS: dict[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}


def declared_models(text: str) -> tuple[ModelInfo, ...]:
    """Read OPENAI_MODELS: names separated by commas, each with its context in tokens if known ("qwen3:8b=40960").

    Raises ValueError.
    """
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, context = entry.rpartition("=") if "=" in entry else (entry, "", "")
        if not name or (context and not (context.isascii() and context.isdigit() and 0 < int(context) < 10**9)):
            raise ValueError(f"OPENAI_MODELS: {entry!r} is no model, or no model=context in tokens")
        found.append(_info(name, int(context) if context else None))
    return tuple(found)


def _info(name: str, context_tokens: int | None) -> ModelInfo:
    known = context_tokens or ASSUMED_INPUT_TOKENS
    return ModelInfo(name, name, known, known, has_known_limits=context_tokens is not None)


class OpenAICompatibleProvider:
    """Serve the models of one server. One per process: it keeps connections and is safe across greenlets.

    Without a list of models the server is asked for one once the process serves (warm_up), and again from time to time
    while it cannot be reached. Until then there is one model that stands for the server's first. default_model stands
    first, whether the server lists it or not.
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
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
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
        )
        self._asks_at = float("inf")

    def models(self) -> tuple[ModelInfo, ...]:
        """Return the models that were set or listed. Does not wait: the server is asked beside."""
        if not self._models and time.monotonic() >= self._asks_at:
            self._asks_at = time.monotonic() + ASK_AGAIN_SECONDS
            gevent.spawn(self._try_to_list)
        first = self._default_model
        if first is None:
            return self._models or (self._stand_in,)
        known = next((info for info in self._models if info.id == first), _info(first, None))
        return (known, *(info for info in self._models if info.id != first))

    def warm_up(self) -> None:
        """Begin to ask for the list of models. A server that is down holds nothing up."""
        self._asks_at = time.monotonic()
        self.models()

    def close(self) -> None:
        """Close idle connections. The provider stays usable: the next call opens new ones."""
        self._server.close()

    def count_tokens(self, model: str, text: str) -> int | None:
        """Return None: the API has no counter."""
        return None

    def list_models(self) -> tuple[ModelInfo, ...]:
        """Ask the server for its models and keep them. Raises ProviderError."""
        patience = Patience(LIST_SECONDS, time.monotonic() + LIST_SECONDS)
        try:
            reply = json.loads(self._server.ask("GET", "/models", self._headers, None, patience))
        except Exception as error:
            raise _translate(error, has_begun=False, has_piece=False) from None
        entries = reply.get("data") if isinstance(reply, dict) else None
        found = [_listed(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        self._models = tuple(dict.fromkeys(info for info in found if info)) or self._models
        return self._models

    def stream(self, request: ChatRequest) -> Iterator[Chunk]:
        """Yield the answer while it is generated. The contract is Provider's.

        Thoughts count inside max_tokens, and whether a model thinks is set up on its server: so an allowance is added
        to the limit, and without one its thoughts come off the answer.
        """
        patience = Patience(self._idle_seconds, time.monotonic() + self._total_seconds)
        reading = _Reading()
        arriving = self._server.stream("/chat/completions", self._headers, self._body(request), patience)
        upstream = (data for events in arriving for data in events)
        try:
            while not reading.is_done and (data := _next(upstream, reading)) is not None:
                chunk = reading.take(data)
                if reading.finish is not None:
                    patience.idle_seconds = min(patience.idle_seconds, AFTER_FINISH_SECONDS)
                if chunk is not None:
                    yield chunk
            if reading.finish is None:
                raise ProviderInterrupted(can_retry=not reading.has_piece)
            if reading.finish == "content_filter" and not reading.has_piece:
                raise ContentBlocked
            yield Chunk(usage=reading.usage, finish_reason=reading.finish)
        finally:
            arriving.close()

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        model = request.model
        if model == self._stand_in.id:
            listed = self._models or self.list_models()
            if not listed:
                raise ProviderMisconfigured
            model = listed[0].id
        system = [{"role": "system", "content": request.system_prompt}] if request.system_prompt else []
        body = {
            "model": model,
            "messages": [*system, *({"role": m.role, "content": m.content} for m in request.messages)],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": request.max_output_tokens + (request.thinking_tokens or 0),
        }
        return body if request.temperature is None else body | {"temperature": request.temperature}

    def _try_to_list(self) -> None:
        try:
            self.list_models()
        except ProviderError:
            log.warning("%s gives no list of its models and is asked again; is OPENAI_BASE_URL right?", self._host)


class _ErrorObject(Exception):
    """An error object in place of a chunk."""


@dataclass
class _Reading:
    """What one answer has come to so far."""

    usage: Usage | None = None
    finish: FinishReason | None = None
    has_begun: bool = False
    has_piece: bool = False
    is_done: bool = False

    def take(self, data: bytes) -> Chunk | None:
        """Return what is new in one event, None if nothing is."""
        if data.strip() == b"[DONE]":
            self.is_done = True
            self.finish = self.finish or "stop"
            return None
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            raise self._failure() from None
        if not isinstance(chunk, dict):
            return None
        if chunk.get("error"):
            log.warning("The OpenAI-compatible server sent an error in place of a piece")
            raise self._failure()
        self.has_begun = True
        text, thought = self._read_choice(chunk.get("choices"))
        usage = _usage(chunk.get("usage"))
        self.usage = usage or self.usage
        return Chunk(text, thought, usage) if text or thought or usage else None

    def _read_choice(self, choices: Any) -> tuple[str, str]:
        """Return the new text and the new thought. Servers call a thought reasoning_content or reasoning."""
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return "", ""
        delta = choice["delta"] if isinstance(choice.get("delta"), dict) else {}
        text, thought = _text(delta.get("content")), _text(delta.get("reasoning_content") or delta.get("reasoning"))
        if len(text) + len(thought) > MAX_PIECE_CHARACTERS:
            raise ProviderInterrupted
        self.has_piece = self.has_piece or bool(text or thought)
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self.finish = FINISH_REASONS.get(reason, "stop")
        return text, thought

    def _failure(self) -> ProviderError:
        return ProviderInterrupted() if self.has_piece else ProviderError(can_retry=True)


def _next(upstream: Iterator[bytes], reading: _Reading) -> bytes | None:
    """Return the next event; None at the end, however it came about if the answer had finished."""
    try:
        return next(upstream, None)
    except Exception as error:
        # Not BaseException: a kill and GeneratorExit are not ours.
        failure = _translate(error, has_begun=reading.has_begun, has_piece=reading.has_piece)
    if reading.finish is not None:
        return None
    # Raised outside of the handler: a server's message may hold the key, and must not travel as context.
    raise failure


def _translate(error: Exception, *, has_begun: bool, has_piece: bool) -> ProviderError:
    """Turn what the network or the server did into our own error, and log its cause, never the server's words."""
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, Refused):
        log.warning("The OpenAI-compatible server answered %s", error.status)
        wait = error.headers.get("Retry-After", "")
        seconds = float(wait) if wait.isascii() and wait.isdigit() else None
        if error.status == 429:
            return ProviderRateLimited(can_retry=True, retry_after_seconds=seconds)
        if error.status in (401, 403, 404):
            return ProviderMisconfigured()
        return ProviderError(can_retry=error.status >= 500 or error.status == 408, retry_after_seconds=seconds)
    log.warning("The OpenAI-compatible server could not be read: %s", cause_of(error))
    return network_failure(error, has_begun=has_begun, has_piece=has_piece)


def _listed(entry: dict[str, Any]) -> ModelInfo | None:
    """Read one model of the list. Its context stands where its server puts it, if anywhere.

    vLLM: max_model_len; LM Studio: max_context_length; OpenRouter: context_length; llama.cpp: meta.n_ctx_train.
    """
    name = entry.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable():
        return None
    meta = entry["meta"] if isinstance(entry.get("meta"), dict) else {}
    places = (entry.get("max_model_len"), entry.get("max_context_length"), entry.get("context_length"))
    return _info(
        name, next((figure for place in (*places, meta.get("n_ctx_train")) if (figure := tokens(place))), None)
    )


def _usage(reported: Any) -> Usage | None:
    """Return the figures of a chunk, None where it has none. completion_tokens include those of the reasoning."""
    if not isinstance(reported, dict):
        return None
    input_tokens, output_tokens = tokens(reported.get("prompt_tokens")), tokens(reported.get("completion_tokens"))
    details = [reported.get(f"{name}_tokens_details") for name in ("prompt", "completion")]
    of_prompt, of_completion = (each if isinstance(each, dict) else {} for each in details)
    usage = Usage(
        input_tokens,
        output_tokens,
        cached_tokens=min(tokens(of_prompt.get("cached_tokens")), input_tokens),
        thoughts_tokens=min(tokens(of_completion.get("reasoning_tokens")), output_tokens),
    )
    return usage if usage.total_tokens else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
