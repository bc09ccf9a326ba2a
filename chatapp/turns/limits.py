"""What one process takes on: how busy it may be, how many may listen, and how long a connection lives."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from uuid import UUID

import gevent
from flask import Response, request

from chatapp.errors import RateLimited
from chatapp.services import settings
from chatapp.turns.log import Heard

LAG_EVERY_SECONDS = 0.1
# A listener that takes nothing for so long is dropped. It comes back with its position.
SEND_SECONDS = 30


class LoopLag:
    """How late greenlets get their turn: a running mean of the last half second or so."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = gevent.sleep
    ) -> None:
        self.seconds = 0.0
        self._clock = clock
        self._sleep = sleep
        self._measuring: gevent.Greenlet | None = None

    def start(self) -> None:
        self._measuring = gevent.spawn(self._measure_on)

    def stop(self) -> None:
        if self._measuring is not None:
            self._measuring.kill()

    def measure(self) -> None:
        began = self._clock()
        self._sleep(LAG_EVERY_SECONDS)
        late = max(0.0, self._clock() - began - LAG_EVERY_SECONDS)
        self.seconds = 0.8 * self.seconds + 0.2 * late

    def _measure_on(self) -> None:
        while True:
            self.measure()


class Listeners:
    """Counts who listens in this process, of each turn and of each user."""

    def __init__(self) -> None:
        self._of: Counter[UUID] = Counter()

    def enter(self, turn_id: UUID, user_id: UUID) -> Callable[[], None]:
        """Count a listener in and return what counts it out. Raises RateLimited where there are too many."""
        self.check(user_id)
        self._check(turn_id, settings().max_listeners_per_turn)
        self._of.update((turn_id, user_id))

        def leave() -> None:
            self._of.subtract((turn_id, user_id))
            self._of += Counter()  # Forgets those that are at nought.

        return leave

    def check(self, user_id: UUID) -> None:
        """Raise RateLimited where a user has too many connections for another one."""
        self._check(user_id, settings().max_listeners_per_user)

    def _check(self, key: UUID, limit: int) -> None:
        if self._of[key] >= limit:
            raise RateLimited("Too many connections listen already", retry_after_seconds=15)

    def __len__(self) -> int:
        return self._of.total() // 2


def for_a_while(heard: Iterable[Heard], seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[Heard]:
    """Yield what is heard, for so long; the listener comes back with its position and may find another process."""
    end = clock() + seconds
    for item in heard:
        yield item
        if clock() >= end:
            return


def streamed(frames: Iterable[str], headers: dict[str, str], leave: Callable[[], None]) -> Response:
    """Return a response that a peer cannot hold up: gunicorn's sockets have no time limit of their own."""
    response = Response(frames, headers=headers)
    response.call_on_close(leave)
    socket: Any = request.environ.get("gunicorn.socket")
    if socket is not None:
        socket.settimeout(SEND_SECONDS)
        # The next request on this connection has its own rules.
        response.call_on_close(lambda: socket.settimeout(None))
    return response
