"""Decides which signs start a formula, before the parser reads them, since it pairs any two dollars.

Dollars of shells, programs, prices and names get a stand-in; environments and chemistry that stand bare get the signs
of a formula; a bar within a formula does not end the cell of a table.
"""

from __future__ import annotations

import re

from chatapp.kernel.breath import give_way
from chatapp.rendering.addresses import FULL_WIDTH, LETTERS
from chatapp.rendering.stand_ins import FOR

_NAMES = "align|equation|gather|multline|eqnarray|alignat|flalign|aligned|alignedat|gathered|split|cases|array"
ENVIRONMENTS = rf"(?:{_NAMES}|[bpvBV]?matrix)\*?"
TOKEN = re.compile(
    rf"\\begin\{{(?P<name>{ENVIRONMENTS})\}}|(?P<chemistry>\\ce\{{)|\\[\s\S]|(?P<code>`+)|(?P<dollars>\$+)"
    rf"|(?P<address>https?://[^\s<>()\[\]*~`\\]{{1,500}}+)(?=(?:\*{{1,3}}|~~)[{FULL_WIDTH}{LETTERS}])"
)
SINGLE = re.compile(r"(?<!\\)\$+")
# The parser looks for no longer code delimiters.
LONGEST_RUN = 80
LONGEST_FORMULA_CHARS = 2_000
LONGEST_CHEMISTRY_CHARS = 400
DEEPEST_CHEMISTRY = 3
# Yield to other greenlets after this many signs.
BREATH_SIGNS = 500
# One backtick in each of two cells is not code.
TWO_CELLS = re.compile(r"`+ +\| +`+")
LOOKS_LIKE_ROWS = re.compile(r"\\\\|&|=|\\[A-Za-z]")

# \d and the like belong to regular expressions.
COMMAND = re.compile(r"\\(?![dDwWsSbB](?![A-Za-z]))(?:[A-Za-z]+|[{}|,;!%])")
SHORT = re.compile(r"[A-Za-z]|[A-Za-z]_\S+|\S*[\\^]\S*")
NAMES = "sin|cos|tan|log|exp|max|min|lim|mod|det|gcd|lcm|deg|dim|arg|and|for"
PROSE = re.compile(rf"\b(?!(?:{NAMES})\b)[A-Za-z]{{3,}}(?=\s)|(?<=\s)(?!(?:{NAMES})\b)[A-Za-z]{{3,}}\b")
OPERATOR = re.compile("[=^_+<>]")
NO_BEGINNING = ("/", "'", '"', ")", "]", ";", ",", ":", "?", "!", "&", "%")
NO_END = ("/", ":", "=", "(", "[", "{", ",", ";", "-", "+", "<", ">", "&", "*", "@", "~")
NO_PART = re.compile('"|\\*\\*|`|->|://|[\u3000-\u303f\uff01-\uff60“”]')
WORD = re.compile("[A-Za-z0-9_\u00c0-\u024f]")


def told(text: str) -> str:
    """Return one paragraph with its formulas marked. Takes linear time."""
    return _Paragraph(text).told()


