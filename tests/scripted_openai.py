"""An OpenAI-compatible server that says, and breaks, what a test tells it to. Everything but the words is ScriptedGemini's.

server.script(says("one", {"thought": "hm"}, " two", finish="stop"), refuses(429, retry_after="3"))
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.scripted_gemini import Answer, Request, ScriptedGemini, _Cut, _event, refuses, says, tokens_of

__all__ = ["ScriptedOpenAI", "refuses", "says"]

MODELS = [{"id": "small", "object": "model", "max_model_len": 8192}, {"id": "large", "object": "model"}]


class ScriptedOpenAI(ScriptedGemini):
    """The server. thinks_as: what it calls a piece of thought."""

    def __init__(self, port: int = 0, *, api_key: str | None = None, pace_seconds: float = 0.0) -> None:
        super().__init__(port, api_key=api_key, pace_seconds=pace_seconds)
        self.thinks_as = "reasoning_content"

    @property
    def url(self) -> str:
        return f"{super().url}/v1"

    def reset(self) -> None:
        super().reset()
        self.thinks_as = "reasoning_content"

    def _kind(self, path: str) -> tuple[str, str]:
        kinds = {"/v1/chat/completions": "stream", "/v1/models": "models"}
        return kinds.get(path, "control" if path.startswith("/__") else "unknown"), ""

    def _answer_for(self, request: Request) -> Answer:
        if self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return refuses(401, message=f"Incorrect API key provided: {request.headers.get('authorization')}")
        answer = self._take(request.kind)
        if answer is not None:
            return answer
        if request.kind == "models":
            return Answer(body=json.dumps({"object": "list", "data": MODELS}))
        if request.kind == "unknown":
            return refuses(404, message="Not found.")
        words = ["You", "said", "something.", "That", "is", "all."]
        return says(*[f"{word} " for word in words], finish="stop")

    def _events(self, request: Request, answer: Answer) -> Iterator[bytes]:
        said = thought = ""
        for index, step in enumerate(answer.steps):
            if index:
                self._sleep(self.pace_seconds if answer.pace_seconds is None else answer.pace_seconds)
            if isinstance(step, str):
                said += step
                yield _event(_chunk({"content": step}))
            elif "thought" in step:
                thought += step["thought"]
                yield _event(_chunk({self.thinks_as: step["thought"], "content": None}))
            elif "hold" in step:
                self._released.wait()
            elif "wait" in step:
                self._sleep(step["wait"])
            elif "reset" in step or "close" in step:
                raise _Cut("reset" if "reset" in step else "close")
            elif "raw" in step or "raw_hex" in step:
                yield step["raw"].encode() if "raw" in step else bytes.fromhex(step["raw_hex"])
            else:
                yield _event(step.get("chunk", step))
        if answer.finish is not None:
            yield _event(_chunk({}, "length" if answer.finish == "MAX_TOKENS" else answer.finish.lower()))
            if (usage := self._usage(request, answer.usage, said, thought)) is not None:
                yield _event({"object": "chat.completion.chunk", "choices": [], "usage": usage})
            yield b"data: [DONE]\n\n"

    @staticmethod
    def _usage(request: Request, asked: Any, said: str, thought: str) -> Any:
        """Return the usage of the last chunk: only where the request asked for it, as the API does."""
        if not ((request.body or {}).get("stream_options") or {}).get("include_usage") or asked == "none":
            return None
        if isinstance(asked, dict):
            return asked
        prompt = sum(tokens_of(message["content"]) for message in request.body["messages"])
        completion = tokens_of(said) + tokens_of(thought)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "completion_tokens_details": {"reasoning_tokens": tokens_of(thought)},
        }


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], "usage": None}
