"""Markdown as models write it, where it differs from CommonMark: corrected before the parser reads it.

Every change stays within its line, since blocks are told apart by the numbers of their lines, and depends on the
paragraph and the lines above it only, so that an answer that grows is read as the whole one is.
"""

from __future__ import annotations

import re

from chatapp.kernel.breath import give_way
from chatapp.rendering.displays import Displays
from chatapp.rendering.dollars import told
from chatapp.rendering.fences import Fences
from chatapp.rendering.lists import Lists
from chatapp.rendering.stand_ins import FOR, NOTHING, without_stand_ins

# A line that would start an HTML block, in which the parser reads no Markdown up to the next blank line. <pre>,
# <script> and the like contain code and stay as they are.
TAG = re.compile(
    r"(?P<before>(?:[ >]|[-*+] |\d{1,9}[.)] )*)<(?=/?(?!(?:pre|script|style|textarea)\b)[A-Za-z][\w.-]*(?:[\s>]|/>|$))",
    re.IGNORECASE,
)
# Its address may stand in the next line, between the same signs.
NAME_OF_LINK = re.compile(r"[ >]*\[[^\[\]]+\]:[ \t]*")
SPECIAL = re.compile(r"[<$\\`~]|://|^[ >]*\d{1,9}[.)] ", re.MULTILINE)
OPENING = re.compile(r"\$\$|\\\[|\\begin\{")
LONGEST_WORD_CHARS = 2000
# The parser pairs emphasis markers within a paragraph: 130,000 of them took 2 s.
SIGNS = re.compile(r"\*+|_+|~+")
MOST_SIGNS = 20_000
# Yield to other greenlets after this many lines.
BREATH_LINES = 500
# For each bracket, the parser searches for the end of an address again.
ENDLESS_ADDRESS = re.compile(rf"(?:://|www\.)\S{{{LONGEST_WORD_CHARS},}}|\){{1000,}}")


def keeps_the_parser(text: str) -> bool:
    """Return whether the text outside fenced code would occupy the parser for seconds."""
    if not _is_costly(text):
        return False
    lines = text.split("\n")
    fences = Fences(lines, is_whole=True)
    return _is_costly("\n".join("" if fences.is_code(at) else line for at, line in enumerate(lines)))


def _is_costly(text: str) -> bool:
    if ENDLESS_ADDRESS.search(text):
        return True
    paragraphs = (each for each in text.split("\n\n") if len(each) > MOST_SIGNS)
    return any(len(SIGNS.findall(each)) > MOST_SIGNS for each in paragraphs)


def put_right(text: str, *, is_whole: bool = True) -> str:
    """Return the text as CommonMark expects it, with stand-ins. is_whole: it no longer grows."""
    text = without_stand_ins(text)
    if not SPECIAL.search(text):
        return text
    lines = text.split("\n")
    fences, displays, lists = Fences(lines, is_whole), Displays(lines, is_whole), Lists()
    right: list[str] = []
    paragraph: list[str] = []
    for at, line in enumerate(lines):
        if at % BREATH_LINES == BREATH_LINES - 1:
            give_way()
        is_code = fences.is_code(at)
        if displays.holds(at, is_code):
            paragraph.append(displays.shown(line))
            continue
        shown = fences.shown(at, lists.shifted(line, is_code, fences.is_opening))
        if is_code or not line.strip():
            right += [*_told(paragraph), shown]
            paragraph = []
        else:
            is_address = paragraph and NAME_OF_LINK.fullmatch(paragraph[-1])
            paragraph.append(shown if is_address else _without_block(shown))
    return "\n".join(right + _told(paragraph))


def open_display(text: str) -> int:
    """Return where the formula in lines of its own begins in which a growing text ends; its length without one."""
    if not OPENING.search(text):
        return len(text)
    lines = text.split("\n")
    fences, displays = Fences(lines, is_whole=False), Displays(lines, is_whole=False)
    for at in range(len(lines)):
        displays.holds(at, fences.is_code(at))
    return sum(len(line) + 1 for line in lines[: displays.first]) if displays.is_open else len(text)


def _without_block(line: str) -> str:
    """Return the line changed so that it starts no HTML block."""
    if not (tag := TAG.match(line)):
        return line
    rest = line[tag.end() :]
    # The inside of a complete tag is not Markdown; line ends inside an incomplete one stay visible.
    return tag["before"] + (f"{NOTHING}<" if ">" in rest else FOR["<"]) + rest


def _told(paragraph: list[str]) -> list[str]:
    return [told("\n".join(paragraph))] if paragraph else []
