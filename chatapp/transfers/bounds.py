"""What an imported file may hold, whatever its format. docs/api.md says the same to its readers.

Readers pass every text, link and instant of a file through Intake, which applies the bounds and counts what it
changed. A chat that passes a bound is left out with its reason; a file that passes one is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flask_babel import gettext as _

from chatapp.kernel.breath import Breath
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.text import clean_model_text

MEBIBYTE = 2**20
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
# Seconds since 1970 and their like, as a text. A date has eight digits.
EPOCH = re.compile(r"\s*[0-9]{9,19}(?:\.[0-9]{1,9})?\s*")
SHOWN_REASONS = 3
SHOWN_REASON_CHARS = 120


class InvalidFile(InvalidRequest):
    code = "INVALID_FILE"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a file, then those of each chat in it."""

    unpacked_bytes: int = 32 * MEBIBYTE
    """All JSON that is read, out of a ZIP file too: IMPORT_BYTES."""
    zip_list_bytes: int = 2 * MEBIBYTE
    """A ZIP file's list of contents. A ChatGPT export with a thousand pictures has 100 KB."""
    chats: int = 20_000
    depth: int = 100
    """Of JSON, in lists and objects. Real exports have about 15."""
    values: int = 4_000_000
    """Lists, objects and commas in a file: to look at more takes seconds. Real exports have one in 20 bytes."""
    chat_bytes: int = 16 * MEBIBYTE
    chat_values: int = 600_000
    """The same in a chat. In memory one takes up to 150 bytes, and in a file two."""
    chat_lists: int = 200_000
    """Lists and objects alone. Python looks at all of them now and then, which takes it 100 ns each."""
    messages: int = 20_000
    message_chars: int = 200_000
    link_chars: int = 2_000

    @property
    def text_bytes(self) -> int:
        """Return how much of one JSON text is decoded: a character has at most twelve bytes ("\\ud83d\\ude00")."""
        return 12 * self.message_chars


@dataclass(slots=True)
class Intake:
    """One reading of a file: its bounds, its time, and what could not be kept as it was."""

    bounds: Bounds
    now: datetime
    cut_texts: int = 0
    changed_dates: int = 0
    has_foreign_bytes: bool = False
    """Bytes that are not UTF-8 were replaced."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Kinds of content without a text that could be kept."""
    unreadable: int = 0
    reasons: list[str] = field(default_factory=list)
    breathe: Breath = field(default_factory=Breath)

    def leave_out(self, error: InvalidFile) -> None:
        """Count a chat, or a file in a ZIP file, that could not be read."""
        self.unreadable += 1
        if len(self.reasons) < SHOWN_REASONS:
            self.reasons.append(error.message[:SHOWN_REASON_CHARS])

    def text(self, value: str) -> str:
        """Return a text clean and no longer than a message may be."""
        limit = self.bounds.message_chars
        # A CR LF becomes one character, and half a character with its other half too.
        text = clean_model_text(value[: 2 * limit])
        if len(text) <= limit and len(value) <= 2 * limit:
            return text
        self.cut_texts += 1
        return text[:limit]

    def joined(self, parts: list[str], between: str = "\n\n") -> str:
        """Return texts as one, those without words left out, no longer than a message may be."""
        kept, chars = [], 0
        for part in parts:
            if part.strip() and chars <= self.bounds.message_chars:
                kept.append(part)
                chars += len(part)
        return self.text(between.join(kept))

    def instant(self, value: Any, otherwise: datetime) -> datetime:
        """Return an instant from ISO 8601 or from seconds, milliseconds and so on since 1970.

        Of what is missing or no instant: otherwise. Of one before 1970 or after tomorrow, which no page could show in
        every zone: the time of the import.
        """
        try:
            found = self.strict_instant(value)
        except ValueError:
            return otherwise
        return found

    def strict_instant(self, value: Any) -> datetime:
        """Do as instant() does; raise ValueError for what is no instant."""
        try:
            found = _read_instant(value)
        except OverflowError:
            found = None
        if found is not None and FIRST <= found <= self.now + timedelta(days=1):
            return found
        self.changed_dates += 1
        return self.now


def _read_instant(value: Any) -> datetime:
    """Raises ValueError for what is no instant, OverflowError for one that Python does not know."""
    if isinstance(value, str) and EPOCH.fullmatch(value):
        value = float(value)
    if isinstance(value, str):
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError("no instant")
    # Seconds have ten digits until 2286; programs also write milli-, micro- and nanoseconds.
    for unit in (1, 10**3, 10**6, 10**9):
        if abs(value) < 10**11 * unit:
            return FIRST + timedelta(seconds=value / unit)
    raise OverflowError


def too_many_messages(place: str, limit: int) -> InvalidFile:
    return InvalidFile(_("%(place)s holds more than %(limit)s messages", place=place, limit=limit))
