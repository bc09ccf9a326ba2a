"""Markdown as models write it, where that is not CommonMark's: put right before the parser reads it.

Every change stays within its line, since blocks are told apart by the numbers of their lines, and depends on the
paragraph and the lines above it only, so that an answer that grows is read as the whole one is.
"""

from __future__ import annotations

import re

from chatapp.kernel.breath import give_way
from chatapp.rendering.dollars import told
from chatapp.rendering.fences import Fences
from chatapp.rendering.lists import Lists
from chatapp.rendering.stand_ins import FOR, NOTHING, without_stand_ins

# A line that would begin a block of HTML: the parser would read no Markdown up to the next blank line. <pre>, <script>
# and their like hold code and stay what they are.
TAG = re.compile(
    r"(?P<before>(?:[ >]|[-*+] |\d{1,9}[.)] )*)<(?=/?(?!(?:pre|script|style|textarea)\b)[A-Za-z][\w.-]*(?:[\s>]|/>|$))",
    re.IGNORECASE,
)
# Its address may stand in the next line, between the same signs.
NAME_OF_LINK = re.compile(r"[ >]*\[[^\[\]]+\]:[ \t]*")
SPECIAL = re.compile(r"[<$\\`~]|^[ >]*\d{1,9}[.)] ", re.MULTILINE)
LONGEST_WORD_CHARS = 2000
# Other greenlets get their turn after so many lines.
BREATH_LINES = 500
# The parser looks for the end of an address again and again, once for each bracket.
ENDLESS_ADDRESS = re.compile(rf"(?:://|www\.)\S{{{LONGEST_WORD_CHARS},}}|\){{1000,}}")


def has_endless_address(text: str) -> bool:
    """Say whether a word outside of fenced code would keep the parser for seconds."""
    if not ENDLESS_ADDRESS.search(text):
        return False
    lines = text.split("\n")
    fences = Fences(lines, is_whole=True)
    prose = [line for at, line in enumerate(lines) if not fences.is_code(at)]
    return ENDLESS_ADDRESS.search("\n".join(prose)) is not None


def put_right(text: str, *, is_whole: bool = True) -> str:
    """Return the text as CommonMark would have it written, with stand-ins. is_whole: it does not grow any more."""
    text = without_stand_ins(text)
    if not SPECIAL.search(text):
        return text
    lines = text.split("\n")
    fences, lists = Fences(lines, is_whole), Lists()
    right: list[str] = []
    paragraph: list[str] = []
    for at, line in enumerate(lines):
        if at % BREATH_LINES == BREATH_LINES - 1:
            give_way()
        is_code = fences.is_code(at)
        shown = fences.shown(at, lists.shifted(line, is_code, fences.is_opening))
        if is_code or not line.strip():
            right += [*_told(paragraph), shown]
            paragraph = []
        else:
            is_address = paragraph and NAME_OF_LINK.fullmatch(paragraph[-1])
            paragraph.append(shown if is_address else _without_block(shown))
    return "\n".join(right + _told(paragraph))


def _without_block(line: str) -> str:
    """Return the line so that it begins no block of HTML."""
    if not (tag := TAG.match(line)):
        return line
    rest = line[tag.end() :]
    # What stands within a whole tag is no Markdown; the line ends within one in pieces are seen.
    return tag["before"] + (f"{NOTHING}<" if ">" in rest else FOR["<"]) + rest


def _told(paragraph: list[str]) -> list[str]:
    return [told("\n".join(paragraph))] if paragraph else []
