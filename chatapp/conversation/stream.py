"""The stream of one answer for a page: HTML in unnamed events, `event: done` at the end.

The first frame of every connection is the whole state, so a page that reconnects needs no position. After that, final
blocks are appended once and the open end is replaced. Thoughts grow the same way, in a fold that stays open or closed
as the reader left it. At the end one frame updates the rest of the page. A frame is a few strings: no template is
rendered before the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from html import escape
from uuid import UUID

from flask_babel import gettext as _

from chatapp.rendering import MarkdownStream
from chatapp.turns.live.listeners import LoginCheck, sse_headers
from chatapp.turns.live.log import Ending, Heard, Piece, Thought

HEADERS = sse_headers("no-store")
# The headers are sent with the first bytes, so the page knows that it is connected.
HELLO = ": connected\n\n"
KEEP_ALIVE = ": keep-alive\n\n"
DONE = "event: done\ndata: -\n\n"
TICK_SECONDS = 0.05
PHONE_TICK_SECONDS = 0.1


def frames(
    answer_id: UUID,
    heard: Iterable[Heard],
    ended: Callable[[Ending], str | None],
    is_good: Callable[[], bool],
    *,
    opening: str = "",
    tick_seconds: float = TICK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Yield the events of a turn.

    opening: a line to put before the text (Exchange.opening). ended renders what changes around the answer, or returns
    None if it cannot right now. is_good returns whether the login is still valid (LoginCheck). If heard stops
    without an Ending, or the ending cannot be rendered, the stream stops without `done` and the page reconnects.
    """
    answer = AnswerFrames(answer_id, _("Copy"), opening)
    login = LoginCheck(is_good, clock)
    yield HELLO
    for item in heard:
        if login.has_ended(item):
            yield DONE
            return
        if isinstance(item, Piece):
            if frame := answer.grow(item):
                yield frame
            # A long open end is rendered less often; meanwhile new text waits in the log.
            if (pause := answer.interval_seconds - tick_seconds) > 0:
                sleep(pause)
        elif isinstance(item, Thought):
            if frame := answer.think(item):
                yield frame
        elif isinstance(item, Ending):
            if (rest := ended(item)) is None:
                return
            yield answer.finish(rest)
            yield DONE
        else:
            yield KEEP_ALIVE


class AnswerFrames:
    """Turns the text and thoughts of one answer into events."""

    def __init__(self, answer_id: UUID, copy_label: str, opening: str = "") -> None:
        self._text = Growing(f"m{answer_id}", copy_label)
        self._thoughts = Growing(f"m{answer_id}-thoughts", copy_label)
        self._opening = opening

    @property
    def interval_seconds(self) -> float:
        return self._text.interval_seconds

    def grow(self, piece: Piece) -> str:
        """Return the event that shows a piece; "" if nothing of it is visible yet."""
        if self._text.has_begun and not piece.reset:
            changes = self._text.grow(piece.text)
            return event(changes) if changes else ""
        changes = self._text.begin(self._opening + piece.text)
        if self._thoughts.has_begun and not piece.reset:
            changes += status(_("The answer is being written."))
        return event(changes)

    def think(self, thought: Thought) -> str:
        """Return the event that shows a thought; "" if nothing of it is visible yet."""
        if self._thoughts.has_begun:
            changes = self._thoughts.grow(thought.text)
            return event(changes) if changes else ""
        self._thoughts.begin(thought.text)
        return event(self._thoughts.whole + ("" if self._text.has_begun else status(_("The model is thinking."))))

    def finish(self, rest: str) -> str:
        """Return the last frame: the end of the text, and what changes around it."""
        return event(self._thoughts.finish() + self._text.finish() + rest)


class Growing:
    """Turns growing Markdown into page changes: final blocks, and the open end below them."""

    def __init__(self, name: str, copy_label: str) -> None:
        self._name = name
        self._open_tags = {
            "block": f'<div id="{name}-blocks" hx-swap-oob="beforeend">',
            "reset": f'<div id="{name}-blocks" hx-swap-oob="innerHTML">',
            "tail": f'<div id="{name}-tail" hx-swap-oob="innerHTML">',
            # An open end that is code has one code element.
            "code": f'<div hx-swap-oob="beforeend:#{name}-tail code">',
        }
        self._copy_label = copy_label
        self._stream: MarkdownStream | None = None

    @property
    def has_begun(self) -> bool:
        return self._stream is not None

    @property
    def interval_seconds(self) -> float:
        return self._stream.interval_ms / 1000 if self._stream else 0.0

    def begin(self, text: str) -> str:
        """Return the changes that replace the current content with a text."""
        self._stream = MarkdownStream(self._copy_label)
        self._stream.feed(text)
        return self.state

    def grow(self, text: str) -> str:
        return self._changes(self._stream.feed(text)) if self._stream else ""

    def finish(self) -> str:
        return self._changes(self._stream.finish()) if self._stream else ""

    @property
    def state(self) -> str:
        """The changes that replace the current content with the whole state."""
        blocks, tail = self._parts
        return self._changes([("reset", blocks), ("tail", tail)])

    @property
    def whole(self) -> str:
        """The change that also creates the elements for the blocks and the open end."""
        blocks, tail = self._parts
        inside = f'<div id="{self._name}-blocks">{blocks}</div><div id="{self._name}-tail" class="tail">{tail}</div>'
        return f'<div id="{self._name}" hx-swap-oob="innerHTML"><div class="prose" dir="auto">{inside}</div></div>'

    @property
    def _parts(self) -> tuple[str, str]:
        return (self._stream.blocks, self._stream.tail) if self._stream else ("", "")

    def _changes(self, changes: Iterable[tuple[str, str]]) -> str:
        return "".join(f"{self._open_tags[kind]}{html}</div>" for kind, html in changes)


def status(text: str) -> str:
    """Return the change that announces a text to screen readers."""
    return f'<div id="status" hx-swap-oob="innerHTML">{escape(text)}</div>'


def event(html: str) -> str:
    """Return HTML as one unnamed event. Each of the three line endings of SSE starts a new data line."""
    lines = html.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
    return f"data: {lines}\n\n"


def tick_seconds(mobile_hint: str | None, user_agent: str) -> float:
    """Return the interval between updates; phones get half as many."""
    is_phone = mobile_hint == "?1" if mobile_hint else "Mobi" in user_agent
    return PHONE_TICK_SECONDS if is_phone else TICK_SECONDS
