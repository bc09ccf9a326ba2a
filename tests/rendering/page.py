"""A page that applies the events of a stream, and ways to cut a text."""

from __future__ import annotations

import random
from collections.abc import Iterable

from chatapp.rendering import MarkdownStream


class Page:
    """Holds what a browser would show. Checks that a page that comes back would be given the same."""

    def __init__(self) -> None:
        self.stream = MarkdownStream()
        self.blocks = self.tail = ""
        self.events: list[str] = []

    @property
    def html(self) -> str:
        return self.blocks + self.tail

    def feed(self, *chunks: str) -> Page:
        for chunk in chunks:
            self.apply(self.stream.feed(chunk))
        return self

    def finish(self) -> Page:
        return self.apply(self.stream.finish())

    def apply(self, events: Iterable[tuple[str, str]]) -> Page:
        for kind, html in events:
            self.events.append(kind)
            if kind == "block":
                self.blocks += html
            elif kind == "reset":
                self.blocks = html
            elif kind == "tail":
                self.tail = html
            else:
                assert (kind, self.tail.count("</code>")) == ("code", 1)
                self.tail = self.tail.replace("</code>", f"{html}</code>")
        assert (self.blocks, self.tail) == (self.stream.blocks, self.stream.tail)
        return self


def cut(text: str, seed: int, longest: int = 12) -> list[str]:
    """Return the text in pieces of random length."""
    randomness, pieces = random.Random(seed), []
    while text:
        length = randomness.randint(1, longest)
        pieces.append(text[:length])
        text = text[length:]
    return pieces


def streamed(text: str, seed: int = 1, longest: int = 12) -> Page:
    return Page().feed(*cut(text, seed, longest)).finish()
