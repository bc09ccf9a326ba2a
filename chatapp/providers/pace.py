"""Reads many streams together.

A piece of an answer waits for others: not at all while few answers stream, longer as more do. Waking up costs far more
than the work done then. So a process that reads many streams does not wake for each
chunk of each: it reads all of them together, at a beat that grows longer with their number. No Flask, no database.
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
        """Return the time between two beats; 0 where nobody has to wait."""
        if self.streams < FEW_STREAMS:
            return 0.0
        return min(self.streams / READS_PER_SECOND, LONGEST_SECONDS)

    @contextmanager
    def stream(self) -> Iterator[Callable[[], None]]:
        """Count a stream in while it is read, and give it what it waits with before each read but the first."""
        self.streams += 1
        try:
            yield self.wait
        finally:
            self.streams -= 1

    def wait(self) -> None:
        """Wait for the next beat, together with all who wait for it."""
        if not self.seconds:
            return
        if self._beating is None:
            self._beating = gevent.spawn(self._beat_once)
        self._beat.wait()

    def _beat_once(self) -> None:
        self._sleep(self.seconds)
        beat, self._beat, self._beating = self._beat, Event(), None
        beat.set()
