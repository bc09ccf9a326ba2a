"""What is answered, in OpenAI's shapes.

Source: OpenAI API reference, "The chat completion object" and "The chat completion chunk object", August 2026.
"""

from __future__ import annotations

import json
from typing import Any

from chatapp.providers.base import ModelInfo, Usage

DONE = "data: [DONE]\n\n"
# One line end: with a blank line it is an event, and some libraries fail on an empty one.
KEEP_ALIVE = ": keep-alive\n"


def model(info: ModelInfo, provider: str) -> dict[str, Any]:
    known = {"context_length": info.max_input_tokens, "max_output_tokens": info.max_output_tokens}
    return {"id": info.id, "object": "model", "created": 0, "owned_by": provider} | (
        known if info.has_known_limits else {}
    )


def usage(used: Usage, charged_tokens: int, remaining_tokens: int) -> dict[str, Any]:
    prompt, completion = used.input_tokens + used.tool_tokens, used.output_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": used.thoughts_tokens},
        "charged_tokens": charged_tokens,
        "remaining_tokens": remaining_tokens,
    }


def event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


class Shape:
    """Shapes one answer. Its id, instant and model are the same in every chunk."""

    def __init__(self, call_id: str, created: int, model: str, *, with_usage: bool) -> None:
        self._head = {"id": f"chatcmpl-{call_id}", "object": "chat.completion", "created": created, "model": model}
        self._with_usage = with_usage

    def whole(self, text: str, thoughts: str, finish: str, used: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        if thoughts:
            message["reasoning_content"] = thoughts
        return self._head | {
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": used,
        }

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._event([choice], None)

    def last(self, used: dict[str, Any]) -> str:
        """Return the figures, if they were asked for: a chunk without choices, for some clients count it twice."""
        return self._event([], used) if self._with_usage else ""

    def _event(self, choices: list[Any], used: dict[str, Any] | None) -> str:
        figures = {"usage": used} if self._with_usage else {}
        return event(self._head | {"object": "chat.completion.chunk", "choices": choices} | figures)
