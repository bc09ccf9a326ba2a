"""A call of a program: admitted, run apart from its connection, and settled whatever becomes of that.

A worker greenlet lets a reader greenlet read the model. Whoever stops a call kills the reader only, so settling is
never interrupted. While it runs, the worker notes how much has come, since no text is stored: what a dead process
leaves is charged by that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import gevent
from flask import Flask
from gevent.queue import Queue
from sqlalchemy import update

from chatapp.api.openai.asking import Asked
from chatapp.api.openai.errors import CallBroken, FieldWrong
from chatapp.exchanges import running, settling
from chatapp.exchanges.admission import Terms, admit, bounds_of
from chatapp.exchanges.meter import RunningMeter
from chatapp.exchanges.models import EXCHANGES, Part
from chatapp.exchanges.settling import Outcome, Produced, Settled
from chatapp.kernel.database import execute_core, write
from chatapp.kernel.errors import ChatAppError, EmptyAnswer, Unauthenticated, Unavailable
from chatapp.kernel.text import ModelText
from chatapp.providers.base import ChatRequest, Chunk, FinishReason, Usage
from chatapp.providers.registry import providers
from chatapp.turns.live.process import live_turns

logger = logging.getLogger(__name__)

NOTED_EVERY_SECONDS = 2.0
KEY_CHECKED_EVERY_SECONDS = 10.0
BEAT_SECONDS = 1.0
# No text has fewer tokens than one in so many characters: what is longer is refused before it is counted.
MOST_CHARS_PER_TOKEN = 8


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended. error: what the program is told instead of an answer."""

    text: str
    thoughts: str
    finish: FinishReason
    used: Usage
    charged_tokens: int
    remaining_tokens: int
    error: ChatAppError | None = None


