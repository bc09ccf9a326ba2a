"""Thoughts that a model writes into its answer, between tags such as <think> and </think>.

They are told from the answer where the answer begins with an opening tag. Some templates put the opening tag into the
prompt: then only a closing tag comes, alone at the end of a line, and all before it was a thought. What stands in code
is code.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# As DeepSeek, Qwen, Mistral, Kimi, ByteDance and gpt-oss write them, and what people's prompts ask for.
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
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",
}
LONGEST_TAG = max(map(len, [*TAGS, *TAGS.values()]))
FIRST_CHARACTERS = frozenset("<[◁")
CLOSING = re.compile("|".join(map(re.escape, TAGS.values())), re.IGNORECASE)
# gpt-oss ends a channel and begins the next one with words of its own.
LEFTOVERS = re.compile(r"(<\|end\|>)?(<\|start\|>assistant)?$")
FENCE = re.compile(r"^[ >]*(`{3,}|~{3,})", re.MULTILINE)


class Split(NamedTuple):
    """New text of the answer and of the thought. restarts: what was given as text before is a thought too."""

    text: str = ""
    thought: str = ""
    restarts: bool = False


class ThoughtSplitter:
    """Takes one answer, cut anywhere. begins_inside: the opening tag is in the prompt already."""

    def __init__(self, *, begins_inside: bool = False) -> None:
        self._waiting = ""
        self._given: list[str] = []
        self._thought = ""
        self._closing = ""
        self._begins_inside = begins_inside
        self._is_trimmed = True
        self._state = "thought" if begins_inside else "start"

    def feed(self, text: str) -> Split:
        self._waiting += text
        return self._read(is_over=False)

    def finish(self) -> Split:
        """Return what was held back. A thought that the template is said to begin, and that never ended, was none."""
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
        if is_over or not (not begun or any(opening.startswith(begun) for opening in TAGS)):
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
        # White space before the closing tag does not belong to the thought.
        keep = len(self._waiting) - len(_cut(self._waiting, keep)[0].rstrip())
        thought, self._waiting = _cut(self._waiting, keep)
        return Split(thought=self._trim(thought))

    def _in_text(self, is_over: bool) -> Split:
        if FIRST_CHARACTERS.isdisjoint(self._waiting):
            return Split(self._give(len(self._waiting)))  # Nearly every piece.
        text = ""
        while match := CLOSING.search(self._waiting):
            before, after = self._waiting[: match.start()], self._waiting[match.end() :].lstrip(" \t")
            if not after and not is_over:
                # The tag means something at the end of its line only, which may come next.
                return Split(text + self._give(match.start()))
            if after[:1] in ("", "\n") and not _is_in_code("".join(self._given) + before):
                self._state, self._is_trimmed, self._waiting = "answer", False, after
                return Split(thought=text + before, restarts=True)
            text += self._give(match.end())
        keep = 0 if is_over else _possible_tag(self._waiting, LONGEST_TAG)
        return Split(text + self._give(len(self._waiting) - keep))

    def _give(self, length: int) -> str:
        text, self._waiting = self._waiting[:length], self._waiting[length:]
        self._given.append(text)
        return text

    def _in_answer(self, is_over: bool) -> Split:
        text, self._waiting = self._trim(self._waiting), ""
        return Split(text)

    def _trim(self, text: str) -> str:
        """Take off the white space between a tag and what follows it."""
        if not self._is_trimmed:
            text = text.lstrip()
            self._is_trimmed = bool(text)
        return text


def _cut(text: str, keep: int) -> tuple[str, str]:
    return (text[:-keep], text[-keep:]) if keep else (text, "")


def _possible_tag(text: str, longest: int) -> int:
    """Return how many characters at the end may be the beginning of a closing tag."""
    tail = text[-longest:]
    starts = [at for at, character in enumerate(tail) if character in FIRST_CHARACTERS]
    for at in starts:
        rest = tail[at:].lower()
        if any(closing.startswith(rest) for closing in TAGS.values()) or rest.startswith("<|"):
            return len(rest)
    return 0


def _is_in_code(text: str) -> bool:
    """Say whether a text ends inside of code: in an open fence, or behind an odd number of ` in its line."""
    fence = ""
    for match in FENCE.finditer(text):
        mark = match[1]
        if not fence:
            fence = mark
        elif mark.startswith(fence):
            fence = ""
    return bool(fence) or text.rpartition("\n")[2].count("`") % 2 == 1
