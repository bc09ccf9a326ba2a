"""Gemini, over one of two clients with the same methods:

rest.py  makes the REST calls itself: the default, because chunks cost a fraction and nothing is loaded at startup
sdk.py   google-genai

Both turn a chunk into ChunkContent; from there the path is the same: ChunkContent → _Reading.take → Chunk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Literal, Protocol

from chatapp.kernel.config import Settings
from chatapp.kernel.errors import ContentBlocked, ProviderError, ProviderInterrupted
from chatapp.providers.base import ChatRequest, Chunk, FinishReason, ModelInfo, Usage, without_system_role
from chatapp.providers.event_stream import Patience
from chatapp.providers.gemini import wire
from chatapp.providers.gemini.models import MODELS, gemini_model, thinking_of
from chatapp.providers.gemini.rest import RestClient
from chatapp.providers.gemini.sdk import SdkClient
from chatapp.providers.gemini.wire import ChunkContent, GeminiRequest
from chatapp.providers.pace import Pace

__all__ = ["MODELS", "GeminiProvider", "gemini_model", "thinking_of"]

logger = logging.getLogger(__name__)

AFTER_FINISH_SECONDS = 10.0  # After a finish reason only the final usage may follow.


class Client(Protocol):
    def open(self, call: GeminiRequest, patience: Patience) -> Iterator[list[ChunkContent]]:
        """Yield the content, all that arrived together at a time. Raises only what translate() handles.

        Nothing is sent before the first next().
        """
        ...

    def count(self, model: str, text: str, patience: Patience) -> int | None:
        """Return the tokens of a text sent as one user message; None if the reply has no number."""
        ...

    def translate(self, error: Exception, *, has_begun: bool, has_piece: bool) -> ProviderError:
        """Turn what the client raised into our own error, and log its type, never its message.

        has_begun: a chunk was received, so the model was working. has_piece: it contained text, so nothing may be
        retried.
        """
        ...

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


class GeminiProvider:
    """Serves Gemini models. One per process: its client keeps the connections and is safe across greenlets."""

    name = "gemini"

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        connect_seconds: float = 5,
        idle_seconds: float = 60,
        total_seconds: float = 600,
        models: tuple[ModelInfo, ...] = MODELS,
        client: Literal["rest", "sdk"] = "rest",
        pace: Pace | None = None,
    ) -> None:
        self._total_seconds = total_seconds
        self._models = models
        self._idle_seconds = idle_seconds
        self._left_out: dict[str, set[str]] = {}
        self._client: Client = SdkClient(api_key, base_url, connect_seconds, idle_seconds)
        if client == "rest":
            self._client = RestClient(api_key, base_url, connect_seconds, pace or Pace())

    @classmethod
    def from_settings(cls, settings: Settings) -> GeminiProvider:
        """Take a DEFAULT_MODEL that is not in our list, unless it can only be the OpenAI-compatible server's."""
        chosen = settings.default_model or ""
        is_new = chosen and chosen not in {info.id for info in MODELS}
        is_ours = is_new and (chosen.startswith("gemini") or not settings.openai_base_url)
        return cls(
            (settings.gemini_api_key or "").strip(),
            settings.gemini_base_url,
            settings.provider_connect_seconds,
            settings.provider_idle_seconds,
            settings.provider_total_seconds,
            models=((gemini_model(chosen),) if is_ours else ()) + MODELS,
            client=settings.gemini_client,
        )

    def models(self) -> tuple[ModelInfo, ...]:
        return self._models

    def warm_up(self) -> None:
        self._client.warm_up()

    def close(self) -> None:
        """Close idle connections. The provider stays usable: the next call opens new ones."""
        self._client.close()

    def stream(self, request: ChatRequest) -> Iterator[Chunk]:
        """Yield the answer while it is generated. The contract is Provider's.

        If a model must think, its thinking budget is added to the output limit. It may use less of it, so the answer is
        ended here, with "length", as soon as its reported length exceeds max_output_tokens.

        If the model rejects a part of the request, we remember that and send the request again without it. That is not
        a retry, since the model has not done anything.

        Source: Gemini API, models.streamGenerateContent, GenerateContentResponse.UsageMetadata.
        """
        left_out = self._left_out.setdefault(request.model, set())
        while True:
            try:
                yield from self._answer(request)
                return
            except ProviderError as error:
                if not error.refused_part or error.refused_part in left_out:
                    raise
                left_out.add(error.refused_part)
            logger.warning(
                "Gemini rejects these parts of requests to %s: %s", request.model, ", ".join(sorted(left_out))
            )

    def _answer(self, request: ChatRequest) -> Iterator[Chunk]:
        patience = self._patience()
        reading = _Reading(request.max_output_tokens)
        upstream = self._client.open(self._call(request), patience)
        try:
            while not reading.is_full:
                if reading.finish is not None:
                    patience.idle_seconds = AFTER_FINISH_SECONDS
                said = self._next(upstream, reading)
                if said is None:
                    break
                chunk = reading.take(said)
                if chunk is not None:
                    yield chunk
                if reading.is_blocked:
                    raise ContentBlocked
            if reading.finish is None:
                raise ProviderInterrupted(can_retry=not reading.has_piece)
            yield Chunk(usage=reading.usage, finish_reason=reading.finish)
        finally:
            upstream.close()  # type: ignore[attr-defined]

    def count_tokens(self, model: str, text: str) -> int | None:
        """Return Gemini's count of a text sent as one user message (about one token for the message itself).

        The caller sets the deadline (gevent.Timeout): interrupting this closes the connection.
        Source: Gemini API, models.countTokens.
        """
        failure = None
        try:
            if (tokens := self._client.count(model, text, self._patience())) is not None:
                return tokens
        except Exception as error:
            failure = self._client.translate(error, has_begun=False, has_piece=False)
        raise failure or ProviderError("The model's counter gave no number")

    def _patience(self) -> Patience:
        return Patience(self._idle_seconds, time.monotonic() + self._total_seconds)

    def _call(self, request: ChatRequest) -> GeminiRequest:
        thinking, thinking_tokens = thinking_of(request.model).settings(request.thinking_tokens)
        limit = next((info.max_output_tokens for info in self._models if info.id == request.model), 65_536)
        left_out = self._left_out.get(request.model, set())
        # The API rejects a system instruction for Gemma.
        if request.model.startswith("gemma") or "system" in left_out:
            request = without_system_role(request)
        if "thinking" in left_out:
            thinking = None
        return GeminiRequest(
            request.model,
            wire.contents((message.role, message.content) for message in request.messages),
            min(request.max_output_tokens + thinking_tokens, limit),
            request.system_prompt,
            request.temperature,
            thinking,
            request.wishes,
        )

    def _next(self, upstream: Iterator[list[ChunkContent]], reading: _Reading) -> list[ChunkContent] | None:
        """Return the next content; None at the end, even an abrupt one if the answer had finished."""
        try:
            return next(upstream, None)
        except Exception as error:
            # Not BaseException: a kill, somebody else's timeout and GeneratorExit are not ours to handle.
            failure = self._client.translate(error, has_begun=reading.has_begun, has_piece=reading.has_piece)
        if reading.finish is not None:
            return None
        # Raised outside the handler: a provider's message may contain the key and must not become the context.
        raise failure


