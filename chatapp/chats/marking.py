"""How a search result shows a text: one line around the first hit, with the hits marked in the original text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from markupsafe import Markup, escape

from chatapp.chats.folding import fold, fold_with_places, place_of

SNIPPET_CHARS = 140
# Markdown syntax that is left out of a line, unless a hit would be lost with it.
MARKDOWN = re.compile(
    r"\*\*|(?<!\w)__(?=\S)|(?<=\S)__(?!\w)|`+|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)|(?<!\S)(?:#{1,6}|[*>|-]+)(?!\S) ?"
)

Parts = tuple[tuple[str, bool], ...]


def marked(text: str, terms: tuple[str, ...]) -> Parts:
    """Split a text into parts, each with a flag for a hit."""
    folded, places = fold_with_places(text)
    edges = [0, *(places[edge] for span in _spans(folded, terms) for edge in span), len(text)]
    parts = ((text[start:end], index % 2 == 1) for index, (start, end) in enumerate(pairwise(edges)))
    return tuple((part, is_hit) for part, is_hit in parts if part)


def marked_html(parts: Iterable[tuple[str, bool]]) -> Markup:
    return Markup("").join(Markup("<mark>{}</mark>").format(part) if is_hit else escape(part) for part, is_hit in parts)


def excerpt(text: str, terms: tuple[str, ...]) -> Parts:
    """Return one line around the first hit."""
    first = place_of(text, _first(fold(text), terms))
    start = max(0, first - SNIPPET_CHARS // 3)
    if start and (space := text.find(" ", start, first)) >= 0:
        start = space + 1
    line = " ".join(text[start : start + SNIPPET_CHARS].split())
    line = f"{'…' if start else ''}{line}{'…' if start + SNIPPET_CHARS < len(text) else ''}"
    plain = MARKDOWN.sub("", line)
    return marked(plain if len(_spans(fold(plain), terms)) == len(_spans(fold(line), terms)) else line, terms)


def _spans(folded: str, terms: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the spans of the terms, only those at the start of words if there are any; none overlap."""
    anywhere = _any_of(terms)
    spans = [match.span() for match in re.finditer(rf"(?<!\w)(?:{anywhere})", folded)]
    return spans or [match.span() for match in re.finditer(anywhere, folded)]


def _first(folded: str, terms: tuple[str, ...]) -> int:
    anywhere = _any_of(terms)
    match = re.search(rf"(?<!\w)(?:{anywhere})", folded) or re.search(anywhere, folded)
    return match.start() if match else 0


def _any_of(terms: tuple[str, ...]) -> str:
    return "|".join(re.escape(term) for term in sorted(terms, key=len, reverse=True))
