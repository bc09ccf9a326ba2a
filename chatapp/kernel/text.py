"""Cleans incoming text: the result is measured, compared, saved, counted, sent and streamed as it is.

No Flask, no database. Three kinds of text arrive: a user's (rejected if it cannot be stored), a model's in one piece,
and a model's in pieces cut anywhere.
"""

from __future__ import annotations

import re

# The width of the columns for model names. Some servers name a model by its file path.
MODEL_NAME_CHARS = 255
TITLE_CHARS = 200

LINE_END = re.compile(r"\r\n?")
SURROGATE_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
# PostgreSQL cannot store NUL, and UTF-8 has no lone surrogates.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def N_(text: str) -> str:
    """Mark a text for translation where there is no request yet; it is translated when shown."""
    return text


def normalise(text: str) -> str:
    """Turn CRLF and CR into LF: HTML forms post CRLF, and each CR would cost a token."""
    return LINE_END.sub("\n", text)


def is_storable(text: str) -> bool:
    """Return whether a user's text can be stored: no NUL, which PostgreSQL rejects, and no lone surrogates."""
    return UNSTORABLE.search(text) is None


def clean_model_text(text: str) -> str:
    """Return a model's text with LF line ends, surrogate pairs joined, NUL and lone surrogates as U+FFFD."""
    if SURROGATE_PAIR.search(text):
        text = SURROGATE_PAIR.sub(_join_pair, text)
    return UNSTORABLE.sub("\ufffd", normalise(text))


def _join_pair(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


class ModelText:
    """Cleans a model's text that arrives in pieces cut anywhere.

    The joined results of feed() and finish() equal clean_model_text() of the joined pieces. A trailing CR or first half
    of a surrogate pair is held back until the next piece arrives.
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
