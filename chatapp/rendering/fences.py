"""Fenced code, line by line: what other passes leave alone, and where a Markdown block containing fences ends."""

from __future__ import annotations

import re

from chatapp.rendering.stand_ins import FOR

FENCE = re.compile(
    r"(?P<before>[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(?P<fence>`{3,}(?=[^`]*$)|~{3,})[ \t]*(?P<info>[^\n]*)$"
)
MARKDOWN = frozenset({"markdown", "md"})
# Searching for the end of such a block repeatedly would be quadratic.
MOST_ENDS_NOT_FOUND = 20


class Fences:
    """Tells, line by line, whether a line belongs to fenced code.

    is_whole: the text does not grow any more, so a block in Markdown whose inner ones do not come in pairs ends at the
    first fence, as CommonMark has it.
    """

    def __init__(self, lines: list[str], is_whole: bool) -> None:
        self.lines = lines
        self.is_whole = is_whole
        self.fence = ""
        self.is_opening = False
        self._inner: set[int] = set()
        self._not_found = 0

    def is_code(self, at: int) -> bool:
        """Take the next line; fences count as code."""
        self.is_opening = False
        found = FENCE.match(self.lines[at])
        if self.fence:
            if found and at not in self._inner and _closes(found, self.fence):
                self.fence = ""
            return True
        if found:
            self.fence, self.is_opening = found["fence"], True
            if found["info"].strip().lower() in MARKDOWN:
                self._inner |= self._inner_ends(at, found["fence"])
        return bool(found)

    def shown(self, at: int, line: str) -> str:
        """Return the line changed so that the parser doesn't take an inner fence for the end."""
        return re.sub("[`~]", lambda sign: FOR[sign[0]], line, count=1) if at in self._inner else line

    def _inner_ends(self, start: int, fence: str) -> set[int]:
        if self._not_found > MOST_ENDS_NOT_FOUND:
            return set()
        ends, depth = set(), 0
        for at in range(start + 1, len(self.lines)):
            found = FENCE.match(self.lines[at])
            if not found or not found["fence"].startswith(fence):
                continue
            if found["info"].strip():
                depth += 1
            elif depth:
                depth -= 1
                ends.add(at)
            else:
                return ends
        self._not_found += 1
        return set() if self.is_whole else ends


def _closes(found: re.Match[str], fence: str) -> bool:
    return found["fence"].startswith(fence) and not found["info"].strip()
