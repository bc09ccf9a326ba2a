"""The parts of a server process, and what they need from the application."""

from typing import Protocol


class OpenTurns(Protocol):
    """What a server needs from its process's turns (turns/live/process.py)."""

    def open_count(self) -> int: ...

    def admit(self) -> None:
        """Raise Unavailable if no new turn is accepted."""

    def drain(self) -> None:
        """Stop accepting turns."""

    def interrupt_all(self, seconds: float) -> None:
        """Save the open turns as interrupted, within this many seconds."""
