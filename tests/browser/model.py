"""A scripted Gemini that is told what to say as the scripted provider is (tests/providers/scripted.py)."""

from __future__ import annotations

from typing import Any

from gevent.event import Event

from chatapp.kernel.errors import ProviderInterrupted, ProviderMisconfigured
from chatapp.providers.base import Chunk, FinishReason
from tests.scripted_gemini import Answer, Request, ScriptedGemini, refuses, says, tokens_of


class Model(ScriptedGemini):
    """Play the queued answers in order, one per request; without one, say "Hello."."""

    def __init__(self) -> None:
        super().__init__()
        self._holds: list[Event] = []

    def reset(self) -> None:
        """Let nothing of a test reach the next one."""
        super().reset()
        self.pace_seconds = 0.0
        self.count_rule = lambda text: tokens_of(text) + 1

    def will_say(self, *pieces: Any, finish_reason: FinishReason = "stop") -> None:
        """Queue an answer. A piece is a text, a Chunk with a thought, or a hold(), at which the answer waits."""
        self.script(says(*map(_step, pieces), finish="MAX_TOKENS" if finish_reason == "length" else "STOP"))

    def will_raise(self, error: Exception) -> None:
        """Queue an answer that fails."""
        answers = {
            ProviderMisconfigured: refuses(400, reason="API_KEY_INVALID"),
            ProviderInterrupted: says("Some", {"reset": True}),
        }
        self.script(answers[type(error)])

    def hold(self) -> Event:
        """Return a new event to put between pieces: the answer goes on once it is set, or at the test's end."""
        self._holds.append(Event())
        return self._holds[-1]

    def release(self) -> None:
        super().release()
        while self._holds:
            self._holds.pop().set()

    @staticmethod
    def _echo(request: Request) -> Answer:
        return says("Hello.")


def _step(piece: Any) -> Any:
    if isinstance(piece, Event):
        return {"hold": piece}
    return {"thought": piece.thought} if isinstance(piece, Chunk) else piece
