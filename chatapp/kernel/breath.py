"""Yields during long computations, so that one request does not hold up the others. No Flask, no database."""

from __future__ import annotations

import time
from typing import IO

import gevent

# A computation that takes longer than this yields.
BREATH_SECONDS = 0.005


def give_way() -> None:
    """Let other greenlets run, including those waiting for the network or a timer.

    A sleep of 0 does not poll the network: gevent first runs 50 of the ready greenlets. If each computes for 5 ms, a
    request would wait 250 ms for its first byte to be read.
    """
    gevent.sleep(0.000_001)


class Breath:
    """Yields once others have waited long enough; calls in between cost almost nothing."""

    def __init__(self) -> None:
        self._taken_at = 0.0

    def __call__(self) -> None:
        if time.perf_counter() - self._taken_at > BREATH_SECONDS:
            give_way()
            self._taken_at = time.perf_counter()


class BreathingBody:
    """A request body that yields to others while it is read: one that arrives fast never makes its reader wait."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body, self._breathe = body, Breath()

    def read(self, size: int = -1) -> bytes:
        self._breathe()
        return self._body.read(size)

    def readline(self, size: int = -1) -> bytes:
        return self._body.readline(size)