class _Reading:
    """The state of one answer so far."""

    def __init__(self, max_output_tokens: int) -> None:
        self.max_output_tokens = max_output_tokens
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.has_begun = False
        self.has_piece = False
        self.is_blocked = False
        # Longer than requested, so it ends with "length".
        self.is_full = False

    def take(self, arrived: list[ChunkContent]) -> Chunk | None:
        """Return what is new in the content, up to the point where the answer is full; None if nothing is."""
        text, thought, taken = "", "", 0
        for said in arrived:
            taken += 1
            text, thought = text + said.text, thought + said.thought
            self.has_begun = True
            self.has_piece = self.has_piece or bool(said.text or said.thought)
            # Some models send STOP with every chunk, so the last reason counts and the stream is read to its end.
            if said.finish:
                self.finish = wire.finish_reason(said.finish)
                self._name(said.finish)
            if said.is_blocked:
                self.is_blocked = not self.has_piece
                self.finish = "content_filter"
            if said.figures and wire.tokens(said.figures.candidates) > self.max_output_tokens:
                self.is_full = True
                self.finish = self.finish or "length"
            if self.is_blocked or self.is_full:
                break
        # Running figures: the last ones that are not empty count.
        figures = (said.figures for said in reversed(arrived[:taken]) if said.figures)
        usage = next(filter(None, map(wire.usage, figures)), None)
        self.usage = usage or self.usage
        return Chunk(text, thought, usage, chunks=taken) if text or thought or usage else None

    def _name(self, reason: str) -> None:
        if self.finish is None and reason != "FINISH_REASON_UNSPECIFIED":
            logger.warning("Gemini ended an answer with %s", reason[:60] if reason.isidentifier() else "?")
