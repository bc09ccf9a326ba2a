"""What a server process is made of, and what it asks of the product."""

from typing import Protocol


class OpenTurns(Protocol):
    """What a server asks of the turns of its process (turns/live/process.py)."""

    def open_count(self) -> int: ...

    def admit(self) -> None:
        """Raise Unavailable where no new turn is taken."""

    def drain(self) -> None:
        """Take no more turns."""

    def interrupt_all(self, seconds: float) -> None:
        """Save the open turns as interrupted, within so many seconds."""
