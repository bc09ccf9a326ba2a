"""Renders Markdown that is still being written.

CommonMark builds blocks line by line and a new top-level block never reopens the one before it. So everything above the
last top-level block is final: it is sent once. Only the rest, the tail, is rendered again and again.

    source   # Title⏎⏎First para⏎graph.⏎⏎Second par
             ├──────── blocks, sent ────────┤├─tail──┤
"""

from __future__ import annotations

import re
from html import escape

from chatapp.rendering.dialect import open_display
from chatapp.rendering.markdown import (
    LONGEST_MARKDOWN_CHARS,
    Allowance,
    Block,
    TooStrange,
    parse,
    preformatted,
    present,
    present_all,
    render,
)
from chatapp.rendering.tail import visible_part

Event = tuple[str, str]

# Render a large tail only when it has grown by this fraction of itself: a 20 KB list in pieces of ten characters took
# 10 s when rendered for each piece. (From this many characters on: that fraction.)
TAIL_STEPS = ((32_768, 8), (4_096, 64))

# Not one in Markdown, which may contain others.
_NOT_MARKDOWN = r"(?![ \t]*(?:md|markdown)[ \t]*\n)"
OPEN_FENCE = re.compile(rf"(?:(`{{3,}}){_NOT_MARKDOWN}[^`\n]*|(~{{3,}}){_NOT_MARKDOWN}[^\n]*)\n", re.IGNORECASE)
FENCE_LINE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")


class MarkdownStream:
    """Renders a growing text. feed() and finish() return events in the order in which a page applies them:

    block: append to the final blocks.       reset: replace all final blocks.
    tail:  replace the open end.             code:  append to the <code> element of the open end.

    After finish() the blocks are what render() makes of the whole text, and the tail is empty. The text must have
    passed chatapp.kernel.text.ModelText. One greenlet at a time; both methods may let others run. Neither raises.
    """

    def __init__(self, copy_label: str = "Copy") -> None:
        self.copy_label = copy_label
        self._pieces: list[str] = []
        self._length = 0
        self._open = ""  # The source that is not final yet.
        self._has_new_lines = False  # Since blocks were last looked for.
        self._sent: list[str] = []  # The parser's HTML of the final blocks.
        self._html: list[str] = []  # The same as the page has it.
        self._allowance = Allowance()
        self._tail = ""
        self._tail_length = 0  # The length of the open source when the tail was made.
        self._code: _OpenCode | None = None  # If set, it is the tail.
        self._has_given_up = False

    @property
    def blocks(self) -> str:
        """The HTML of the final blocks so far."""
        return "".join(self._html)

    @property
    def tail(self) -> str:
        """The HTML of the open end."""
        return self._code.html if self._code else self._tail

    @property
    def interval_ms(self) -> int:
        """How long to collect text before the next feed(): redrawing a long tail costs the page more than it gives."""
        if self._code or len(self._open) < 4_096:
            return 50
        return 100 if len(self._open) < 16_384 else 200

    def feed(self, chunk: str) -> list[Event]:
        """Take the next piece of text, cut anywhere. Returns nothing if nothing new is visible."""
        self._pieces.append(chunk)
        self._length += len(chunk)
        self._open += chunk
        self._has_new_lines |= "\n" in chunk
        if self._waits_for_more():
            return []
        if not self._has_given_up:
            try:
                return self._feed()
            except Exception:
                self._has_given_up = True
        return self._show_as_written()

    def finish(self) -> list[Event]:
        """End the text, and correct what streaming could not know, such as a link defined at the very end."""
        text = "".join(self._pieces)
        events: list[Event] = []
        rest = self._blocks_not_sent(text)
        if rest is None:
            self._html = [str(render(text, self.copy_label))]
            events = [("reset", self.blocks)]
        elif rest:
            events = self._append(rest)
        self._open = ""
        return events + self._show_tail("")

    def _waits_for_more(self) -> bool:
        length = len(self._open)
        steps = next((steps for size, steps in TAIL_STEPS if length > size), 0)
        return bool(steps) and not self._code and length - self._tail_length < length // steps

    def _feed(self) -> list[Event]:
        if self._length > LONGEST_MARKDOWN_CHARS:
            raise TooStrange
        if self._code:
            text = self._code.grow(self._open)
            if not self._code.is_closed:
                return [("code", text)] if text else []
        events = self._close_blocks() if self._has_new_lines else []
        if opened := OPEN_FENCE.match(self._open):
            self._code = _OpenCode(opened, self.copy_label)
            self._code.grow(self._open)
            return [*events, ("tail", self._code.html)]
        return events + self._show_tail(self._render_tail())

    def _close_blocks(self) -> list[Event]:
        events: list[Event] = []
        self._has_new_lines = False
        while final := _final(self._open):
            length, blocks = final
            events += self._append(blocks)
            self._open = self._open[length:].lstrip("\n")
        return events

    def _append(self, blocks: list[Block]) -> list[Event]:
        html = present_all(blocks, self.copy_label, self._allowance)
        self._sent += [block.html for block in blocks]
        self._html.append(html)
        return [("block", html)] if html else []

    def _blocks_not_sent(self, text: str) -> list[Block] | None:
        """Return the whole text's blocks after those sent; None if the page needs all of them again."""
        if self._has_given_up:
            return None
        try:
            blocks = parse(text)
        except Exception:
            return None
        sent = len(self._sent)
        return blocks[sent:] if [block.html for block in blocks[:sent]] == self._sent else None

    def _render_tail(self) -> str:
        return "".join(
            present(block.html, self.copy_label, has_colours=False, has_maths=self._allowance.is_rich)
            for block in parse(visible_part(self._open[: open_display(self._open)]), is_whole=False)
        )

    def _show_tail(self, tail: str) -> list[Event]:
        before = self.tail
        self._tail, self._tail_length, self._code = tail, len(self._open), None
        return [("tail", tail)] if tail != before else []

    def _show_as_written(self) -> list[Event]:
        had_blocks = bool(self._html)
        self._sent, self._html, self._open = [], [], "".join(self._pieces)
        return [("reset", "")] * had_blocks + self._show_tail(preformatted(self._open))


