"""A running token count of an answer while it streams, to stop it at its limit."""

from __future__ import annotations

from chatapp.providers.base import Usage
from chatapp.tokens.estimate import calibrated

ESTIMATED_CHARS = 200
# No text averages more characters per token; don't believe a server that reports fewer tokens.
MOST_CHARS_PER_TOKEN = 20


class RunningMeter:
    """Tokens of the visible answer so far: the provider's last figure and the estimate of what came after it.

    Text is estimated in stretches that end at white space, so the work is linear in the length.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._tokens = 0
        self._chars = 0
        self._waiting = ""

    @property
    def tokens(self) -> int:
        """The tokens of the visible answer so far, never too few by more than a stretch."""
        return max(self._tokens, self._chars // MOST_CHARS_PER_TOKEN) + calibrated(self._waiting)

    @property
    def is_over(self) -> bool:
        return max(self._tokens, self._chars // MOST_CHARS_PER_TOKEN) > self._max_tokens

    def add(self, delta: str, usage: Usage | None) -> None:
        self._chars += len(delta)
        if self.is_over:
            return  # Stop estimating, however long the rest may be.
        self._waiting += delta
        if usage is not None and usage.output_tokens > usage.thoughts_tokens:
            self._tokens = usage.output_tokens - usage.thoughts_tokens
            self._waiting = ""
        elif len(self._waiting) >= ESTIMATED_CHARS:
            cut = max(self._waiting.rfind(" "), self._waiting.rfind("\n"), ESTIMATED_CHARS // 2)
            self._tokens += calibrated(self._waiting[:cut])
            self._waiting = self._waiting[cut:]
