"""Gemini through google-genai. Everything that knows the SDK, its models and its errors is in this file.

The stream path is three steps, so that another reader of the same REST call could take the place of the first:
_open (the SDK's chunks) → _Reading.take (a chunk's text, usage and end) → Chunk. Per chunk the SDK costs about
0.7 ms of CPU, four fifths of it in validating its own models; a reader of the bare event stream costs a quarter.

SDK facts that shaped this file (google-genai 3.4): there is no timeout unless a request hook sets it;
HttpOptions.timeout also sends a server deadline, which the API refuses below 10 s; connections are capped at 100 unless
told otherwise, and the rest wait silently; nothing is sent before the first next(); transport errors come through as
httpx2's own.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
from gevent.lock import RLock

from chatapp.errors import (
    ContentBlocked,
    ProviderError,
    ProviderInterrupted,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderTimeout,
)
from chatapp.providers.base import ChatRequest, Chunk, FinishReason, ModelInfo, Usage

if TYPE_CHECKING:
    from google.genai import Client

log = logging.getLogger(__name__)

MAX_REPORTED_TOKENS = 10**9
MAX_PIECE_CHARACTERS = 1_000_000  # 65,536 tokens, the longest whole answer of any model, are a quarter of it.
AFTER_FINISH_SECONDS = 10.0  # What may still come after a finish reason is the last usage.

CONTENT_FILTERS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "LANGUAGE",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
LENGTH_LIMITS = frozenset({"MAX_TOKENS", "CONTINUATION"})

# How much each thinking level is given on top of the answer. Google publishes no figures for levels; these are ours:
# thoughts beyond them come off the answer, which then ends by length. They also pick the level for an allowance.
LEVEL_TOKENS = {"MINIMAL": 512, "LOW": 2048, "MEDIUM": 8192, "HIGH": 24_576}


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a family of models is told to think. Budgets in tokens; a family has either a budget or levels."""

    can_be_off: bool = False
    min_budget_tokens: int = 0
    max_budget_tokens: int = 0
    lowest_level: str = ""

    @property
    def min_tokens(self) -> int:
        return 0 if self.can_be_off else self.min_budget_tokens or LEVEL_TOKENS.get(self.lowest_level, 0)

    def settings(self, tokens: int | None) -> tuple[dict[str, Any] | None, int]:
        """Return the SDK's thinking config for an allowance, and what it adds to the output limit, in tokens."""
        if not (self.lowest_level or self.max_budget_tokens):
            return None, 0
        if tokens is None:
            return {"include_thoughts": True}, 0
        if tokens <= 0 and self.can_be_off:
            return {"thinking_budget": 0}, 0
        shown = {"include_thoughts": True} if tokens > 0 else {}
        if self.lowest_level:
            level = self._level(tokens)
            return shown | {"thinking_level": level}, max(tokens, LEVEL_TOKENS[level])
        budget = min(max(tokens, self.min_budget_tokens), self.max_budget_tokens)
        return shown | {"thinking_budget": budget}, budget

    def _level(self, tokens: int) -> str:
        fitting = [level for level, needed_tokens in LEVEL_TOKENS.items() if needed_tokens <= tokens]
        return max([self.lowest_level, *fitting], key=list(LEVEL_TOKENS).index)


# By the longest beginning of the model's name. Sources, November 2026: ai.google.dev/gemini-api/docs/thinking (budgets
# of 2.5), docs.cloud.google.com "Developer's guide to Gemini 3.5 Flash" and "Thinking" (levels of 3.x; LOW is the one
# that all of them know). Older families reject any thinking config.
THINKING: Mapping[str, Thinking] = {
    "gemini-2.5-flash-lite": Thinking(can_be_off=True, min_budget_tokens=512, max_budget_tokens=24_576),
    "gemini-2.5-flash": Thinking(can_be_off=True, min_budget_tokens=1, max_budget_tokens=24_576),
    "gemini-2.5-pro": Thinking(min_budget_tokens=128, max_budget_tokens=32_768),
    "gemini-3-flash": Thinking(lowest_level="MINIMAL"),
    "gemini-3.1-flash-lite": Thinking(lowest_level="MINIMAL"),
    "gemini-3.5-flash-lite": Thinking(lowest_level="MINIMAL"),
    "gemini-1": Thinking(),
    "gemini-2": Thinking(),
    "gemini-": Thinking(lowest_level="LOW"),
    "": Thinking(),
}


def thinking_of(model: str) -> Thinking:
    return THINKING[max((start for start in THINKING if model.startswith(start)), key=len)]


