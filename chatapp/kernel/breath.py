"""Give way while computing, so that one request does not hold up the others. No Flask, no database."""

from __future__ import annotations

import time

import gevent

# What computes for longer gives way.
BREATH_SECONDS = 0.005


def give_way() -> None:
    """Let others have their turn, those too that wait for the network or the clock.

    A sleep of 0 does not look at the network: gevent first runs 50 of what is ready. Where each computes for 5 ms, a
    request would wait 250 ms for its first byte to be read.
    """
    gevent.sleep(0.000_001)


class Breath:
    """Gives way once others have waited long enough; called often, it costs nothing in between."""

    def __init__(self) -> None:
        self._taken_at = 0.0

    def __call__(self) -> None:
        if time.perf_counter() - self._taken_at > BREATH_SECONDS:
            give_way()
            self._taken_at = time.perf_counter()
