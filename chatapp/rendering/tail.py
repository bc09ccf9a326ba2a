"""Decides how much of an unfinished source is shown: nothing that would look different a moment later.

Everything here is for the eye: a wrong guess holds a few words back until more text comes, and loses nothing.
"""

from __future__ import annotations

import re

LONGEST_HELD_FORMULA_CHARS = 4_000
LONGEST_HELD_INLINE_CHARS = 80
LONGEST_HELD_LINK_CHARS = 1_000
LONGEST_CLOSED_CHARS = 400

FENCE = re.compile(r"^[ \t>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})", re.MULTILINE)
DELIMITER = re.compile(r"\\[\\$*~]|\\[\[\]()]|\$\$?|`+|\*{1,3}|~~?")
# $ opens a formula unless a space or a digit (a price) follows, and closes one unless a space precedes it.
AFTER_OPENING = re.compile(r"[^\s\d]")
CLOSING = {"$$": "$$", "\\[": "\\]", "\\(": "\\)", "$": "$"}
IN_PROGRESS = re.compile(
    r"(?<!\\)!?\[[^\[\]\n]{0,200}(?:\](?:\([^)\n]*)?)?\Z"  # [text](http://exam
    r"|<?(?:https?://|www\.)\S*\Z"
    r"|\\\Z"
    r"|(?<!\S)\$\Z"
)
# A list marker, a rule, the first characters of a heading or fence, the line below a heading or table head, "12.".
MARKERS = re.compile(
    r"[ \t>]*+(?:[-+*_=#~`|:. \t]*+|\d{1,9}[.)]?[ \t]*+|(?:[-+*]|\d{1,9}[.)])[ \t]++\[?[ xX]?\]?[ \t]*+)"
)
TABLE_HEAD = re.compile(r"^[ \t]*\|[^\n]*(?:\n[|: \t-]*)?\Z", re.MULTILINE)


def visible_part(source: str) -> str:
    """Return the source without an unfinished end: a formula, a link, a marker, a table head.

    Emphasis and code whose end has not come are closed, so that their signs are not read as text.
    """
    line = source.rfind("\n") + 1
    if len(FENCE.findall(source)) % 2:
        # Otherwise the language name would appear letter by letter.
        return source[:line] if FENCE.match(source, line) else _without_markers(source)
    end, opened = _open_inline(source)
    source = source[:end]
    line = max(source.rfind("\n") + 1, len(source) - LONGEST_HELD_LINK_CHARS)
    if construct := IN_PROGRESS.search(source, line):
        source = source[: construct.start()]
    return _closed(_without_table_head(_without_markers(source)), opened)


def _open_inline(source: str) -> tuple[int, list[re.Match[str]]]:
    """Return where the source's open formula or marker begins, or its length, and what is open in its last line.

    Neither formulas nor code spans cross a blank line, so the last paragraph tells.
    """
    paragraph = max(source.rfind("\n\n") + 1, len(source) - LONGEST_HELD_FORMULA_CHARS)
    line, length = source.rfind("\n") + 1, len(source)
    opened, start = "", length
    emphasis: list[re.Match[str]] = []
    for found in DELIMITER.finditer(source, paragraph):
        if found[0][0] in "*~":
            if not opened and found.start() >= line and not _took(emphasis, found) and found.end() == length:
                return found.start(), emphasis
        elif _closes(opened, found):
            opened = ""
        elif opened in ("", "$") and _opens(found):
            opened, start = found[0], found.start()
            code = found
    if opened == "$" and "\n" not in source[start:] and length - start <= LONGEST_HELD_INLINE_CHARS:
        return start, emphasis
    if opened[:1] == "`" and start >= line:
        return length, [*emphasis, code]
    return start if opened in ("$$", "\\[", "\\(") else length, emphasis


def _took(emphasis: list[re.Match[str]], found: re.Match[str]) -> bool:
    """Close or open what a marker closes or opens. False if it does neither, or may be part of another."""
    before, after = found.string[found.start() - 1 : found.start()], found.string[found.end() : found.end() + 1]
    if emphasis and emphasis[-1][0] == found[0] and not before.isspace():
        emphasis.pop()
        return True
    # A single ~ means "about".
    if after and not after.isspace() and not before.isalnum() and found[0] != "~":
        emphasis.append(found)
        return True
    return False


def _closed(source: str, opened: list[re.Match[str]]) -> str:
    """Return the source with its open markers closed; empty ones are left out."""
    for sign in reversed(opened):
        shown = source.rstrip().rstrip("`") if sign[0][0] == "`" else source.rstrip()
        if sign.end() >= len(shown):
            source = source[: sign.start()]
        elif len(source) - sign.start() <= LONGEST_CLOSED_CHARS:
            source = shown + sign[0]
    return source


def _closes(opened: str, found: re.Match[str]) -> bool:
    is_after_blank = found.string[found.start() - 1].isspace()
    return bool(opened) and found[0] == CLOSING.get(opened, opened) and not (opened == "$" and is_after_blank)


def _opens(found: re.Match[str]) -> bool:
    if found[0] == "$":
        return AFTER_OPENING.match(found.string, found.end()) is not None
    return found[0] in CLOSING or found[0][0] == "`"


def _without_markers(source: str) -> str:
    line = source.rfind("\n") + 1
    return source[:line] if MARKERS.fullmatch(source, line) else source


def _without_table_head(source: str) -> str:
    """Hold back rows that stay a paragraph until the line below makes them a table."""
    head = TABLE_HEAD.search(source, max(0, source.rfind("\n", 0, max(0, source.rfind("\n")))))
    if not head:
        return source
    above = source[: head.start()].removesuffix("\n").rpartition("\n")[2]
    return source if above.lstrip().startswith("|") else source[: head.start()]
