"""The turn log: the text of an answer so far, and how it ended. No Flask, no database.

A listener's position is an offset into the text, in characters. An answer only grows, so any process that has the text
can serve the rest. Listeners wait for a shared beat: the first piece is sent at once; after that, everything that
arrives within a beat is sent as one piece.

The model's thoughts grow alongside the text, for listeners that ask for them.

MemoryLog serves listeners in the process that produces the answer; redis_log.py serves those in other processes too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args
from uuid import UUID

import gevent
from gevent.event import Event

HEARTBEAT_SECONDS = 15.0
# How long an ended turn stays in memory for listeners that are a little behind; then the database serves it.
KEPT_SECONDS = 60.0
MAX_THOUGHT_CHARS = 200_000
# Thoughts are read only occasionally, if at all: they are sent with every fourth beat.
THOUGHT_TICKS = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """New text of an answer; end is the offset after it. reset: this is the whole text, start over."""

    text: str
    end: int
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Thought:
    """New text of the model's thoughts."""

    text: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ended, as stored in the database. code and message are None if it completed."""

    status: str
    message_id: UUID
    tokens_used: int
    remaining_tokens: int
    method: str | None
    finish_reason: str | None
    code: str | None = None
    message: str | None = None


# The texts of a turn.
Track = Literal["text", "thoughts"]
TRACKS: tuple[Track, ...] = get_args(Track)
Heard = Piece | Thought | Ending | None
Waiting = dict[float, list[Event]]
"""Beat → the listeners waiting for it."""


class Beats:
    """Wakes the listeners after a change, all those with the same interval together."""

    def __init__(self, sleep: Callable[[float], None] = gevent.sleep) -> None:
        self._sleep = sleep
        self._waiting: dict[float, list[Event]] = {}

    def wake_at_next(self, interval: float, listeners: list[Event]) -> None:
        if interval in self._waiting:
            self._waiting[interval] += listeners
            return
        self._waiting[interval] = list(listeners)
        gevent.spawn(self._beat, interval)

    def _beat(self, interval: float) -> None:
        self._sleep(interval)
        for listener in self._waiting.pop(interval):
            listener.set()


class TurnLog:
    """One turn's texts, by track. They only grow, except that replace() may replace the answer.

    is_copy: another process produces it, so this text may be a little behind what a listener has already received.
    """

    def __init__(self, beats: Beats | None = None, *, is_copy: bool = False) -> None:
        self.tracks: dict[Track, str] = dict.fromkeys(TRACKS, "")
        self.ending: Ending | None = None
        self.listeners = 0
        self._is_copy = is_copy
        self._is_dismissed = False
        self._beats = beats or Beats()
        self._replaced = 0
        self._waiting: Waiting = {}
        self._waiting_for_thoughts: Waiting = {}

    @property
    def text(self) -> str:
        return self.tracks["text"]

    @property
    def thoughts(self) -> str:
        return self.tracks["thoughts"]

    def append(self, delta: str) -> None:
        self.tracks["text"] += delta
        if self._waiting:
            self._wake()

    def think(self, delta: str) -> None:
        self.tracks["thoughts"] = (self.thoughts + delta)[:MAX_THOUGHT_CHARS]
        waiting, self._waiting_for_thoughts = self._waiting_for_thoughts, {}
        self._call(waiting)

    def replace(self, text: str) -> None:
        """Replace the text so far with the correct one. Listeners start over unless it merely continues."""
        self._replaced += not text.startswith(self.text)
        self.tracks["text"] = text
        self._wake()

    def end(self, ending: Ending) -> None:
        self.ending = ending
        for listeners in self._waiting.values():
            for listener in listeners:
                listener.set()
        self._waiting = {}

    def dismiss(self) -> None:
        """Disconnect the listeners. They reconnect with their positions and find another process."""
        self._is_dismissed = True
        self._wake()

    def follow(
        self,
        offset: int = 0,
        *,
        tick_seconds: float = 0.05,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        with_thoughts: bool = False,
    ) -> Iterator[Heard]:
        """Yield pieces from offset on as they arrive, None when a heartbeat is due, and finally the ending.

        with_thoughts: also yield the model's thoughts, from the beginning.
        """
        replaced, thought = self._replaced, 0
        self.listeners += 1
        try:
            while True:
                if with_thoughts and thought < len(self.thoughts):
                    news = Thought(self.thoughts[thought:])
                    thought = len(self.thoughts)
                    yield news
                elif replaced != self._replaced or (offset > len(self.text) and self._is_all_there_is):
                    offset, replaced = len(self.text), self._replaced
                    yield Piece(self.text, offset, reset=True)
                elif offset < len(self.text):
                    piece = Piece(self.text[offset:], len(self.text))
                    offset = piece.end
                    yield piece
                elif self.ending:
                    yield self.ending
                    return
                elif self._is_dismissed:
                    return
                else:
                    places = [(self._waiting, tick_seconds if offset else 0.0)]
                    if with_thoughts:
                        places.append((self._waiting_for_thoughts, THOUGHT_TICKS * tick_seconds if thought else 0.0))
                    if not self._wait(places, heartbeat_seconds):
                        yield None
        finally:
            self.listeners -= 1

    @property
    def _is_all_there_is(self) -> bool:
        return not self._is_copy or self.ending is not None

    def _wait(self, places: list[tuple[Waiting, float]], timeout: float) -> bool:
        listener = Event()
        queues = [waiting.setdefault(interval, []) for waiting, interval in places]
        for queue in queues:
            queue.append(listener)
        try:
            return bool(listener.wait(timeout))
        finally:
            for queue in queues:
                if listener in queue:
                    queue.remove(listener)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._call(waiting)

    def _call(self, waiting: Waiting) -> None:
        for interval, listeners in waiting.items():
            if interval:
                self._beats.wake_at_next(interval, listeners)
            else:
                for listener in listeners:
                    listener.set()


class MemoryLog:
    """The logs of this process's turns."""

    def __init__(self, beats: Beats | None = None, spawn_later: Callable[..., Any] = gevent.spawn_later) -> None:
        self.beats = beats or Beats()
        self._spawn_later = spawn_later
        self._logs: dict[UUID, TurnLog] = {}

    def open(self, turn_id: UUID) -> TurnLog:
        """Start a turn's log in the process that produces it."""
        self._logs[turn_id] = TurnLog(self.beats)
        return self._logs[turn_id]

    def get(self, turn_id: UUID) -> TurnLog | None:
        """Return the log of a turn that this process is producing or has just produced."""
        return self._logs.get(turn_id)

    def end(self, turn_id: UUID, ending: Ending) -> None:
        """Announce the end. Everything about it is in the database by now."""
        self._logs[turn_id].end(ending)
        self._spawn_later(KEPT_SECONDS, self._logs.pop, turn_id, None)

    def fetch(self, copies: dict[UUID, TurnLog]) -> None:
        """Update the copies of other processes' turns. A memory log knows nothing about them."""

    def stored_text(self, turn_id: UUID, track: Track = "text") -> str:
        """Return what is left of the text or thoughts of a turn whose process is gone; "" if nothing is."""
        return ""

    def close(self) -> None:
        """Stop background work and disconnect the listeners."""
        for turn_log in self._logs.values():
            turn_log.dismiss()
