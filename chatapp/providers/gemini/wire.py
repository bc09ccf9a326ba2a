"""What is said to Gemini and what it says, in the words of its REST API: shared by the two ways to read it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from chatapp.kernel.errors import ProviderError, ProviderInterrupted
from chatapp.providers import refusals
from chatapp.providers.base import FinishReason, Usage
from chatapp.providers.figures import MAX_REPORTED_TOKENS, tokens
from chatapp.providers.passed_over import name_once

logger = logging.getLogger(__name__)

GOOGLE = "https://generativelanguage.googleapis.com"
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
# Anything else (OTHER, MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, what is new) tells of an answer that broke off.
STOPS = frozenset({"STOP"})

# What a part has beside what it is.
BESIDE_A_PART = frozenset({"text", "thought", "thoughtSignature", "thought_signature", "videoMetadata", "partMetadata"})

# "Developer instruction is not enabled for models/…", "Thinking is not enabled …", "Budget 0 is invalid …".
REFUSED_PARTS = {
    "system": re.compile(r"(developer|system)[_ ]?instruction", re.IGNORECASE),
    "thinking": re.compile(r"thinking|\bbudget \d+ is invalid", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class GeminiRequest:
    """One request. thinking is the API's thinkingConfig with underscores, None where the family knows none."""

    model: str
    contents: list[dict[str, Any]]
    max_tokens: int
    system_prompt: str = ""
    temperature: float | None = None
    thinking: dict[str, Any] | None = None


class ReportedUsage(NamedTuple):
    """A chunk's usage as it was reported, of any type."""

    prompt: Any
    candidates: Any
    thoughts: Any
    cached: Any
    tools: Any
    total: Any = None


@dataclass(frozen=True, slots=True)
class ChunkContent:
    """What one chunk of the stream holds. finish is Gemini's own word.

    Raises ProviderInterrupted where it is too long to be a piece of an answer.
    """

    text: str = ""
    thought: str = ""
    figures: ReportedUsage | None = None
    finish: str | None = None
    is_blocked: bool = False

    def __post_init__(self) -> None:
        if len(self.text) + len(self.thought) > MAX_PIECE_CHARACTERS:
            raise ProviderInterrupted()


def name_part(keys: Iterable[str]) -> None:
    """Name a part that is neither text nor thought in the log, once a process: a call, a file, code, what is new."""
    kinds = [key for key in keys if key not in BESIDE_A_PART]
    if kinds:
        name_once("Gemini", "a part", kinds[0])


def contents(messages: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    roles = {"user": "user", "assistant": "model"}
    return [{"role": roles[role], "parts": [{"text": text}]} for role, text in messages]


def finish_reason(name: str) -> FinishReason | None:
    """Return our word for the end of an answer; None for a reason that makes no whole answer."""
    if name in LENGTH_LIMITS:
        return "length"
    if name in CONTENT_FILTERS:
        return "content_filter"
    return "stop" if name in STOPS else None


def usage(figures: ReportedUsage) -> Usage | None:
    """Return what the figures of a chunk come to; None where they are nothing but zeros.

    Gemini's candidates exclude thoughts and its prompt includes what was cached; ours are sums by Usage's rule.
    Source: Gemini API, GenerateContentResponse.UsageMetadata.
    """
    thoughts_tokens, input_tokens = tokens(figures.thoughts), tokens(figures.prompt)
    output_tokens = tokens(figures.candidates) + thoughts_tokens
    if not tokens(figures.candidates):
        # Some answers name the total and not the answer's own.
        output_tokens = max(output_tokens, tokens(figures.total) - input_tokens - tokens(figures.tools))
    found = Usage(
        input_tokens=input_tokens,
        output_tokens=min(output_tokens, MAX_REPORTED_TOKENS),
        cached_tokens=min(tokens(figures.cached), input_tokens),
        thoughts_tokens=thoughts_tokens,
        tool_tokens=tokens(figures.tools),
    )
    return found if found.total_tokens else None


# Errors. A provider's message may hold the key: none of it goes further than its code and its reason.


def refusal(code: Any, body: Any, headers: Any, *, has_piece: bool) -> ProviderError:
    """Turn an error answer into our own error. body is the parsed JSON of any shape, with or without "error" around."""
    code = code if isinstance(code, int) and not isinstance(code, bool) else 500
    told = refusals.read(body, headers)
    logger.warning("Gemini answered %s: %s", code, told.for_log)
    if has_piece:
        return ProviderInterrupted()
    error = refusals.error_for(code, told)
    if code == 400:
        error.refused_part = next((part for part, words in REFUSED_PARTS.items() if words.search(told.words)), "")
    return error


def error_of(body: Any) -> dict[str, Any] | None:
    """Return the error object of a reply, which may be alone or the first of a list; None where there is none."""
    if isinstance(body, list):
        body = body[0] if body else None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {} if error else None
