"""Gemini's requests and replies in terms of its REST API, shared by both clients."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from chatapp.kernel.errors import ProviderError, ProviderInterrupted
from chatapp.providers import refusals
from chatapp.providers.base import NO_WISHES, FinishReason, Usage, Wishes
from chatapp.providers.figures import MAX_REPORTED_TOKENS, tokens
from chatapp.providers.passed_over import name_once

logger = logging.getLogger(__name__)

GOOGLE = "https://generativelanguage.googleapis.com"
MAX_PIECE_CHARACTERS = 1_000_000  # The longest answer of any model, 65,536 tokens, is a quarter of this.

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
# Anything else (OTHER, MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, new reasons) means that the answer broke off.
STOPS = frozenset({"STOP"})

# Keys of a part that do not tell its kind.
BESIDE_A_PART = frozenset({"text", "thought", "thoughtSignature", "thought_signature", "videoMetadata", "partMetadata"})

# "Developer instruction is not enabled for models/…", "Thinking is not enabled …", "Budget 0 is invalid …".
REFUSED_PARTS = {
    "system": re.compile(r"(developer|system)[_ ]?instruction", re.IGNORECASE),
    "thinking": re.compile(r"thinking|\bbudget \d+ is invalid", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class GeminiRequest:
    """One request. thinking is the API's thinkingConfig with underscores, None if the family does not support it."""

    model: str
    contents: list[dict[str, Any]]
    max_tokens: int
    system_prompt: str = ""
    temperature: float | None = None
    thinking: dict[str, Any] | None = None
    wishes: Wishes = NO_WISHES


class ReportedUsage(NamedTuple):
    """A chunk's usage as reported; values may have any type."""

    prompt: Any
    candidates: Any
    thoughts: Any
    cached: Any
    tools: Any
    total: Any = None


@dataclass(frozen=True, slots=True)
class ChunkContent:
    """The content of one chunk of the stream. finish is Gemini's own term.

    Raises ProviderInterrupted if it is too long to be a piece of an answer.
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
    """Log, once per process, a part that is neither text nor thought: a call, a file, code, something new."""
    kinds = [key for key in keys if key not in BESIDE_A_PART]
    if kinds:
        name_once("Gemini", "a part", kinds[0])


def contents(messages: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    roles = {"user": "user", "assistant": "model"}
    return [{"role": roles[role], "parts": [{"text": text}]} for role, text in messages]


def wished(wishes: Wishes) -> dict[str, Any]:
    """Return what a program asked for, in the names of generationConfig with underscores.

    The schema goes into the field that takes JSON Schema as it is; the older one rejects $defs and the like.
    """
    is_json = wishes.is_json or wishes.schema is not None
    values = {
        "stop_sequences": list(wishes.stop) or None,
        "seed": wishes.seed,
        "top_p": wishes.top_p,
        "presence_penalty": wishes.presence_penalty,
        "frequency_penalty": wishes.frequency_penalty,
        "response_mime_type": "application/json" if is_json else None,
        "response_json_schema": wishes.schema,
    }
    return {name: value for name, value in values.items() if value is not None}


def finish_reason(name: str) -> FinishReason | None:
    """Return our term for the end of an answer; None for a reason that means the answer is incomplete."""
    if name in LENGTH_LIMITS:
        return "length"
    if name in CONTENT_FILTERS:
        return "content_filter"
    return "stop" if name in STOPS else None


def usage(figures: ReportedUsage) -> Usage | None:
    """Return a chunk's figures as our Usage; None if they are all zero.

    Gemini's candidates exclude thoughts and its prompt includes cached tokens; ours follow the definition of Usage.
    Source: Gemini API, GenerateContentResponse.UsageMetadata.
    """
    thoughts_tokens, input_tokens = tokens(figures.thoughts), tokens(figures.prompt)
    output_tokens = tokens(figures.candidates) + thoughts_tokens
    if not tokens(figures.candidates):
        # Some replies report the total but not the answer's tokens.
        output_tokens = max(output_tokens, tokens(figures.total) - input_tokens - tokens(figures.tools))
    found = Usage(
        input_tokens=input_tokens,
        output_tokens=min(output_tokens, MAX_REPORTED_TOKENS),
        cached_tokens=min(tokens(figures.cached), input_tokens),
        thoughts_tokens=thoughts_tokens,
        tool_tokens=tokens(figures.tools),
    )
    return found if found.total_tokens else None


# Errors. A provider's message may contain the key: only its code and reason go any further.


def refusal(code: Any, body: Any, headers: Any, *, has_piece: bool) -> ProviderError:
    """Turn an error reply into our own error. body is the parsed JSON of any shape, with or without "error" around
    it."""
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
    """Return the error object of a reply, which may be alone or first in a list; None if there is none."""
    if isinstance(body, list):
        body = body[0] if body else None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {} if error else None
