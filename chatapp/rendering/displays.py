"""Display formulas: a line in one starts with part of the formula, not with a list marker or heading."""

from __future__ import annotations

import re

from chatapp.rendering.dollars import ENVIRONMENTS, LONGEST_FORMULA_CHARS, is_prose
from chatapp.rendering.fences import FENCE
from chatapp.rendering.stand_ins import NOTHING

OPENING = re.compile(
    rf"(?P<quote>(?: {{0,3}}+> ?+)*+)(?P<indent> *+)(?:(?:[-*+]|\d{{1,9}}[.)]) ++)*+(?:[^`$\\|]*[:,.：，。] *+)?"
    rf"(?P<sign>\$\$|\\\[|\\begin\{{(?P<name>{ENVIRONMENTS})\}})"
)
QUOTE = re.compile(r" {0,3}> ?")
# $$ inside a line may be a shell's process id.
EDGE = re.compile(r"^ *\$\$|\$\$[ .,;:!?]*$")


class Displays:
    """Tells, line by line, whether a line continues a formula that starts above it.

    is_whole: the text does not grow any more. While it grows, a formula without its end is one.
    """

    def __init__(self, lines: list[str], is_whole: bool) -> None:
        self.lines = lines
        self.is_whole = is_whole
        self.is_open = False  # Its end has not been seen.
        self.first = self._last = -1
        self._indent = ""
        self._depth = 0

    def holds(self, at: int, is_code: bool) -> bool:
        """Look at the next line."""
        if at <= self._last:
            return True
        if not is_code and (found := OPENING.match(self.lines[at])):
            self.first, self._indent, self._depth = at, found["indent"], found["quote"].count(">")
            self._last = self._end(at, found)
        return False

    def shown(self, line: str) -> str:
        """Return a line for which holds() was true, changed so that the parser continues the formula's paragraph."""
        inner, quote = self._inside(line) or "", ""
        if self._depth:
            quote = line[: len(line) - len(inner)]
        rest = inner.lstrip(" ")
        return f"{quote}{inner[: len(inner) - len(rest)] if rest else self._indent}{NOTHING}{rest}"

    def _end(self, start: int, opened: re.Match[str]) -> int:
        """Return the formula's last line; its first one if there is nothing to hold."""
        closing = {"$$": "$$", "\\[": "\\]"}.get(opened["sign"]) or f"\\end{{{opened['name']}}}"
        self.is_open = False
        begun = self.lines[start][opened.end() :]
        if closing in begun or self._reads(start, begun):
            return start
        length = 0
        for at in range(start + 1, len(self.lines)):
            line = self._inside(self.lines[at])
            length += len(self.lines[at]) + 1
            if line is None or length > LONGEST_FORMULA_CHARS or FENCE.match(line):
                return start
            if closing in line and (closing != "$$" or EDGE.search(line)):
                return at
            if opened["sign"] in line or self._reads(at, line):
                return start
        self.is_open = not self.is_whole
        return len(self.lines) - 1 if self.is_open else start

    def _reads(self, at: int, line: str) -> bool:
        """Return whether a line is a sentence; unknown while it grows."""
        return (self.is_whole or at < len(self.lines) - 1) and is_prose(line)

    def _inside(self, line: str) -> str | None:
        """Return a line without the markers of the quotes around the formula; None if it is in fewer quotes."""
        for _ in range(self._depth):
            if not (found := QUOTE.match(line)):
                return None
            line = line[found.end() :]
        return line
