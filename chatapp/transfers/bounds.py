"""What an imported file may contain, whatever its format. docs/api.md documents the same limits for users.

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
# Seconds since 1970 and similar, as text. A date has eight digits.
EPOCH = re.compile(r"\s*[0-9]{9,19}(?:\.[0-9]{1,9})?\s*")
SHOWN_REASONS = 3
SHOWN_REASON_CHARS = 120


class InvalidFile(InvalidRequest):
    code = "INVALID_FILE"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a file, then those of each chat in it."""

    unpacked_bytes: int = 32 * MEBIBYTE
    """All JSON that is read, also from a ZIP file: IMPORT_BYTES."""
    zip_list_bytes: int = 2 * MEBIBYTE
    """A ZIP file's table of contents. A ChatGPT export with a thousand pictures has 100 KB."""
    chats: int = 20_000
    depth: int = 100
    """Nesting of lists and objects in JSON. Real exports have about 15 levels."""
    values: int = 4_000_000
    """Lists, objects and commas in a file: reading more would take seconds. Real exports have one per 20 bytes."""
    chat_bytes: int = 16 * MEBIBYTE
    chat_values: int = 600_000
    """The same in a chat. Each takes up to 150 bytes in memory, and two in a file."""
    chat_lists: int = 200_000
    """Lists and objects only. Python's garbage collector visits them all now and then, at 100 ns each."""
    messages: int = 20_000
    message_chars: int = 200_000
    link_chars: int = 2_000

    @property
    def text_bytes(self) -> int:
        """Return how much of one JSON text is decoded: a character has at most twelve bytes ("\\ud83d\\ude00")."""
        return 12 * self.message_chars


@dataclass(slots=True)
class Intake:
    """One pass over a file: its limits, the time, and what could not be kept unchanged."""

    bounds: Bounds
    now: datetime
    cut_texts: int = 0
    changed_dates: int = 0
    has_foreign_bytes: bool = False
    """Bytes that are not UTF-8 were replaced."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Kinds of content without any text to keep."""
    unreadable: int = 0
    reasons: list[str] = field(default_factory=list)
    breathe: Breath = field(default_factory=Breath)

    def leave_out(self, error: InvalidFile) -> None:
        """Count a chat, or a file in a ZIP file, that could not be read."""
        self.unreadable += 1
        if len(self.reasons) < SHOWN_REASONS:
            self.reasons.append(error.message[:SHOWN_REASON_CHARS])

    def text(self, value: str) -> str:
        """Return a text, cleaned and cut to the longest a message may be."""
        limit = self.bounds.message_chars
        # CR LF becomes one character, and so do two surrogates.
        text = clean_model_text(value[: 2 * limit])
        if len(text) <= limit and len(value) <= 2 * limit:
            return text
        self.cut_texts += 1
        return text[:limit]

    def joined(self, parts: list[str], between: str = "\n\n") -> str:
        """Join texts, leaving out blank ones, and cut the result to the longest a message may be."""
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
        """Like instant(), but raises ValueError for anything that is not an instant."""
        try:
            found = _read_instant(value)
        except OverflowError:
            found = None
        if found is not None and FIRST <= found <= self.now + timedelta(days=1):
            return found
        self.changed_dates += 1
        return self.now


def _read_instant(value: Any) -> datetime:
    """Raises ValueError for anything that is not an instant, OverflowError for one beyond Python's range."""
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