def begin(app: Flask, user_id: UUID, asked: Asked, is_good: Callable[[], bool]) -> Call:
    """Admit a call and start it. Raises FieldWrong, BudgetExceeded, Unavailable."""
    live_turns().admit()
    info = next((info for info in providers().models() if info.id == asked.model), None)
    if info is None:
        raise no_such_model(asked.model)
    if info.has_known_limits and asked.chars > info.max_input_tokens * MOST_CHARS_PER_TOKEN:
        raise too_long(info.max_input_tokens, asked.chars // MOST_CHARS_PER_TOKEN)
    estimate = asked.estimate()
    if info.has_known_limits and estimate > info.max_input_tokens:
        raise too_long(info.max_input_tokens, estimate)
    exchange_id = uuid4()
    with write():
        terms = _admit(exchange_id, user_id, asked, estimate)
    call = Call(app, exchange_id, terms, _request(asked, terms), is_good)
    call.start()
    return call


def no_such_model(model: str) -> FieldWrong:
    return FieldWrong(
        f"The model {model!r} does not exist or is not available", "model", status=404, kind="model_not_found"
    )


def too_long(most: int, sent: int) -> FieldWrong:
    # Clients look for these words.
    message = f"This model's maximum context length is {most} tokens. However, your messages resulted in {sent} tokens."
    return FieldWrong(message, "messages", kind="context_length_exceeded")


def _admit(exchange_id: UUID, user_id: UUID, asked: Asked, estimate: int) -> Terms:
    bounds = bounds_of(asked.model, asked.effort_tokens, "provider")
    terms = Terms(
        purpose="api",
        user_id=user_id,
        chat_id=None,
        model=asked.model,
        texts={},
        estimates={"question": estimate},
        metering="provider",
    )
    return admit(exchange_id, terms, replace(bounds, longest=min(bounds.longest, asked.longest or bounds.longest)))


def _request(asked: Asked, terms: Terms) -> ChatRequest:
    return ChatRequest(
        model=asked.model,
        messages=asked.messages,
        max_output_tokens=terms.answer_tokens,
        system_prompt=asked.system,
        temperature=asked.temperature,
        thinking_tokens=min(asked.effort_tokens, terms.thinking_tokens),
        wishes=asked.wishes,
    )


class Call:
    """One call. heard: the pieces as they come, then an Ended."""

    def __init__(self, app: Flask, exchange_id: UUID, terms: Terms, request: ChatRequest, is_good: Callable[[], bool]):
        self.id, self.terms, self.request = exchange_id, terms, request
        self.created = int(time.time())
        self.heard: Queue[Chunk | Ended] = Queue()
        self._app, self._is_good = app, is_good
        self._reader = gevent.Greenlet(self._read_on)
        self._meter = RunningMeter(request.max_output_tokens)
        self._text = self._thoughts = ""
        self._usage: Usage | None = None
        self._finish: FinishReason | None = None
        self._chunks = 0
        self._error: Exception | None = None
        self._outcome: Outcome | None = None
        self._told: ChatAppError | None = None
        self._noted_tokens = 0
        self._noted_at = self._checked_at = time.monotonic()

    def start(self) -> None:
        gevent.spawn(self._work)

    def stop(self, outcome: Outcome | None = None, told: ChatAppError | None = None) -> None:
        """End the call: the connection to the model is closed, and what came is charged. No effect once it ended."""
        if self._outcome is None and not self._reader.ready():
            self._outcome, self._told = outcome or settling.stopped(), told
            self._reader.kill(block=False)

    def _work(self) -> None:
        with self._app.app_context(), live_turns().holding(self.id, self.stop):
            try:
                self.heard.put(self._settle(self._run()))
            except Exception as error:
                # It stays open; the sweep settles it.
                logger.exception("A call was left to the sweep", extra={"turnId": str(self.id)})
                self.heard.put(self._ended(None, error if isinstance(error, ChatAppError) else ChatAppError()))

    def _run(self) -> Outcome:
        if self._outcome is None:
            self._reader.start()
        while self._outcome is None and not self._reader.ready():
            self._reader.join(timeout=BEAT_SECONDS)
            self._beat()
        self._reader.join()
        return self._outcome or self._own_outcome()

    def _own_outcome(self) -> Outcome:
        if self._error is not None:
            if not isinstance(self._error, ChatAppError):
                logger.error("A call failed", exc_info=self._error, extra={"turnId": str(self.id)})
            return settling.failed(self._error, self._text, was_heard=self._chunks > 0)
        if not self._text and self._finish == "length":
            return Outcome("completed", finish_reason="length")  # Its thoughts took all that was allowed.
        return settling.finished(self._text, self._finish, self.terms.is_clamped)

    def _read_on(self) -> None:
        with self._app.app_context():
            try:
                self._read()
            except Exception as error:
                self._error = error

    def _read(self) -> None:
        text, thoughts = ModelText(), ModelText()
        for chunk in running.read(self.request):
            self._chunks += chunk.chunks
            self._usage, self._finish = chunk.usage or self._usage, chunk.finish_reason or self._finish
            self._meter.add(chunk.delta, chunk.usage)
            if chunk.restarts:
                self._thoughts, self._text = self._thoughts + self._text, ""
            self._take(text.feed(chunk.delta), thoughts.feed(chunk.thought))
        self._take(text.finish(), thoughts.finish())

    def _take(self, delta: str, thought: str) -> None:
        self._text, self._thoughts = self._text + delta, self._thoughts + thought
        if delta or thought:
            self.heard.put(Chunk(delta, thought))

    def _beat(self) -> None:
        """Note how much has come, and see whether the key is still good."""
        instant = time.monotonic()
        if instant - self._checked_at >= KEY_CHECKED_EVERY_SECONDS:
            self._checked_at = instant
            if not self._is_good():
                self.stop(told=Unauthenticated("This key is no longer valid"))
        tokens = self._usage.output_tokens if self._usage else self._meter.tokens
        if instant - self._noted_at >= NOTED_EVERY_SECONDS and tokens != self._noted_tokens:
            self._noted_at, self._noted_tokens = instant, tokens
            note(self.id, self.terms, tokens)

    def _settle(self, outcome: Outcome) -> Ended:
        produced = Produced(self._text, self._thoughts, self._usage, self._chunks)
        settled = settling.settle(self.id, produced, outcome, terms=self.terms)
        return self._ended(settled, self._told or self._failure(outcome, settled))

    def _failure(self, outcome: Outcome, settled: Settled | None) -> ChatAppError | None:
        """Return what the program is told instead of an answer; None if it has one, if only up to the budget's end."""
        if outcome.status == "completed" or outcome.finish_reason == "length":
            return None
        is_plain = isinstance(self._error, ChatAppError) and not isinstance(self._error, EmptyAnswer)
        if is_plain and (settled is None or not settled.charged_tokens or outcome.finish_reason == "content_filter"):
            return self._error  # type: ignore[return-value]
        if outcome.finish_reason == "content_filter":
            return FieldWrong(outcome.message or "", None, kind="content_filter")
        if outcome.status == "interrupted" and settled is not None and not settled.charged_tokens:
            return Unavailable()
        return CallBroken(outcome.message)

    def _ended(self, settled: Settled | None, error: ChatAppError | None) -> Ended:
        charged = settled.charged_tokens if settled else 0
        sent = sum(self.terms.estimates.values())
        counted = Usage(sent, max(0, charged - sent - self.terms.overhead))
        return Ended(
            self._text,
            self._thoughts,
            self._finish or "length",
            self._usage or counted,
            charged,
            settled.remaining_tokens if settled else 0,
            error,
        )


def note(exchange_id: UUID, terms: Terms, answer_tokens: int) -> None:
    """Save how much of an answer has come so far: settling counts by it if this process dies."""
    parts = {**terms.estimates, "answer": answer_tokens}
    values = {"parts": [Part(kind, tokens, "estimate").as_dict() for kind, tokens in parts.items()]}
    is_open = (EXCHANGES.c.id == exchange_id) & (EXCHANGES.c.status == "in_progress")
    with write():
        execute_core(update(EXCHANGES).where(is_open).values(values))
