"""What is sent to an OpenAI-compatible server, without what it rejects.

A server may reject a parameter by name, the system role, or a prompt beyond its window. We remember that for the model
as long as the process lives, and send the request again without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from chatapp.providers.base import LEAST_ANSWER_TOKENS, ChatRequest, PromptMessage, Wishes, without_system_role
from chatapp.providers.refusals import TOO_LONG, Told
from chatapp.tokens.estimate import calibrated, prompt_bound

REFUSING = (400, 404, 405, 415, 422, 500, 501)
LENGTH_NAMES = ("max_tokens", "max_completion_tokens")
PENALTIES = ("presence_penalty", "frequency_penalty")
OPTIONAL = ("stream_options", "temperature", "seed", "top_p", *PENALTIES, *LENGTH_NAMES)
NO_SYSTEM = re.compile(
    r"system[_ ](role|message|prompt|instruction)|role[^.]{0,30}\bsystem\b|\bsystem\b[^.]{0,30}role|"
    r"developer[_ ](instruction|message|role)|roles must alternate|must (start|begin) with[^.]{0,20}user|"
    r"first message[^.]{0,40}user|only user[^.]{0,30}roles|invalid value: .system|"
    r"should be .user. or .assistant.",
    re.IGNORECASE,
)
# The most specific first: the others may also match an unrelated number.
WINDOWS = (
    r"> (\d{3,8})(?: maximum|, decrease)",
    r"max_seq_len\D{0,10}(\d{3,8})",
    r"(?:context (?:length|window|size)|n_ctx|context_length|max_model_len)(?! by)[^\d.]{0,40}(?<!by )(\d{3,8})"
    r"(?! is (?:greater|longer))",
    r"(\d{3,8}) (?:tokens? )?(?:maximum )?context",
    r"max_new_tokens\D{0,30}<= ?(\d{3,8})",
    r"(?:maximum (?:model|prompt|input|sequence) length|less than|cannot exceed|(?<!exceeds )limit)"
    r"(?: is| of|:)? (\d{3,8})",
    r"input length[^.\d]{0,20}\[\d+, ?(\d{3,8})",
    r"maximum[^.\d]{0,30}tokens?\D{0,40}(\d{3,8})",
)
# For example "max_tokens is too large: this model supports at most 16384 completion tokens".
LONGEST = re.compile(
    r"(?:at most|less than or equal to|<=|≤|maximum (?:allowed|value)[^.\d]{0,40}|"
    r"(?:range|范围|should be in)[^.\d]{0,40}[\[(]\d+, ?|"
    r"greater than(?: the maximum(?: of)?)?|exceed|\d > (?=\d+, which))"
    r"[ `'\":]*(\d{2,8})",
    re.IGNORECASE,
)


@dataclass
class Asking:
    """How to ask one model. window: tokens for question and answer together, if a rejection has revealed it."""

    left_out: set[str] = field(default_factory=set)
    length_name: str = "max_tokens"
    has_system_role: bool = True
    window: int | None = None
    longest: int | None = None

    def __str__(self) -> str:
        left_out = ", ".join(sorted(self.left_out)) or "nothing"
        system = "with" if self.has_system_role else "without"
        return f"{self.length_name}, {system} a system role, left out: {left_out}, window: {self.window or 'unknown'}"

    def body(self, model: str, request: ChatRequest) -> dict[str, Any]:
        if not self.has_system_role:
            request = without_system_role(request)
        if self.window is not None:
            request = fitted(request, self.window)
        system = [{"role": "system", "content": request.system_prompt}] if request.system_prompt else []
        body: dict[str, Any] = {
            "model": model,
            "messages": [*system, *({"role": m.role, "content": m.content} for m in request.messages)],
            "stream": True,
            "stream_options": {"include_usage": True},
            self.length_name: min(request.max_output_tokens + (request.thinking_tokens or 0), self.longest or 10**9),
            "temperature": request.temperature,
            **_wished(request.wishes),
        }
        return {name: each for name, each in body.items() if each is not None and name not in self.left_out}

    def learn(self, body: dict[str, Any], told: Told, status: int) -> bool:
        """Learn from a rejection. Return whether to send the request again; each thing is learned only once."""
        if status not in REFUSING:
            return False
        said = f"{' '.join(told.codes)} {told.words} {told.places}"
        named = [name for name in OPTIONAL if name in body and re.search(rf"(?<![a-z_]){name}(?![a-z_])", said)]
        if self.length_name in named and self._shorten(body[self.length_name], said):
            return True  # Before the window: some servers speak of it by the way.
        if TOO_LONG.search(said):
            return self._learn_window(said)
        if named:
            return self._leave_out(named[0])
        if self.has_system_role and body["messages"][0]["role"] == "system" and NO_SYSTEM.search(said):
            self.has_system_role = False
            return True
        return False

    def _learn_window(self, said: str) -> bool:
        plain = re.sub(r"(?<=\d),(?=\d{3})", "", said)
        match = next(filter(None, (re.search(pattern, plain, re.IGNORECASE) for pattern in WINDOWS)), None)
        if self.window is not None or match is None:
            return False
        self.window = int(match[1])
        return True

    def _shorten(self, asked: Any, said: str) -> bool:
        """Remember the maximum length of an answer, if the rejection reveals it."""
        match = LONGEST.search(said)
        if self.longest is not None or match is None or not isinstance(asked, int) or not 0 < int(match[1]) < asked:
            return False
        self.longest = int(match[1])
        return True

    def _leave_out(self, name: str) -> bool:
        other = next((each for each in LENGTH_NAMES if each != name), "") if name in LENGTH_NAMES else ""
        if name == "max_tokens" and other not in self.left_out:
            self.length_name = other
        self.left_out.add(name)
        return True


def _wished(wishes: Wishes) -> dict[str, Any]:
    names = ("seed", "top_p", *PENALTIES)
    shape: dict[str, Any] | None = {"type": "json_object"} if wishes.is_json else None
    if wishes.schema is not None:
        schema = {"name": wishes.schema_name, "schema": wishes.schema, "strict": wishes.is_strict}
        shape = {"type": "json_schema", "json_schema": schema}
    return {name: getattr(wishes, name) for name in names} | {
        "stop": list(wishes.stop) or None,
        "response_format": shape,
    }


def fitted(request: ChatRequest, window: int) -> ChatRequest:
    """Fit the request into a window for question and answer: the oldest exchanges are left out first."""
    messages = list(request.messages)
    most_prompt = window - min(request.max_output_tokens, max(LEAST_ANSWER_TOKENS, window // 4))
    while len(messages) > 2 and prompt_tokens(request.system_prompt, messages) > most_prompt:
        del messages[:2]
    room = max(LEAST_ANSWER_TOKENS, window - prompt_tokens(request.system_prompt, messages))
    thinking = request.thinking_tokens and min(request.thinking_tokens, max(0, room - request.max_output_tokens))
    answer = min(request.max_output_tokens, room)
    return replace(request, messages=tuple(messages), max_output_tokens=answer, thinking_tokens=thinking)


def prompt_tokens(system_prompt: str, messages: list[PromptMessage]) -> int:
    texts = calibrated(system_prompt) + sum(calibrated(message.content) for message in messages)
    return prompt_bound(texts, len(messages) + 1)
