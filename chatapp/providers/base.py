"""The interface of a model provider: one method streams an answer, another counts tokens. No Flask, no database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from chatapp.providers.parts import Part, Text

# An answer is never asked to be shorter, however full the window is.
LEAST_ANSWER_TOKENS = 16

Role = Literal["user", "assistant"]
FinishReason = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that users can choose. Limits in tokens.

    min_thinking_tokens: how much the model may think on top of the answer even when told not to; 0 if thinking can be
    switched off. max_thinking_tokens: the most that can be allowed; 0 if there is no choice. If thoughts are charged,
    they are reserved too. has_known_limits: False if the other figures are assumed.
    shares_window: question and answer together must fit into max_input_tokens.
    """

    id: str
    label: str
    max_input_tokens: int
    max_output_tokens: int
    min_thinking_tokens: int = 0
    max_thinking_tokens: int = 0
    has_known_limits: bool = True
    shares_window: bool = False

    def thinking_tokens(self, asked: int | None) -> int:
        """Return the most the model may think on top of the answer when asked for this much. None counts as 0."""
        return max(min(asked or 0, self.max_thinking_tokens), self.min_thinking_tokens)


@dataclass(frozen=True, slots=True)
class PromptMessage:
    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of_text(cls, role: Role, text: str) -> PromptMessage:
        return cls(role, (Text(text),))

    @property
    def content(self) -> str:
        """The texts of its parts, joined."""
        return "\n\n".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What programs may ask of an answer. None and empty: whatever the model does by itself.

    schema: a JSON schema that the answer must follow. is_json: any JSON object will do.
    """

    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    is_json: bool = False
    schema: Mapping[str, Any] | None = None
    schema_name: str = "answer"
    is_strict: bool = False


NO_WISHES = Wishes()


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request to a model. messages is oldest first and ends with the user's.

    max_output_tokens limits the visible answer; thinking_tokens is the thinking budget on top of it (0: off, or the
    model's min_thinking_tokens; None: as much as the model likes, within max_output_tokens). A provider
    asks for no more than max_output_tokens and ModelInfo.thinking_tokens(thinking_tokens) together.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    max_output_tokens: int
    system_prompt: str = ""
    temperature: float | None = None
    thinking_tokens: int | None = 0
    wishes: Wishes = NO_WISHES


def without_system_role(request: ChatRequest) -> ChatRequest:
    """Return the request with its instructions before the first question, for models without a system role."""
    if not request.system_prompt or not request.messages:
        return request
    first = request.messages[0]
    first = replace(first, parts=(Text(request.system_prompt), *first.parts))
    return replace(request, system_prompt="", messages=(first, *request.messages[1:]))


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider reported, in tokens; never negative. input includes cached, output includes thoughts."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    thoughts_tokens: int = 0
    tool_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.tool_tokens


@dataclass(frozen=True, slots=True)
class Chunk:
    """A step of an answer: new text, a new thought, the running usage (cumulative: the last one counts), the end.

    chunks: how many of the provider's chunks it combines. restarts: all text before it turned out to be a thought.
    """

    delta: str = ""
    thought: str = ""
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    chunks: int = 1
    restarts: bool = False


class Provider(Protocol):
    name: str

    def models(self) -> tuple[ModelInfo, ...]:
        """Return the available models, the preferred one first, never empty."""
        ...

    def stream(self, request: ChatRequest) -> Iterator[Chunk]:
        """Yield the answer while it is generated.

        Zero or more chunks with text or running usage, then exactly one with finish_reason. Closing the
        iterator, or killing the greenlet that reads it, closes the upstream connection.

        Raises only ProviderError and its subclasses; a library's own errors do not escape.
        """
        ...

    def warm_up(self) -> None:
        """Do the slow part of the first call ahead of time, without the network. Optional; may be repeated."""
        ...

    def close(self) -> None:
        """Close idle connections. The provider stays usable."""
        ...

    def count_tokens(self, model: str, text: str) -> int | None:
        """Return the provider's own count of a text; None if it has no counter. Raises ProviderError."""
        ...