class _Paragraph:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pieces: list[str] = []
        self._absent: set[str] = set()

    def told(self) -> str:
        at = count = 0
        while found := TOKEN.search(self.text, at):
            count += 1
            if count % BREATH_SIGNS == 0:
                give_way()
            self.pieces.append(self.text[at : found.start()])
            end, piece = self._read(found)
            self.pieces.append(piece)
            at = end
        return "".join([*self.pieces, self.text[at:]])

    def _read(self, found: re.Match[str]) -> tuple[int, str]:
        """Return where the next piece ends, and its replacement."""
        if found["name"]:
            return self._environment(found)
        if found["chemistry"]:
            end = _closing_brace(self.text, found.end())
            return (end, f"\\({self.text[found.start() : end]}\\)") if end else (found.end(), found[0])
        if found["code"]:
            return self._up_to(found, f"(?<!`){found[0]}(?!`)" if len(found[0]) <= LONGEST_RUN else "")
        if found["dollars"]:
            return self._dollars(found)
        if found["address"]:
            # The parser would treat the signs after it as part of it.
            return found.end(), f"<{found[0]}>"
        closing = {"\\[": r"\\\]", "\\(": r"\\\)"}.get(found[0], "")
        return self._up_to(found, closing)

    def _up_to(self, found: re.Match[str], closing: str) -> tuple[int, str]:
        end = self._end(closing, found.end()) if closing else 0
        return (end, self._in_cell(found.start(), end)) if end else (found.end(), found[0])

    def _end(self, pattern: str, at: int) -> int:
        """Return where the pattern next ends, or 0. A pattern once absent is not searched for again."""
        if pattern in self._absent:
            return 0
        if found := re.compile(pattern).search(self.text, at):
            return found.end()
        self._absent.add(pattern)
        return 0

    def _environment(self, found: re.Match[str]) -> tuple[int, str]:
        end = self._end(re.escape(f"\\end{{{found['name']}}}"), found.end())
        whole = self.text[found.start() : end] if end else ""
        line = self.text[self.text.rfind("\n", 0, found.start()) + 1 : found.start()]
        is_indented_code = len(line) >= 4 and not line.strip()
        inner = whole[len(found[0]) : 2 - len(found[0])]
        if is_indented_code or "$" in inner or not LOOKS_LIKE_ROWS.search(inner):
            return found.end(), found[0]
        return end, f"$${whole}$$"

    def _dollars(self, found: re.Match[str]) -> tuple[int, str]:
        run, start = found[0], found.end()
        if len(run) == 2 and (end := self._end(r"\$\$", start)):
            # A process id, or a variable variable.
            inner, after = self.text[start : end - 2], self.text[end : end + 1]
            is_named = not inner[:1].isspace() and inner[-1:].isspace() and _is_word(after)
            is_words = "\n" not in inner and is_prose(inner)
            return (start, FOR["$"] * 2) if is_words or is_named else (end, self._in_cell(found.start(), end))
        if len(run) != 1:
            return start, run
        closing = SINGLE.search(self.text, start, start + LONGEST_FORMULA_CHARS)
        if closing and self._is_formula(found.start(), closing):
            return closing.end(), self._in_cell(found.start(), closing.end())
        return start, FOR["$"]

    def _is_formula(self, start: int, closing: re.Match[str]) -> bool:
        latex = self.text[start + 1 : closing.start()]
        after = self.text[closing.end() : closing.end() + 1]
        if len(closing[0]) != 1 or not latex or latex[0].isspace() or latex[-1].isspace() or after.isdigit():
            return False
        return is_formula(latex, self.text[start - 1 : start] if start else "", after)

    def _in_cell(self, start: int, end: int) -> str:
        """Return a formula or code changed so that its bars don't end its table cell."""
        line = self.text[self.text.rfind("\n", 0, start) + 1 : start].lstrip(" >")
        whole = self.text[start:end]
        if not line.startswith("|") or "\n" in whole or TWO_CELLS.fullmatch(whole):
            return whole
        return re.sub(r"(?<!\\)\|", FOR["|"], whole)


def _closing_brace(text: str, at: int) -> int:
    """Return where the brace opened before at is closed, or 0."""
    depth = 1
    for found in re.compile(r"[{}\n]").finditer(text, at, at + LONGEST_CHEMISTRY_CHARS):
        depth += (found[0] == "{") - (found[0] == "}")
        if found[0] == "\n" or depth > DEEPEST_CHEMISTRY:
            return 0
        if depth == 0:
            return found.end()
    return 0


def is_formula(latex: str, before: str, after: str) -> bool:
    """Return whether the text between two $ is a formula rather than shell variables, code or names.

    before and after: the characters beside the signs, "" at an end.
    """
    is_source = COMMAND.search(latex) is not None
    if after == "{" or latex.startswith(NO_BEGINNING) or (_is_word(before) and not (before.isdigit() and is_source)):
        return False
    if _is_word(after) or after == "(":
        # Accept $n$th but not $A$B.
        return SHORT.fullmatch(latex) is not None and not _ends_open(latex) and (is_source or not after.isupper())
    if is_source:
        return "**" not in latex and "`" not in latex
    return len(latex) == 1 or not (
        NO_PART.search(latex)
        or _ends_open(latex.removesuffix(",") if OPERATOR.search(latex) else latex)
        or not _balances(latex)
        or (PROSE.search(latex) and not OPERATOR.search(latex))
    )


def is_prose(latex: str) -> bool:
    """Return whether one line between a formula's signs is a sentence."""
    return PROSE.search(latex) is not None and not OPERATOR.search(latex) and "\\" not in latex


def _is_word(character: str) -> bool:
    return WORD.match(character) is not None


def _ends_open(latex: str) -> bool:
    return latex.endswith(NO_END) and latex[-2:-1] not in ("^", "_")


def _balances(latex: str) -> bool:
    """Return whether brackets of any kind, and bars outside them, come in pairs."""
    depth = bars = 0
    for character in latex:
        depth += (character in "([{") - (character in ")]}")
        bars += character == "|" and not depth
        if depth < 0:
            return False
    return depth == 0 and bars % 2 == 0
