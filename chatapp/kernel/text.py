"""Clean text at the door: what comes in here is measured, compared, saved, counted, sent and streamed as it is.

Knows neither Flask nor the database. Three kinds of text arrive: a person's (refused where it cannot be stored), a
model's in one piece, and a model's in pieces cut anywhere.
"""

from __future__ import annotations

import re

# As wide as the columns that keep a model's name. Some servers name a model by the path of its file.
MODEL_NAME_CHARS = 255
TITLE_CHARS = 200

LINE_END = re.compile(r"\r\n?")
SURROGATE_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
# PostgreSQL stores no NUL, and UTF-8 has no lone surrogates.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def N_(text: str) -> str:
    """Mark a text for the catalogue where there is no request yet; it is translated where it is shown."""
    return text


def normalise(text: str) -> str:
    """Turn CRLF and CR into LF: an HTML form posts CRLF, and each CR would be a token."""
    return LINE_END.sub("\n", text)


def is_storable(text: str) -> bool:
    """Say whether a person's text can be kept: without NUL, which PostgreSQL refuses, and without lone surrogates."""
    return UNSTORABLE.search(text) is None


def clean_model_text(text: str) -> str:
    """Return a model's text with LF line ends, halves of one character joined, NUL and lone surrogates as U+FFFD."""
    if SURROGATE_PAIR.search(text):
        text = SURROGATE_PAIR.sub(_join_pair, text)
    return UNSTORABLE.sub("\ufffd", normalise(text))


def _join_pair(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


class ModelText:
    """Clean a model's text that comes in pieces cut anywhere.

    What feed() and finish() return, joined, equals clean_model_text() of the pieces joined. A trailing CR or first half
    of a surrogate pair is held back until the next piece tells what it is.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        text = self._held + piece
        is_open = text[-1:] == "\r" or "\ud800" <= text[-1:] <= "\udbff"
        self._held = text[-1:] if is_open else ""
        return clean_model_text(text[:-1] if is_open else text)

    def finish(self) -> str:
        rest, self._held = clean_model_text(self._held), ""
        return rest
