"""A provider that says exactly what a test tells it to, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gevent.event import Event

from chatapp.providers.base import ChatRequest, Chunk, FinishReason, ModelInfo, Usage

SCRIPTED = ModelInfo("scripted", "Scripted", max_input_tokens=32_768, max_output_tokens=8_192)


class ScriptedProvider:
    """Play the queued answers in order, one per request; without one, say "Hello.".

    requests: every ChatRequest, in order. closed: how many answers were closed before their end. count_rule: text →
    tokens, None for no counter; it may raise or block. counted: every text it was asked about.
    """

    name = "scripted"

    def __init__(self, *models: ModelInfo) -> None:
        self.requests: list[ChatRequest] = []
        self.closed = 0
        self.counted: list[str] = []
        self.count_rule: Callable[[str], int | None] = lambda text: None
        self._models = models or (SCRIPTED,)
        self._answers: list[list[Any]] = []
        self._holds: list[Event] = []

    def will_say(self, *pieces: Any, finish_reason: FinishReason | None = "stop", usage: Usage | None = None) -> None:
        """Queue an answer. A piece is a text, a Chunk, or a hold(), at which the answer waits.

        finish_reason None: the answer ends without one, as a bare iterator would.
        """
        end = [] if finish_reason is None else [Chunk(usage=usage, finish_reason=finish_reason)]
        self._answers.append([*pieces, *end])

    def will_raise(self, error: BaseException, *after: Any) -> None:
        """Queue an answer that fails, after some pieces or at once."""
        self._answers.append([*after, error])

    def hold(self) -> Event:
        """Return a new event to put between pieces: the answer goes on once it is set, or at release()."""
        self._holds.append(Event())
        return self._holds[-1]

    def release(self) -> None:
        for event in self._holds:
            event.set()

    def models(self) -> tuple[ModelInfo, ...]:
        return self._models

    def warm_up(self) -> None:
        """Do nothing: nothing here is slow."""

    def close(self):
        pass

    def count_tokens(self, model: str, text: str) -> int | None:
        self.counted.append(text)
        return self.count_rule(text)

    def stream(self, request: ChatRequest) -> Iterator[Chunk]:
        self.requests.append(request)
        answer = self._answers.pop(0) if self._answers else ["Hello.", Chunk(finish_reason="stop")]
        try:
            yield from self._play(answer)
        except GeneratorExit:
            self.closed += 1
            raise

    @staticmethod
    def _play(answer: list[Any]) -> Iterator[Chunk]:
        for piece in answer:
            if isinstance(piece, Event):
                piece.wait()
            elif isinstance(piece, BaseException):
                raise piece
            else:
                yield Chunk(delta=piece) if isinstance(piece, str) else piece
