"""Reads a request to /v1/chat/completions.

What is not known is ignored, because libraries send a lot of their own. What is known and cannot be obeyed is refused
by name: an answer without it could not be told from one that obeyed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from chatapp.api.openai.errors import FieldWrong
from chatapp.kernel.breath import Breath
from chatapp.kernel.config import settings
from chatapp.kernel.text import clean_model_text
from chatapp.providers.base import PromptMessage, Wishes
from chatapp.tokens.estimate import calibrated

EFFORTS = {"none": 0, "minimal": 512, "low": 2048, "medium": 8192, "high": 24_576}
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
REFUSED = ("tools", "functions", "audio", "logit_bias", "logprobs", "top_logprobs")
MOST_STOPS = 4
MOST_MESSAGES = 10_000
SLICE_CHARS = 50_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as plain values. longest: the answer's limit that was asked for, in tokens."""

    model: str
    system: str
    messages: tuple[PromptMessage, ...]
    is_streamed: bool
    with_usage: bool
    longest: int | None
    effort_tokens: int
    temperature: float | None
    wishes: Wishes

    @property
    def texts(self) -> list[str]:
        """All that is sent. A schema is sent too."""
        schema = [str(self.wishes.schema)] if self.wishes.schema is not None else []
        return [self.system, *schema, *(message.content for message in self.messages)]

    def estimate(self) -> int:
        """Estimate what is sent, in slices: others must not wait for a long text."""
        breath, tokens = Breath(), 0
        for text in self.texts:
            for start in range(0, len(text), SLICE_CHARS):
                tokens += calibrated(text[start : start + SLICE_CHARS])
                breath()
        return tokens

    @property
    def chars(self) -> int:
        return sum(map(len, self.texts))


def read() -> Asked:
    """Read the request's body. Raises FieldWrong."""
    sent = _object()
    for name in REFUSED:
        if sent.get(name) and not (name == "tools" and sent.get("tool_choice") == "none"):
            raise FieldWrong(f"{name} is not supported here", name)
    if sent.get("n") not in (None, 1):
        raise FieldWrong("n must be 1", "n")
    system, messages = _messages(sent.get("messages"))
    options = _typed(sent, "stream_options", dict) or {}
    caps = [_number(sent, name, int, 1, 10**9) for name in ("max_tokens", "max_completion_tokens")]
    return Asked(
        model=_typed(sent, "model", str) or "",
        system=system,
        messages=messages,
        is_streamed=_typed(sent, "stream", bool) or False,
        with_usage=options.get("include_usage") is True,
        longest=min((cap for cap in caps if cap is not None), default=None),
        effort_tokens=_effort(sent),
        temperature=_number(sent, "temperature", float, 0, 2),
        wishes=_wishes(sent),
    )


def _object() -> dict[str, Any]:
    if request.content_length is None and "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise FieldWrong("Send the body with a Content-Length", None, status=411)
    request.max_content_length = settings().endpoint_bytes
    if not request.is_json:
        raise FieldWrong("Send JSON, with Content-Type: application/json", None, status=415)
    try:
        sent = request.get_json()
    except RequestEntityTooLarge:
        limit = settings().endpoint_bytes
        raise FieldWrong(
            f"The request is larger than {limit} bytes", None, status=413, kind="request_too_large"
        ) from None
    except (BadRequest, RecursionError, ValueError):
        raise FieldWrong("The body is not valid JSON", None) from None
    if not isinstance(sent, dict):
        raise FieldWrong("The body must be a JSON object", None)
    return sent


def _typed(sent: dict[str, Any], name: str, kind: type) -> Any:
    value = sent.get(name)
    if value is not None and not isinstance(value, kind):
        raise FieldWrong(f"{name} has the wrong type", name)
    return value


def _number(sent: dict[str, Any], name: str, kind: type, low: float, high: float) -> Any:
    value = sent.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not low <= value <= high or (kind is int and value != int(value)):
        raise FieldWrong(f"{name} must be a number from {low} to {high}", name)
    return kind(value)


def _effort(sent: dict[str, Any]) -> int:
    nested = sent.get("reasoning")
    effort = sent.get("reasoning_effort") or (nested.get("effort") if isinstance(nested, dict) else None)
    if effort is None:
        return 0
    if effort not in EFFORTS:
        raise FieldWrong(f"reasoning_effort must be one of {', '.join(EFFORTS)}", "reasoning_effort")
    return EFFORTS[effort]


def _wishes(sent: dict[str, Any]) -> Wishes:
    stop = sent.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or len(stop) > MOST_STOPS or not all(isinstance(word, str) and word for word in stop):
        raise FieldWrong(f"stop must be a string or a list of up to {MOST_STOPS} strings", "stop")
    is_json, schema, name, is_strict = _format(sent)
    return Wishes(
        tuple(stop),
        _number(sent, "seed", int, -(2**31), 2**31 - 1),
        _number(sent, "top_p", float, 0, 1),
        _number(sent, "presence_penalty", float, -2, 2) or None,
        _number(sent, "frequency_penalty", float, -2, 2) or None,
        is_json,
        schema,
        name,
        is_strict,
    )


def _format(sent: dict[str, Any]) -> tuple[bool, dict[str, Any] | None, str, bool]:
    wanted = _typed(sent, "response_format", dict) or {"type": "text"}
    kind, described = wanted.get("type"), wanted.get("json_schema")
    if kind in ("text", "json_object"):
        return kind == "json_object", None, "answer", False
    if kind != "json_schema":
        raise FieldWrong("response_format.type must be text, json_object or json_schema", "response_format.type")
    if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
        raise FieldWrong("response_format.json_schema.schema is missing", "response_format.json_schema.schema")
    name = described.get("name")
    return False, described["schema"], name if isinstance(name, str) else "answer", described.get("strict") is True


def _messages(sent: Any) -> tuple[str, tuple[PromptMessage, ...]]:
    """Return the system messages, joined, and the others; blank ones are left out."""
    if not isinstance(sent, list) or not 0 < len(sent) <= MOST_MESSAGES:
        raise FieldWrong("messages must be a list with at least one message", "messages")
    system, messages = [], []
    for number, message in enumerate(sent):
        place = f"messages[{number}]"
        if not isinstance(message, dict):
            raise FieldWrong(f"{place} must be an object", place)
        role, text = _role(message, place), _text(message.get("content"), f"{place}.content")
        if text.strip() and role == "system":
            system.append(text)
        elif text.strip():
            messages.append(PromptMessage.of_text("user" if role == "user" else "assistant", text))
    if not messages or messages[-1].role != "user":
        raise FieldWrong("messages must end with a message of the user that is not blank", "messages")
    return "\n\n".join(system), tuple(messages)


def _role(message: dict[str, Any], place: str) -> str:
    if message.get("tool_calls") or message.get("function_call"):
        raise FieldWrong("tool calls are not supported here", f"{place}.tool_calls")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise FieldWrong(f"{place}.role must be one of {', '.join(ROLES)}", f"{place}.role")
    return ROLES[role]


def _text(content: Any, place: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return clean_model_text(content)
    if not isinstance(content, list):
        raise FieldWrong(f"{place} must be a string or a list", place)
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
            raise FieldWrong("only parts of text are supported here", f"{place}[{number}].type")
        texts.append(clean_model_text(part[kind]))
    return "\n\n".join(texts)
