"""Moves lists that are indented too little below a number to where the number's text begins."""

from __future__ import annotations

import re
from typing import NamedTuple

ITEM = re.compile(r"(?P<indent> *)(?P<marker>[-*+]|(?P<number>\d{1,9})[.)])(?P<gap> +)(?=\S)")
QUOTE = re.compile(r"(?: {0,3}> ?)*")
RULE = re.compile(r" {0,3}(?:(?:\* *){3,}|(?:- *){3,}|(?:_ *){3,})$")
OTHER_BLOCK = re.compile(r" *(?:#{1,6}(?: |$)|>|\||`{3}|~{3})")
WIDEST_GAP = 4
DEEPEST = 50


class _Item(NamedTuple):
    indent: int
    shift: int  # Of its own line and those below it.
    text: int  # The column of its text, shifted.
    is_number: bool


class Lists:
    """Takes lines one by one; each depends only on those above it."""

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._quote = ""
        self._is_after_blank = False
        self._code_shift = 0
        self._code_text = 0  # The text column of the item that contains the code.
        self._is_code_left: bool | None = None  # Of that column; None before its first line.

    def shifted(self, line: str, is_code: bool, is_opening: bool) -> str:
        quote = QUOTE.match(line)[0]  # type: ignore[index]
        if is_code and not is_opening:
            is_quoted = quote and self._quote
            return self._code(line) if line.strip() and not is_quoted else line
        if quote.count(">") != self._quote.count(">"):
            self._items = []
        self._quote, rest = quote, line[len(quote) :]
        if not rest.strip():
            self._is_after_blank = True
            return line
        self._code_shift = shift = self._shift(rest)
        self._is_after_blank = False
        if is_opening:
            self._begin_code(rest, shift)
        return quote + " " * shift + rest if shift else line

    def _begin_code(self, line: str, shift: int) -> None:
        column = self._items[-1].text if ITEM.match(line) and self._items else _indent(line) + shift
        self._code_text = next((item.text for item in reversed(self._items) if column >= item.text), 0)
        self._is_code_left = None

    def _code(self, line: str) -> str:
        """Return a line of code changed so that it stays in its item, even if it starts left of the item's text."""
        if self._is_code_left is None:
            self._is_code_left = _indent(line) + self._code_shift < self._code_text
        if not self._is_code_left:
            return " " * self._code_shift + line
        is_fence = line.lstrip(" ").startswith(("```", "~~~"))
        return " " * self._code_text + (line.lstrip(" ") if is_fence else line)

    def _shift(self, line: str) -> int:
        item = ITEM.match(line)
        indent = _indent(line)
        if item and not RULE.match(line) and len(self._items) < DEEPEST and (self._items or indent < 4):
            return self._begin(item, indent)
        if self._is_after_blank or OTHER_BLOCK.match(line) or RULE.match(line):
            while self._items and indent <= self._items[-1].indent:
                self._items.pop()
        return next((item.shift for item in reversed(self._items) if indent > item.indent), 0)

    def _begin(self, found: re.Match[str], indent: int) -> int:
        beside = None
        while self._items and indent < self._items[-1].indent + 2:
            beside = self._items.pop()
        above = self._items[-1] if self._items else None
        shift = above.shift if above else 0
        if beside:
            shift = beside.shift
        elif above and above.is_number and found["number"] in (None, "0", "1"):
            # A number that continues the count is a sibling of the one above, however it is indented.
            shift = max(shift, above.text - indent)
        gap = len(found["gap"]) if len(found["gap"]) <= WIDEST_GAP else 1
        text = indent + shift + len(found["marker"]) + gap
        self._items.append(_Item(indent, shift, text, found["number"] is not None))
        return shift


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
