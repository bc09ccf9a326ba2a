"""Extracts events from a reply's bytes, cut anywhere: an event stream, lines of JSON, or one JSON document."""

from __future__ import annotations

import http.client
import itertools
import json
import logging
from collections.abc import Iterator
from typing import Any

from chatapp.kernel.errors import ProviderMisconfigured
from chatapp.providers.passed_over import name_once

logger = logging.getLogger(__name__)

# No model's answer, however escaped, comes near this.
LONGEST_LINE_BYTES = 8_000_000
# For everything except streamed answers: a list of models, a count, one document instead of a stream.
LONGEST_DOCUMENT_BYTES = 2_000_000
BOM = b"\xef\xbb\xbf"
UNREADABLE = object()
# A line that begins with a colon is a comment.
FIELDS = (b"", b"event", b"id", b"retry", b"data")


def read_events(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield the events of each piece of a reply. Its format is detected: servers send arbitrary content types.

    Raises http.client.HTTPException if it is too long, ProviderMisconfigured if it is an HTML page.
    """
    first = _beginning(pieces)
    if first.startswith(b"<"):
        logger.warning("A model's server answered with an HTML page: is its address right?")
        raise ProviderMisconfigured
    line, line_end, _ = first.partition(b"\n")
    if first[:1] in (b"{", b"[") and line_end and not is_json(line):
        yield from _document(first, pieces)
    else:
        yield from _events(itertools.chain([first], pieces))


def is_json(data: bytes) -> bool:
    return parsed(data) is not UNREADABLE


def parsed(data: bytes) -> Any:
    """Parse JSON; UNREADABLE if it is invalid. A byte order mark is skipped, a broken byte loses only its character."""
    try:
        return json.loads(data.removeprefix(BOM).decode(errors="replace"), strict=False)
    except (ValueError, RecursionError):
        return UNREADABLE


def _beginning(pieces: Iterator[bytes]) -> bytes:
    """Return the start of the reply without leading white space: its first line, if that is JSON."""
    first = b""
    for piece in pieces:
        first = (first + piece).lstrip()
        if BOM.startswith(first):
            continue
        first = first.removeprefix(BOM).lstrip()
        if first[:1] not in (b"", b"{", b"[") or b"\n" in first:
            break
        if len(first) > LONGEST_DOCUMENT_BYTES:
            raise http.client.HTTPException("a document without end")
    return first


def _document(first: bytes, pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield a multi-line JSON document as one event; if it is not one, the events in its lines."""
    found, left = [first], LONGEST_DOCUMENT_BYTES
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise http.client.HTTPException("a document without end")
        found.append(piece)
    whole = b"".join(found)
    if is_json(whole):
        yield [whole]
    else:
        yield from _events(iter([whole + b"\n"]))


def _events(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield the data of the events in each piece, and lines of bare JSON.

    Source: WHATWG HTML 9.2.6: a line ends with LF, CRLF or CR.
    """
    event, waiting = _Event(), b""
    for piece in pieces:
        waiting = waiting + piece if waiting else piece
        if b"\r" in waiting:
            waiting = _with_one_line_end(waiting)
        if b"\n" not in waiting:
            if len(waiting) > LONGEST_LINE_BYTES:
                raise http.client.LineTooLong("event")
            continue
        *lines, waiting = waiting.split(b"\n")
        if events := [data for line in lines for data in event.take(line)]:
            yield events
    if events := [data for data in (*event.take(waiting), *event.take(b"")) if is_json(data) or data == b"[DONE]"]:
        # The last event may lack its blank line; one that was cut off in the middle is not an event.
        yield events


class _Event:
    """The event whose lines are arriving."""

    def __init__(self) -> None:
        self._data: list[bytes] = []
        self._size = 0
        self._is_error = False

    def take(self, line: bytes) -> list[bytes]:
        """Return the data of the events that this line completes."""
        if not line:
            return self._end()
        if line.startswith(b"data:"):
            # Some servers leave out the blank line between events.
            ended = self._end() if len(self._data) == 1 and is_json(self._data[0]) else []
            self._data.append(line[5:].strip())
            self._size += len(line)
            if self._size > LONGEST_LINE_BYTES:
                raise http.client.LineTooLong("event")
            return ended
        if line[:1] in b"{[":
            return [line]
        if line.startswith(b"error:"):
            return [_as_error(line[6:].strip())]  # As llama.cpp wrote.
        if line.startswith(b"event:") and line[6:].strip().lower().endswith((b"error", b"exception")):
            self._is_error = True
        elif line.partition(b":")[0] not in FIELDS:
            name_once("A model's server", "a line", "plain text")
        return []

    def _end(self) -> list[bytes]:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        is_error = self._is_error
        if self._size or is_error:
            self._data, self._size, self._is_error = [], 0, False
        # Without data it only keeps the connection open.
        return [] if not data else [_as_error(data) if is_error else data]


def _as_error(data: bytes) -> bytes:
    """Return the data of an event named "error" as an error object, whatever it contains."""
    said = parsed(data)
    if isinstance(said, dict) and said.get("error"):
        return data
    return json.dumps({"error": data.decode(errors="replace") if said is UNREADABLE else said or "error"}).encode()


def _with_one_line_end(text: bytes) -> bytes:
    """Return the text with LF for every line end; a trailing CR stays, because an LF may follow."""
    held = text.endswith(b"\r")
    text = (text[:-1] if held else text).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text + b"\r" if held else text
