"""What is said to Gemini and what it says, in the words of its REST API: shared by the two ways to read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from chatapp.errors import ProviderError, ProviderInterrupted, ProviderMisconfigured, ProviderRateLimited
from chatapp.providers.base import FinishReason, Usage

MAX_REPORTED_TOKENS = 10**9
MAX_PIECE_CHARACTERS = 1_000_000  # 65,536 tokens, the longest whole answer of any model, are a quarter of it.

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


@dataclass(frozen=True, slots=True)
class Call:
    """One request. thinking is the API's thinkingConfig with underscores, None where the family knows none."""

    model: str
    contents: list[dict[str, Any]]
    max_tokens: int
    system_prompt: str = ""
    temperature: float | None = None
    thinking: dict[str, Any] | None = None


class Figures(NamedTuple):
    """A chunk's usage as it was reported, of any type."""

    prompt: Any
    candidates: Any
    thoughts: Any
    cached: Any
    tools: Any


@dataclass(frozen=True, slots=True)
class Said:
    """What one chunk of the stream holds. finish is Gemini's own word.

    Raises ProviderInterrupted where it is too long to be a piece of an answer.
    """

    text: str = ""
    thought: str = ""
    figures: Figures | None = None
    finish: str | None = None
    is_blocked: bool = False

    def __post_init__(self) -> None:
        if len(self.text) + len(self.thought) > MAX_PIECE_CHARACTERS:
            raise ProviderInterrupted()


def contents(messages: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    roles = {"user": "user", "assistant": "model"}
    return [{"role": roles[role], "parts": [{"text": text}]} for role, text in messages]


def finish_reason(name: str) -> FinishReason:
    if name in LENGTH_LIMITS:
        return "length"
    return "content_filter" if name in CONTENT_FILTERS else "stop"


def usage(figures: Figures) -> Usage | None:
    """Return what the figures of a chunk come to; None where they are nothing but zeros.

    Gemini's candidates exclude thoughts and its prompt includes what was cached; ours are sums by Usage's rule.
    Source: Gemini API, GenerateContentResponse.UsageMetadata.
    """
    thoughts_tokens, input_tokens = tokens(figures.thoughts), tokens(figures.prompt)
    found = Usage(
        input_tokens=input_tokens,
        output_tokens=min(tokens(figures.candidates) + thoughts_tokens, MAX_REPORTED_TOKENS),
        cached_tokens=min(tokens(figures.cached), input_tokens),
        thoughts_tokens=thoughts_tokens,
        tool_tokens=tokens(figures.tools),
    )
    return found if found.total_tokens else None


def tokens(figure: Any) -> int:
    """Return a reported figure as a number that can be stored; 0 for what is none. int64 may come as a string."""
    if figure is None:
        return 0
    if isinstance(figure, str) and figure.isascii() and figure.isdigit():
        figure = int(figure[:20])
    if isinstance(figure, float) and figure.is_integer():
        figure = int(figure)
    return min(max(figure, 0), MAX_REPORTED_TOKENS) if isinstance(figure, int) else 0


# Errors. A provider's message may hold the key: none of it goes further than its code and its reason.


def refusal(code: Any, body: Any, headers: Any, *, has_piece: bool) -> ProviderError:
    """Turn an error answer into our own error. body is the parsed JSON of any shape, with or without "error" around."""
    code = code if isinstance(code, int) and not isinstance(code, bool) else 500
    details = _details(body)
    if has_piece:
        return ProviderInterrupted()
    if code == 429:
        return ProviderRateLimited(can_retry=True, retry_after_seconds=_retry_after_seconds(details, headers))
    if code in (401, 403, 404) or reason(body) == "API_KEY_INVALID":
        return ProviderMisconfigured()
    can_retry = code >= 500 or code == 408
    return ProviderError(can_retry=can_retry, retry_after_seconds=_retry_after_seconds(details, headers))


def reason(body: Any) -> str:
    """Return the reason of Google's ErrorInfo, a constant such as API_KEY_INVALID; "" where there is none."""
    for detail in _details(body):
        name = detail.get("reason")
        if isinstance(name, str) and name.isascii() and name.replace("_", "").isalnum() and name.isupper():
            return name
    return ""


def error_of(body: Any) -> dict[str, Any] | None:
    """Return the error object of a reply, which may be alone or the first of a list; None where there is none."""
    if isinstance(body, list):
        body = body[0] if body else None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {} if error else None


def _details(body: Any) -> list[dict[str, Any]]:
    error = error_of(body)
    if error is None:
        error = body if isinstance(body, dict) else {}
    details = error.get("details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _retry_after_seconds(details: list[dict[str, Any]], headers: Any) -> float | None:
    """Return the wait asked for by RetryInfo ("3.5s") or the Retry-After header (whole seconds); None without one."""
    delays = [str(detail["retryDelay"]).removesuffix("s") for detail in details if "retryDelay" in detail]
    for text in [*delays, (headers or {}).get("retry-after", "")]:
        if text.replace(".", "", 1).isdecimal():
            return float(text)
    return None
