"""Markdown as models write it, where that is not CommonMark's: put right before the parser reads it.

Every change stays within its line, since blocks are told apart by the numbers of their lines, and depends on the lines
above it only, so that an answer that grows is read as the whole one is. What stands in code is left alone.
"""

from __future__ import annotations

import re

FENCE = re.compile(r"[ >]*(?:[-*+] +|\d{1,9}[.)] +)*(`{3,}|~{3,})")
# A line that would begin a block of HTML: the parser would read no Markdown up to the next blank line. <pre>, <script>
# and their like hold code and stay what they are.
TAG = re.compile(
    r"(?P<before>(?:[ >]{0,3}|[-*+] |\d{1,9}[.)] )*)<(?P<tag>/?(?!(?:pre|script|style|textarea)\b)[A-Za-z][\w.-]*)"
    r"(?=[\s>]|/>|$)",
    re.IGNORECASE,
)
NUMBERED = re.compile(r"( {0,3})(\d{1,9}[.)] +)\S")
BELOW = re.compile(r"( +)(?:[-*+]|\d{1,9}[.)]) +\S")
ENVIRONMENT = re.compile(
    r"^( {0,3})(\\begin\{(align|equation|gather|multline|eqnarray|alignat|cases|matrix|[bpvBV]matrix)(\*?)\}"
    r"(?:(?!\n[ \t]*\n|\$\$|\\\]).)*?\\end\{\3\4\})",
    re.MULTILINE | re.DOTALL,
)
LONGEST_WORD_CHARS = 2000
# The parser looks for the end of an address again and again, once for each bracket.
ENDLESS_ADDRESS = re.compile(rf"(?:://|www\.)\S{{{LONGEST_WORD_CHARS},}}|\){{1000,}}")


def has_endless_address(text: str) -> bool:
    """Say whether a word outside of fenced code would keep the parser for seconds."""
    if not ENDLESS_ADDRESS.search(text):
        return False
    fence, prose = "", []
    for line in text.split("\n"):
        if found := FENCE.match(line):
            fence = ("" if _closes(line, found, fence) else fence) if fence else found[1]
        elif not fence:
            prose.append(line)
    return ENDLESS_ADDRESS.search("\n".join(prose)) is not None


def put_right(text: str) -> str:
    """Return the text as CommonMark would have it written."""
    if "\\begin{" in text:
        text = _with_signs(text)
    if "<" not in text and not NUMBERED.search(text):
        return text
    lines, fence, numbered = text.split("\n"), "", _Numbered()
    for at, line in enumerate(lines):
        found = FENCE.match(line)
        is_code = bool(fence)
        if found:
            fence = ("" if _closes(line, found, fence) else fence) if fence else found[1]
        lines[at] = numbered.shifted(line, is_code)
        if not is_code and not found and "<" in line:
            lines[at] = TAG.sub(r"\g<before>&lt;\g<tag>", lines[at], count=1) if TAG.match(line) else lines[at]
    return "\n".join(lines)


def _closes(line: str, found: re.Match[str], fence: str) -> bool:
    return found[1].startswith(fence) and not line[found.end() :].strip()


class _Numbered:
    """Moves what stands below a number, indented by too little, to where its text begins."""

    def __init__(self) -> None:
        self._indent = self._width = -1
        self._base = self._shift = 0
        self._was_blank = False

    def shifted(self, line: str, is_code: bool) -> str:
        if not line.strip():
            self._was_blank = True
            return line
        indent = len(line) - len(line.lstrip(" "))
        if not is_code:
            self._look(line, indent)
        self._was_blank = False
        return " " * self._shift + line if self._shift and indent >= self._base else line

    def _look(self, line: str, indent: int) -> None:
        if self._shift and indent < self._base:
            self._shift = 0
        if (found := NUMBERED.match(line)) and not self._shift:
            self._indent, self._width = len(found[1]), len(found[2])
        elif self._width >= 0 and indent < self._indent + 2 and self._was_blank:
            self._indent = self._width = -1
        elif self._width >= 0 and not self._shift and BELOW.match(line):
            missing = self._indent + self._width - indent
            if indent >= self._indent + 2 and missing > 0:
                self._base, self._shift = indent, missing


def _with_signs(text: str) -> str:
    """Put the signs of a formula around environments that stand bare."""

    def signs(found: re.Match[str]) -> str:
        before = text[: found.start()].rstrip()
        if before.endswith(("$$", "\\[", "$")) or _is_in_fence(before):
            return found[0]
        return f"{found[1]}$${found[2]}$$"

    return ENVIRONMENT.sub(signs, text)


def _is_in_fence(text: str) -> bool:
    fence = ""
    for line in text.split("\n"):
        if found := FENCE.match(line):
            fence = ("" if _closes(line, found, fence) else fence) if fence else found[1]
    return bool(fence)


# Behind the parser

# What ends an address in scripts that put no blank behind it.
FULL_WIDTH = re.compile(
    "[\u3000-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65“”‘’…]"
)
BARE_LINK = re.compile(r'<a href="([^"]*)">((?:https?://|www\.)[^<]*)</a>')


def end_bare_links(html: str) -> str:
    """Let an address that stands bare end before a full-width sign."""
    if "<a href=" not in html:
        return html
    return BARE_LINK.sub(_shorter, html)


def _shorter(found: re.Match[str]) -> str:
    href, shown = found[1], found[2]
    sign = FULL_WIDTH.search(shown)
    # A link that was written out has an address of its own.
    if sign is None or not href.removeprefix("http://").startswith(shown[: sign.start()].removeprefix("http://")):
        return found[0]
    kept = shown[: sign.start()]
    address = kept if kept.startswith("http") else f"http://{kept}"
    return f'<a href="{address}">{kept}</a>{shown[sign.start() :]}'


SHORT_FORMULA = re.compile(r"[A-Za-z]|\S*[\\^_]\S*")
ENDS_AS_A_PATH = ("/", ":", "=", "(", ",", ";", "|", "-", "&gt;", "&amp;")


def is_formula(latex: str, before: str, after: str) -> bool:
    """Say whether what stands between two $ is a formula and not the names of a shell, a program or a person.

    latex: as HTML. before and after: the characters beside the signs, "" at an end.
    """
    if before.isalnum() or before == "_":
        return False
    if after.isalnum() or after == "_":
        return bool(SHORT_FORMULA.fullmatch(latex)) and not latex.endswith(ENDS_AS_A_PATH)
    if after in ("{", "("):
        return not latex.startswith(after)
    is_source = "\\" in latex
    return is_source or (_balances(latex) and not latex.endswith(ENDS_AS_A_PATH) and not latex.startswith(("/", "|")))


def _balances(latex: str) -> bool:
    depth = 0
    for character in latex:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


STRONG = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff]|[^\\W\\d_]")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff]")
MARKS = re.compile("<[^<>]*>")


def direction(html: str) -> str:
    """Return the direction of the first letter of a piece of HTML: "rtl" or "ltr"."""
    letter = STRONG.search(MARKS.sub("", html))
    return "rtl" if letter and RIGHT_TO_LEFT.match(letter[0]) else "ltr"
