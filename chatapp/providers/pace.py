"""Reads many streams together.

With few streams, a chunk is read as soon as it arrives; with more, chunks wait a little. Waking up costs far more than
the work that follows, so a process with many streams does not wake for every chunk: it reads all streams together, at
an interval that grows with their number. No Flask, no database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event

READS_PER_SECOND = 800
LONGEST_SECONDS = 0.25
# Fewer streams than this are read as their chunks arrive.
FEW_STREAMS = 20


class Pace:
    def __init__(self, sleep: Callable[[float], object] = gevent.sleep) -> None:
        self.streams = 0
        self._sleep = sleep
        self._beat = Event()
        self._beating: gevent.Greenlet | None = None

    @property
    def seconds(self) -> float:
        """Return the time between two beats; 0 if nobody has to wait."""
        if self.streams < FEW_STREAMS:
            return 0.0
        return min(self.streams / READS_PER_SECOND, LONGEST_SECONDS)

    @contextmanager
    def stream(self) -> Iterator[Callable[[], None]]:
        """Count a stream while it is being read; yields the function to wait with before each read but the first."""
        self.streams += 1
        try:
            yield self.wait
        finally:
            self.streams -= 1

    def wait(self) -> None:
        """Wait for the next beat, together with the other streams."""
        if not self.seconds:
            return
        if self._beating is None:
            self._beating = gevent.spawn(self._beat_once)
        self._beat.wait()

    def _beat_once(self) -> None:
        self._sleep(self.seconds)
        beat, self._beat, self._beating = self._beat, Event(), None
        beat.set()