def gemini_model(model: str, label: str = "") -> ModelInfo:
    """Return what is known of a Gemini model; the limits are those of all text models from 2.5 on."""
    return ModelInfo(model, label or model, 1_048_576, 65_536, min_thinking_tokens=thinking_of(model).min_tokens)


# Source: ai.google.dev/gemini-api/docs/models and /deprecations, November 2026. 2.5 Flash and 2.5 Pro are announced to
# end on 2026-12-01, when their names are answered by 3.5 Flash-Lite (at the same price) and 3.8 Flash.
MODELS: tuple[ModelInfo, ...] = (
    gemini_model("gemini-3.5-flash-lite", "Gemini 3.5 Flash-Lite"),
    gemini_model("gemini-3.8-flash", "Gemini 3.8 Flash"),
    gemini_model("gemini-3.1-pro-preview", "Gemini 3.1 Pro (preview)"),
    gemini_model("gemini-3.5-flash", "Gemini 3.5 Flash"),
    gemini_model("gemini-3-flash-preview", "Gemini 3 Flash (preview)"),
    gemini_model("gemini-3.1-flash-lite", "Gemini 3.1 Flash-Lite"),
    gemini_model("gemini-2.5-flash", "Gemini 2.5 Flash"),
    gemini_model("gemini-2.5-pro", "Gemini 2.5 Pro"),
    gemini_model("gemini-2.5-flash-lite", "Gemini 2.5 Flash-Lite"),
)


class GeminiProvider:
    """Serve Gemini models. One per process: the client inside keeps the connections and is safe across greenlets."""

    name = "gemini"

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        connect_seconds: float = 5,
        idle_seconds: float = 60,
        total_seconds: float = 600,
        models: tuple[ModelInfo, ...] = MODELS,
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url or None
        self._total_seconds = total_seconds
        self._phase_seconds = {"connect": connect_seconds, "read": idle_seconds, "write": 10.0, "pool": connect_seconds}
        self._models = models
        self._client: Client | None = None
        self._lock = RLock()

    def models(self) -> tuple[ModelInfo, ...]:
        return self._models

    def warm_up(self) -> None:
        """Import the SDK, build the client, and let the SDK build its models, which it else does in the first answer.

        About 0.8 s of CPU during which nothing else in the process runs: call it before requests are served.
        """
        self._ready_client()
        from google.genai import types

        types.GenerateContentConfig()
        types.GenerateContentResponse.model_validate({})

    def close(self) -> None:
        """Close idle connections. The provider stays usable: the next call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def stream(self, request: ChatRequest) -> Iterator[Chunk]:
        """Yield the answer while it is generated. The contract is Provider's.

        Where a model must think, its allowance is added to the output limit. It may spend less on thoughts, so the
        answer is ended here, with "length", as soon as its reported length is over max_output_tokens.

        Source: Gemini API, models.streamGenerateContent, GenerateContentResponse.UsageMetadata.
        """
        _expect_new_enum_values()
        deadline = time.monotonic() + self._total_seconds
        reading = _Reading(request.max_output_tokens)
        upstream = self._open(request)
        try:
            while not reading.is_full():
                raw = self._next(upstream, deadline - time.monotonic(), reading)
                if raw is None:
                    break
                chunk = reading.take(raw)
                if chunk is not None:
                    yield chunk
                if reading.is_blocked:
                    raise ContentBlocked
            if reading.finish is None:
                raise ProviderInterrupted(can_retry=not reading.has_piece)
            yield Chunk(usage=reading.usage, finish_reason=reading.finish)
        finally:
            upstream.close()

    def count_tokens(self, model: str, text: str) -> int | None:
        """Return Gemini's count of a text sent as one user message (about one token is for the message itself).

        The caller brings the deadline (gevent.Timeout): interrupting this closes the connection.
        Source: Gemini API, models.countTokens.
        """
        failure = None
        try:
            reply = self._ready_client().models.count_tokens(model=model, contents=_contents([("user", text)]))
            if reply.total_tokens is not None:
                return _tokens(reply.total_tokens)
        except Exception as error:
            failure = _translate(error, has_begun=False, has_piece=False)
        raise failure or ProviderError("The model's counter gave no number")

    def _open(self, request: ChatRequest) -> Any:
        """Return the generator of the SDK's chunks; nothing is sent before its first next()."""
        thinking, thinking_tokens = thinking_of(request.model).settings(request.thinking_tokens)
        max_tokens = min(request.max_output_tokens + thinking_tokens, self._output_limit(request.model))
        contents = _contents((message.role, message.content) for message in request.messages)

        def chunks() -> Iterator[Any]:
            # All of it inside the generator, so that whatever fails is an error of the first step.
            models = self._ready_client().models
            from google.genai import types

            config = types.GenerateContentConfig(
                system_instruction=request.system_prompt or None,
                max_output_tokens=max_tokens,
                temperature=request.temperature,
                thinking_config=None if thinking is None else types.ThinkingConfig(**thinking),
                # Both are on by default and would make further, billed requests of their own.
                automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
                automatic_continuation=False,
            )
            yield from models.generate_content_stream(model=request.model, contents=contents, config=config)

        return chunks()

    def _output_limit(self, model: str) -> int:
        return next((info.max_output_tokens for info in self._models if info.id == model), 65_536)

    def _next(self, upstream: Iterator[Any], seconds: float, reading: _Reading) -> Any:
        """Return the SDK's next chunk; None at the end, however it came about if the answer had finished.

        The timer runs during this step only: between two steps it would go off in the caller's code.
        """
        failure: ProviderError
        if reading.finish is not None:
            seconds = min(seconds, AFTER_FINISH_SECONDS)
        if seconds <= 0:
            raise ProviderTimeout  # A stream that never pauses never lets a timer go off.
        with gevent.Timeout(seconds) as timer:
            try:
                return next(upstream, None)
            except gevent.Timeout as expired:
                if expired is not timer:
                    raise
                failure = ProviderTimeout()
            except Exception as error:
                # Not BaseException: a kill, another's timeout and GeneratorExit are not ours.
                failure = _translate(error, has_begun=reading.has_begun, has_piece=reading.has_piece)
        if reading.finish is not None:
            return None
        # Raised outside of the handler: a provider's message may hold the key, and must not travel as context.
        raise failure

    def _ready_client(self) -> Client:
        """Return the client, built once. The import takes 0.8 s of CPU and the client 0.1 s."""
        with self._lock:
            if self._client is None:
                self._client = self._build_client()
            return self._client

    def _build_client(self) -> Client:
        import httpx2
        from google import genai

        def set_phase_timeouts(request: Any) -> None:
            request.extensions["timeout"] = dict(self._phase_seconds)

        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60.0)
        client_args = {"limits": limits, "event_hooks": {"request": [set_phase_timeouts]}}
        options: Any = {"base_url": self._base_url, "api_version": "v1beta", "client_args": client_args}
        # enterprise=False: an environment variable would otherwise send the key to another service.
        return genai.Client(api_key=self._api_key, enterprise=False, http_options=options)


