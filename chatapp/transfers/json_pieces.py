"""Decodes JSON piece by piece: no piece takes long, and what would not fit into memory is not decoded.

A first look finds brackets and commas outside of texts, a window at a time. What they enclose is decoded once it is
as long as a piece; several short neighbours make one piece together. What is short is left to its parent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext as _

from chatapp.transfers.bounds import MEBIBYTE, Intake, InvalidFile

WINDOW_BYTES = 2**14
PIECE_BYTES = 2**16
# The start of a picture embedded in a text, which is skipped.
DATA_URL = b'"data:'
DATA_URL_BYTES = 64
LISTS = (b"chats", b"conversations")

# The next bracket or comma outside strings, a string that does not end in this window, or the window's end.
SIGN = re.compile(rb'(?:[^"\[\]{},]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(["\[\]{},]|\Z)', re.DOTALL)
REST_OF_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
WHOLE_CHARACTERS = re.compile(rb'"[^"\\]*+(?:\\(?:u[0-9A-Fa-f]{4}|[^u])[^"\\]*+)*+', re.DOTALL)
KEY = re.compile(rb'\s*"(\w+)"\s*:\s*')
CLOSING = {b"[": b"]", b"{": b"}"}
DECODER = json.JSONDecoder(strict=False)


@dataclass(slots=True)
class _Frame:
    """An open list or object. Members before done are decoded in value; those after it are still text."""

    sign: bytes
    opened: int
    done: int
    comma: int
    value: Any = None


class Document:
    """A JSON document: one object, or a list of chats, which may also be a member of the object.

    elements() yields (number, value), or (number, InvalidFile) for one that cannot be decoded. head holds the members
    that come before the list; is_list is False where the whole document is the one element.
    """

    def __init__(self, data: bytes, intake: Intake) -> None:
        self.head: dict[str, Any] = {}
        self.is_list = True
        self._data, self._intake = data, intake
        self._frames: list[_Frame] = []
        self._streamed = 0
        """The nesting depth of the elements; 0 while unknown."""
        self._values = self._lists = self._bytes = self._all_values = 0
        self._refusal: InvalidFile | None = None
        self._end: int | None = None
        """Where the document ended; None if only its list of chats was read."""

    def elements(self) -> Iterator[tuple[int, Any]]:
        """Raises InvalidFile if the document ends early or its brackets don't match."""
        number = 0
        for sign, place, end in self._signs():
            if sign == b'"':
                self._put(place, end, lambda start=place, end=end: self._long_text(start, end))
            elif sign in b"[{":
                self._open(sign, place)
            elif len(self._frames) == self._streamed and sign in b",]" and self._streamed:
                is_last = sign == b"]"
                if not (is_last and not number and self._is_empty(place)):
                    yield number, self._element(place)
                number += 1
                if is_last:
                    self._end = place + 1 if len(self._frames) == 1 else None
                    return
            elif sign == b",":
                self._comma(place)
            elif (whole := self._close(sign, place)) is not None:
                self.is_list, self._end = False, place + 1
                yield 0, whole
                return
            if not self._frames:
                break
        raise self._broken(len(self._data))

    def trailing(self) -> InvalidFile | None:
        """Return, after all elements, whether something follows the document, as in a file with one object per line."""
        end = self._end
        if end is None or not self._data[end : end + WINDOW_BYTES].strip(b" \t\r\n\0\x1a"):
            return None
        return self._broken(end)

    # Finding brackets and commas

    def _signs(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield brackets and commas outside strings, and strings longer than a window, with start and end."""
        data, at, size = self._data, 0, len(self._data)
        while at < size:
            window_end = min(at + WINDOW_BYTES, size)
            for found in SIGN.finditer(data, at, window_end):
                sign, place = found[1], found.start(1)
                if not sign:
                    at = window_end
                    break
                at = place + 1
                if sign == b'"':
                    at = self._end_of_text(place)
                    if at - place > PIECE_BYTES:
                        yield sign, place, at
                    break
                yield sign, place, at
            self._intake.breathe()

    def _end_of_text(self, start: int) -> int:
        at, data, size = start + 1, self._data, len(self._data)
        while at < size:
            match = REST_OF_TEXT.match(data, at, min(at + WINDOW_BYTES, size))
            at = match.end() if match else at
            if data[at : at + 1] == b'"':
                return at + 1
            if data[at : at + 1] == b"\\" and at + 1 >= size:
                break
            self._intake.breathe()
        raise self._broken(start)

    # Lists and objects

    def _open(self, sign: bytes, place: int) -> None:
        limit = self._intake.bounds.depth
        if len(self._frames) >= limit:
            raise InvalidFile(_("The file is nested deeper than %(limit)s levels", limit=limit))
        self._count()
        self._lists += 1
        if self._lists > self._intake.bounds.chat_lists and self._refusal is None:
            self._refuse(_("it holds more than %(limit)s lists and objects", limit=self._intake.bounds.chat_lists))
        is_streamed = not self._streamed and sign == b"[" and self._is_list_of_chats(place)
        self._frames.append(_Frame(sign, place, place + 1, place))
        if is_streamed:
            self._streamed = len(self._frames)
            self._values = self._lists = self._bytes = 0

    def _is_list_of_chats(self, place: int) -> bool:
        """Return whether the list that opens here is the document, or its member that contains the chats."""
        if len(self._frames) != 1 or self._frames[0].sign != b"{":
            return not self._frames
        key = KEY.fullmatch(self._data, self._frames[0].comma + 1, place)
        if key is None or key[1] not in LISTS:
            return False
        self._flush(self._frames[0], self._frames[0].comma)
        self._raise_refusal()
        self.head = self._frames[0].value or {}
        return True

    def _comma(self, place: int) -> None:
        if not self._frames:
            raise self._broken(place)
        self._count()
        frame = self._frames[-1]
        # A long member is already in value; only blanks follow it.
        if frame.done > frame.comma + 1 or place - frame.done > PIECE_BYTES:
            self._flush(frame, place)
            frame.done = place + 1
        frame.comma = place

    def _close(self, sign: bytes, place: int) -> Any:
        """Close a list or object. Returns the document's value if it was the document, otherwise None."""
        if not self._frames or CLOSING[self._frames[-1].sign] != sign:
            raise self._broken(place)
        frame = self._frames.pop()
        if self._frames and frame.value is None and place - frame.opened < PIECE_BYTES:
            return None
        self._flush(frame, place)
        value = frame.value if frame.value is not None else [] if sign == b"]" else {}
        frame.value = None
        if not self._frames:
            self._raise_refusal()
            return value
        self._put(frame.opened, place + 1, lambda: value)
        return None

    def _put(self, start: int, end: int, value: Any) -> None:
        """Put a long member into the open list or object. value: a function that returns it."""
        if not self._frames:
            raise self._broken(start)
        frame = self._frames[-1]
        if frame.comma >= frame.done:
            self._flush(frame, frame.comma)
        if self._refusal is None:
            try:
                self._add(frame, self._data[frame.comma + 1 : start], value())
            except (ValueError, RecursionError):
                self._refusal = self._broken(start)
        frame.done = end

    def _add(self, frame: _Frame, before: bytes, value: Any) -> None:
        """Add a member, given the text between it and the one before: an object's key, a list's blanks."""
        if frame.sign == b"{":
            (key,) = DECODER.decode("{" + before.decode("utf-8", "replace") + "0}")
            frame.value = frame.value or {}
            frame.value[key] = value
            return
        if before.strip():
            raise ValueError
        frame.value = frame.value or []
        frame.value.append(value)

    def _flush(self, frame: _Frame, end: int) -> None:
        """Decode the members that end there."""
        text = self._data[frame.done : end]
        frame.done = end + 1
        if self._refusal is not None or not text.strip():
            return
        self._bytes += len(text)
        try:
            found = DECODER.decode((frame.sign + text + CLOSING[frame.sign]).decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            self._refusal = self._broken(frame.done)
            return
        if frame.value is None:
            frame.value = found
        elif frame.sign == b"{":
            frame.value.update(found)
        else:
            frame.value.extend(found)
        self._check_bytes()
        self._intake.breathe()

    def _long_text(self, start: int, end: int) -> str:
        """Decode a string; if it is longer than any that is kept, only its beginning."""
        limit = self._intake.bounds.text_bytes
        if self._data.startswith(DATA_URL, start):
            limit = DATA_URL_BYTES
        text = self._data[start : min(end, start + limit)]
        if end - start > limit:
            match = WHOLE_CHARACTERS.match(text)
            text = (match[0] if match else b'"') + b'"'
        self._bytes += len(text)
        self._check_bytes()
        found: str = DECODER.decode(text.decode("utf-8", "replace"))
        return found

    # Elements

    def _is_empty(self, place: int) -> bool:
        frame = self._frames[-1]
        return frame.done == frame.opened + 1 and not self._data[frame.done : place].strip()

    def _element(self, place: int) -> Any:
        """Return the element that ends here, or why there is none."""
        frame = self._frames[-1]
        self._flush(frame, place)
        found, refusal = frame.value, self._refusal
        if refusal is None and (found is None or len(found) != 1):
            refusal = self._broken(place)
        frame.value, frame.comma = None, place
        self._refusal = None
        self._values = self._lists = self._bytes = 0
        return refusal or found[0]

    def _count(self) -> None:
        self._values += 1
        bounds = self._intake.bounds
        if self._values > bounds.chat_values and self._refusal is None:
            self._refuse(_("it holds more than %(limit)s values", limit=bounds.chat_values))
        self._all_values += 1
        if self._all_values > bounds.values:
            raise InvalidFile(_("The file holds more than %(limit)s values", limit=bounds.values))

    def _check_bytes(self) -> None:
        limit = self._intake.bounds.chat_bytes
        if self._bytes > limit and self._refusal is None:
            self._refuse(_("it is longer than %(limit)s MiB", limit=limit // MEBIBYTE))

    def _refuse(self, why: str) -> None:
        """Abandon the current element and release what was decoded of it."""
        self._refusal = InvalidFile(why)
        if not self._streamed:
            raise self._refusal
        for frame in self._frames[self._streamed :]:
            frame.value = None

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _broken(self, place: int) -> InvalidFile:
        return InvalidFile(_("The file is not valid JSON (byte %(place)s)", place=place))
