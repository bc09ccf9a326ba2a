"""The direction of a text, as a reader sees it."""

from __future__ import annotations

import re

STRONG = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff]|[^\\W\\d_]")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff]")
MARKS = re.compile("<[^<>]*>")


def direction(html: str) -> str:
    """Return the direction of the first letter of a piece of HTML: "rtl" or "ltr"."""
    letter = STRONG.search(MARKS.sub("", html))
    return "rtl" if letter and RIGHT_TO_LEFT.match(letter[0]) else "ltr"