class _Reading:
    """What one answer has come to so far."""

    def __init__(self, max_output_tokens: int) -> None:
        self.max_output_tokens = max_output_tokens
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None
        self.has_begun = False
        self.has_piece = False
        self.is_blocked = False

    def is_full(self) -> bool:
        """Return True once the answer is longer than asked for, which makes it end by length."""
        if self.usage is None or self.usage.output_tokens - self.usage.thoughts_tokens <= self.max_output_tokens:
            return False
        self.finish = self.finish or "length"
        return True

    def take(self, raw: Any) -> Chunk | None:
        """Return what is new in one of the SDK's chunks, None if nothing is."""
        self.has_begun = True
        usage = _usage(raw.usage_metadata)
        self.usage = usage or self.usage
        text, thought = self._read_candidate(raw)
        self._read_prompt_feedback(raw)
        return Chunk(text, thought, usage) if text or thought or usage else None

    def _read_candidate(self, raw: Any) -> tuple[str, str]:
        """Return the new text and the new thought. Parts that are neither (calls, files, code) are passed over."""
        candidate = raw.candidates[0] if raw.candidates else None
        if candidate is None:
            return "", ""
        parts = (candidate.content.parts if candidate.content else None) or ()
        text = "".join(part.text for part in parts if part.text and not part.thought)
        thought = "".join(part.text for part in parts if part.text and part.thought)
        if len(text) + len(thought) > MAX_PIECE_CHARACTERS:
            raise ProviderInterrupted
        self.has_piece = self.has_piece or bool(text or thought)
        # Some models send STOP with every chunk: the last reason counts, and the stream is read to its end.
        if candidate.finish_reason:
            self.finish = _finish_reason(candidate.finish_reason.name)
        return text, thought

    def _read_prompt_feedback(self, raw: Any) -> None:
        if raw.prompt_feedback and raw.prompt_feedback.block_reason:
            self.is_blocked = not self.has_piece
            self.finish = "content_filter"


