"""Thoughts that a model writes into its answer, between tags such as <think> and </think>.

They are recognised if the answer begins with an opening tag. Some templates put the opening tag into the prompt: then
there is only a closing tag, at the end of a line, and everything before it was a thought. Tags inside code are left
alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# The tags of DeepSeek, Qwen, Mistral, Kimi, ByteDance, Cohere, Gemma and gpt-oss, and those that prompts ask for.
TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<thoughts>": "</thoughts>",
    "<reasoning>": "</reasoning>",
    "<reason>": "</reason>",
    "<seed:think>": "</seed:think>",
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|channel>thought": "<channel|>",
    **{
        f"{start}<|channel|>{channel}<|message|>": "<|channel|>final<|message|>"
        for start in ("", "<|start|>assistant")
        for channel in ("analysis", "commentary")
    },
}
# Marks that start an answer without a thought before it.
NO_THOUGHT = ("<|channel|>final<|message|>", "<|start|>assistant<|channel|>final<|message|>", "<|start_response|>")
# Marks that some servers fail to strip from the answer.
MARKS = (
    *("<|return|>", "<|end|>", "<|start_response|>", "<|end_response|>"),
    *("<|begin_of_solution|>", "<|end_of_solution|>", "<turn|>"),
)
MARK = re.compile("|".join(map(re.escape, MARKS)), re.IGNORECASE)
LONGEST_TAG = max(map(len, [*TAGS, *TAGS.values()]))
BLANKS = re.compile(r"[ \t]*")
FIRST_CHARACTERS = frozenset("<[◁")
CLOSING = re.compile("|".join(map(re.escape, TAGS.values())), re.IGNORECASE)
# gpt-oss ends a channel and starts the next one with marks of its own.
LEFTOVERS = re.compile(r"(<\|end\|>)?(<\|start\|>assistant)?$")
FENCE = re.compile(r"[ >]*(`{3,}|~{3,})")
LONGEST_INDENT = 200


class Split(NamedTuple):
    """New text of the answer and of the thought. restarts: the text given so far was a thought too."""

    text: str = ""
    thought: str = ""
    restarts: bool = False


class ThoughtSplitter:
    """Splits one answer, cut anywhere. begins_inside: the opening tag is already in the prompt."""

    def __init__(self, *, begins_inside: bool = False) -> None:
        self._waiting = ""
        self._given: list[str] = []
        self._code = _Code()
        self._thought = ""
        self._closing = ""
        self._begins_inside = begins_inside
        self._is_trimmed = True
        self._state = "thought" if begins_inside else "start"

    def feed(self, text: str) -> Split:
        self._waiting += text
        return self._read(is_over=False)

    def finish(self) -> Split:
        """Return what was held back. A thought presumably opened by the template that never ended was the answer."""
        last = self._read(is_over=True)
        if self._begins_inside and self._state == "thought":
            return Split(self._thought)
        return last

    def _read(self, *, is_over: bool) -> Split:
        text = thought = ""
        restarts = False
        while True:
            state = self._state
            new: Split = getattr(self, f"_in_{state}")(is_over)
            if new.restarts:
                text, thought, restarts = "", thought + text, True
            text, thought = text + new.text, thought + new.thought
            if self._state == state:
                self._thought += thought if self._begins_inside else ""
                return Split(text, thought, restarts)

    def _in_start(self, is_over: bool) -> Split:
        begun = self._waiting.lstrip().lower()
        for opening, closing in TAGS.items():
            if begun.startswith(opening):
                self._waiting = self._waiting.lstrip()[len(opening) :]
                self._state, self._closing, self._is_trimmed = "thought", closing, False
                return Split()
        if mark := next((mark for mark in NO_THOUGHT if begun.startswith(mark)), ""):
            self._waiting = self._waiting.lstrip()[len(mark) :]
            self._state, self._closing, self._is_trimmed = "answer", mark, False
        elif is_over or (begun and not any(opening.startswith(begun) for opening in (*TAGS, *NO_THOUGHT))):
            self._state = "text"
        return Split()

    def _in_thought(self, is_over: bool) -> Split:
        lowered = self._waiting.lower()
        if self._closing:
            at, length = lowered.find(self._closing), len(self._closing)
        else:
            match = CLOSING.search(lowered)
            at, length = (match.start(), match.end() - match.start()) if match else (-1, 0)
        if at >= 0:
            thought = self._trim(LEFTOVERS.sub("", self._waiting[:at]).rstrip())
            self._waiting = self._waiting[at + length :]
            self._state, self._is_trimmed = "answer", False
            return Split(thought=thought)
        keep = 0 if is_over else _possible_tag(self._waiting, LONGEST_TAG + 24)
        # White space before the closing tag is not part of the thought.
        keep = len(self._waiting) - len(_cut(self._waiting, keep)[0].rstrip())
        thought, self._waiting = _cut(self._waiting, keep)
        return Split(thought=self._trim(thought))

    def _in_text(self, is_over: bool) -> Split:
        waiting = self._waiting
        if FIRST_CHARACTERS.isdisjoint(waiting):
            return self._give(len(waiting))  # Nearly every piece.
        at = 0
        for match in CLOSING.finditer(waiting):
            self._given.append(waiting[at : match.start()])
            end = BLANKS.match(waiting, match.end()).end()  # type: ignore[union-attr]
            if end == len(waiting) and not is_over:
                # The tag only counts at the end of its line, which may come next.
                self._waiting = waiting[match.start() :]
                return Split(waiting[: match.start()])
            if waiting[end : end + 1] in ("", "\n") and not self._is_in_code():
                self._state, self._is_trimmed, self._waiting = "answer", False, waiting[end:]
                return Split(thought=waiting[: match.start()], restarts=True)
            self._given.append(match[0])
            at = match.end()
        return self._give(len(waiting) - (0 if is_over else _possible_tag(waiting[at:], LONGEST_TAG)), at)

    def _give(self, end: int, begin: int = 0) -> Split:
        """Return the waiting text up to end; the part before begin is recorded as already given."""
        text, self._waiting = self._waiting[:end], self._waiting[end:]
        self._given.append(text[begin:])
        return Split(text)

    def _is_in_code(self) -> bool:
        for text in self._given:
            self._code.feed(text)
        self._given.clear()
        return self._code.is_open

    def _in_answer(self, is_over: bool) -> Split:
        text, self._waiting = self._waiting, ""
        if "|>" in self._closing:
            keep = 0 if is_over else _beginning_of(MARKS, text)
            text, self._waiting = _cut(text, keep)
            text = MARK.sub("", text)
        return Split(self._trim(text))

    def _trim(self, text: str) -> str:
        """Remove the white space between a tag and what follows it."""
        if not self._is_trimmed:
            text = text.lstrip()
            self._is_trimmed = bool(text)
        return text


def _cut(text: str, keep: int) -> tuple[str, str]:
    return (text[:-keep], text[-keep:]) if keep else (text, "")


def _possible_tag(text: str, longest: int) -> int:
    """Return how many characters at the end may be the start of a closing tag."""
    tail = text[-longest:]
    starts = [at for at, character in enumerate(tail) if character in FIRST_CHARACTERS]
    for at in starts:
        rest = tail[at:].lower()
        if any(closing.startswith(rest) for closing in TAGS.values()) or rest.startswith("<|"):
            return len(rest)
    return 0


def _beginning_of(marks: tuple[str, ...], text: str) -> int:
    """Return how many characters at the end are the start of a mark."""
    at = text.rfind("<", -max(map(len, marks)))
    rest = text[at:].lower() if at >= 0 else ""
    return len(rest) if rest and any(mark.startswith(rest) and mark != rest for mark in marks) else 0


class _Code:
    """Tracks whether a text, given piece by piece, ends inside code: in a fence, or after an odd number of `."""

    def __init__(self) -> None:
        self._fence = ""
        self._head = ""
        self._ticks = 0

    @property
    def is_open(self) -> bool:
        return bool(self._fence_behind(self._head)) or self._ticks % 2 == 1

    def feed(self, text: str) -> None:
        for number, part in enumerate(text.split("\n")):
            if number:
                self._fence, self._head, self._ticks = self._fence_behind(self._head), "", 0
            self._head = (self._head + part[:LONGEST_INDENT])[:LONGEST_INDENT]
            self._ticks += part.count("`")

    def _fence_behind(self, line: str) -> str:
        match = FENCE.match(line)
        if match is None:
            return self._fence
        if not self._fence:
            return match[1]
        return "" if match[1].startswith(self._fence) else self._fence