def open_fence(text: str) -> str:
    """Return the line that opens the code block in which a text ends, with its line end; "" if there is none.

    What goes on from there is drawn as code only with that line before it.
    """
    fence, opening = "", ""
    for line in text.splitlines(keepends=True):
        found = FENCE_LINE.match(line)
        if not found:
            continue
        if not fence and not ("`" in found[1] and "`" in found[2]):
            fence, opening = found[1], line.rstrip("\n") + "\n"
        elif fence and found[1].startswith(fence) and not found[2].strip():
            fence, opening = "", ""
    return opening


def _final(source: str) -> tuple[int, list[Block]] | None:
    """Return how much of the source no later line can change, and its blocks; None if that is nothing.

    The source begins with a top-level block.
    """
    complete = source.rfind("\n") + 1
    if opened := OPEN_FENCE.match(source):
        closing = _closing_fence(opened).search(source, opened.end(), complete)
        return (closing.end() + 1, parse(source[: closing.end() + 1], is_whole=False)) if closing else None
    blocks = parse(source[:complete], is_whole=False)
    last = next((index for index in range(len(blocks) - 1, 0, -1) if blocks[index].first_line), 0)
    if not last:
        return None
    lines = source.split("\n", blocks[last].first_line - 1)[:-1]
    # A line right above that belongs to no block is part of a link definition, which may still grow.
    if lines[-1].strip() and blocks[last - 1].last_line < len(lines):
        return None
    # The lines behind them tell how they are read: a formula without an end is one while it may still end.
    return sum(len(line) + 1 for line in lines), blocks[:last]


def _closing_fence(opened: re.Match[str]) -> re.Pattern[str]:
    fence = opened[1] or opened[2]
    return re.compile(rf"^ {{0,3}}{fence}{fence[0]}*[ \t]*$", re.MULTILINE)


class _OpenCode:
    """An unfinished fenced code block: it only grows, so its text is sent once, however long it gets."""

    def __init__(self, opened: re.Match[str], copy_label: str) -> None:
        (block,) = parse(opened[0])
        figure = present(block.html, copy_label, has_colours=False, has_maths=False)
        self._before, _, self._after = figure.partition("</code>")
        self._closing = _closing_fence(opened)
        # Hold back what may become the closing fence.
        self._closing_begun = re.compile(rf" {{0,3}}{opened[0][0]}*[ \t]*")
        self._looked_at = self._shown = opened.end()
        self._texts: list[str] = []
        self.is_closed = False

    @property
    def html(self) -> str:
        return f"{self._before}{''.join(self._texts)}</code>{self._after}"

    def grow(self, source: str) -> str:
        """Return what is new in the source, as HTML."""
        complete = source.rfind("\n") + 1
        self.is_closed = self._closing.search(source, self._looked_at, complete) is not None
        if self.is_closed:
            return ""
        self._looked_at = complete
        end = complete if self._closing_begun.fullmatch(source, complete) else len(source)
        text = escape(source[self._shown : end], quote=False)
        self._shown = end
        self._texts.append(text)
        return text