def _contents(messages: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    roles = {"user": "user", "assistant": "model"}
    return [{"role": roles[role], "parts": [{"text": text}]} for role, text in messages]


def _finish_reason(name: str) -> FinishReason:
    if name in LENGTH_LIMITS:
        return "length"
    return "content_filter" if name in CONTENT_FILTERS else "stop"


def _usage(reported: Any) -> Usage | None:
    """Return the figures of one chunk; None where it carries none, or nothing but zeros.

    Gemini's candidates exclude thoughts and its prompt includes what was cached; ours are sums by Usage's rule.
    """
    if reported is None:
        return None
    thoughts = _tokens(reported.thoughts_token_count)
    input_tokens = _tokens(reported.prompt_token_count)
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=_tokens(_tokens(reported.candidates_token_count) + thoughts),
        cached_tokens=min(_tokens(reported.cached_content_token_count), input_tokens),
        thoughts_tokens=thoughts,
        tool_tokens=_tokens(reported.tool_use_prompt_token_count),
    )
    return usage if usage.total_tokens else None


def _tokens(figure: Any) -> int:
    return min(max(figure, 0), MAX_REPORTED_TOKENS) if isinstance(figure, int) else 0


def _translate(error: Exception, *, has_begun: bool, has_piece: bool) -> ProviderError:
    """Turn what the SDK or its HTTP client raised into our own error, and log its kind, never its words.

    has_begun: a chunk was received, so the model was at work. has_piece: and it held text, so nothing may be retried.
    """
    import httpx2
    from google.genai import errors

    if isinstance(error, ProviderError):
        return error
    if isinstance(error, errors.APIError):
        log.warning("Gemini answered %s, reason %s", error.code, _reason(error))
        return ProviderInterrupted() if has_piece else _translate_status(error)
    log.warning("Gemini call failed: %s", type(error).__name__)
    if isinstance(error, httpx2.ConnectTimeout):
        return ProviderTimeout(can_retry=True)
    if isinstance(error, httpx2.TimeoutException):
        return ProviderTimeout()
    if has_begun:
        return ProviderInterrupted(can_retry=not has_piece and isinstance(error, httpx2.NetworkError))
    if isinstance(error, httpx2.LocalProtocolError | UnicodeError):
        return ProviderMisconfigured()  # A key that cannot be sent: pasted with a line break or a letter beyond ASCII.
    return ProviderError(can_retry=isinstance(error, httpx2.TransportError))


def _translate_status(error: Any) -> ProviderError:
    code = error.code if isinstance(error.code, int) else 500
    if code == 429:
        return ProviderRateLimited(can_retry=True, retry_after_seconds=_retry_after_seconds(error))
    if code in (401, 403, 404) or _reason(error) == "API_KEY_INVALID":
        return ProviderMisconfigured()
    return ProviderError(can_retry=code >= 500 or code == 408, retry_after_seconds=_retry_after_seconds(error))


def _details(error: Any) -> list[dict[str, Any]]:
    """Return the list under error.details, [] for anything that is not of that shape."""
    body = error.details
    body = body.get("error", body) if isinstance(body, dict) else None
    details = body.get("details") if isinstance(body, dict) else None
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _reason(error: Any) -> str:
    """Return the reason of Google's ErrorInfo, a constant such as API_KEY_INVALID; "" where there is none."""
    reasons = (detail.get("reason") for detail in _details(error))
    return next(
        (r for r in reasons if isinstance(r, str) and r.isascii() and r.replace("_", "").isalnum() and r.isupper()), ""
    )


def _retry_after_seconds(error: Any) -> float | None:
    """Return the wait asked for by RetryInfo ("3.5s") or the Retry-After header (whole seconds); None without one."""
    delays = [str(detail["retryDelay"]).removesuffix("s") for detail in _details(error) if "retryDelay" in detail]
    headers = getattr(error.response, "headers", None) or {}
    for text in [*delays, headers.get("retry-after", "")]:
        if text.replace(".", "", 1).isdecimal():
            return float(text)
    return None


def _expect_new_enum_values() -> None:
    """Let values newer than the SDK pass without a warning; it keeps them by name.

    Called with each answer: the filter list is the process's own and others may have replaced it. Adding a filter
    that is there already moves it to the front.
    """
    warnings.filterwarnings("ignore", message=r".* is not a valid \w+$", category=UserWarning)
