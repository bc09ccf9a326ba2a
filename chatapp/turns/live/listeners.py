"""The load one process accepts: how busy it may be, how many may listen, and how long a connection lives."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from uuid import UUID

import gevent
from flask import Response

from chatapp.kernel.config import settings
from chatapp.kernel.errors import RateLimited, Unavailable
from chatapp.kernel.text import N_
from chatapp.turns.live.log import HEARTBEAT_SECONDS, Heard

LAG_EVERY_SECONDS = 0.1
# Over HTTP/1.1 a browser opens six connections to a host, for all tabs. Two stay free for pages and for Stop.
STREAMS_PER_BROWSER = 4


class LoopLag:
    """How late greenlets run: a moving average over the last half second or so."""

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


class ListenerSlot:
    """A connection that is counted: for its user from the start, for a turn once it listens to one.

    `with slot:` releases it if the block fails. Otherwise it is released when its response closes.
    """

    def __init__(self, of: Counter[UUID]) -> None:
        self._of = of
        self._ids: list[UUID] = []

    def acquire(self, key: UUID, limit: int) -> ListenerSlot:
        """Count it for a user or a turn. Raises RateLimited if there are too many."""
        if self._of[key] >= limit:
            raise RateLimited(N_("Too many connections are open already"), retry_after_seconds=15)
        self._of[key] += 1
        self._ids.append(key)
        return self

    def listen_to(self, turn_id: UUID) -> None:
        self.acquire(turn_id, settings().max_listeners_per_turn)

    def may_stay(self, login_id: UUID) -> bool:
        """Return whether a browser may keep this connection open; if so, count it for its login."""
        if self._of[login_id] >= max(1, STREAMS_PER_BROWSER // settings().web_concurrency):
            return False
        self.acquire(login_id, STREAMS_PER_BROWSER)
        return True

    def release(self) -> None:
        for key in self._ids:
            self._of[key] -= 1
            if not self._of[key]:
                del self._of[key]
        self._ids = []

    def __enter__(self) -> ListenerSlot:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.release()


# The key for counting all of the process's listeners.
ALL_LISTENERS = UUID(int=0)


class Listeners:
    """Counts the listeners in this process, per turn and per user."""

    def __init__(self) -> None:
        self._of: Counter[UUID] = Counter()

    def open_slot(self, user_id: UUID) -> ListenerSlot:
        """Count a connection before starting anything for it.

        Raises RateLimited if the user has too many, Unavailable if the process has.
        """
        if self._of[ALL_LISTENERS] >= settings().max_listeners:
            raise Unavailable(N_("The service is busy. Try again in a moment"), retry_after_seconds=10)
        with ListenerSlot(self._of) as slot:
            return slot.acquire(ALL_LISTENERS, settings().max_listeners).acquire(
                user_id, settings().max_listeners_per_user
            )

    @property
    def count(self) -> int:
        """How many connections listen to turns of this process or another."""
        return self._of[ALL_LISTENERS]

    def __len__(self) -> int:
        """Return how many counts are held; 0 if nobody is listening."""
        return self._of.total()


class LoginCheck:
    """Whether the login behind a stream is still valid, asked every HEARTBEAT_SECONDS.

    is_good asks the database. It is a check and no generator: a layer more would cost every piece of every stream.
    """

    def __init__(self, is_good: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_good = is_good
        self._clock = clock
        self._checked_at = clock()

    def has_ended(self, item: Heard) -> bool:
        """Return whether the stream must end before this item."""
        if item is not None and self._clock() - self._checked_at < HEARTBEAT_SECONDS:
            return False
        self._checked_at = self._clock()
        return not self._is_good()


def sse_headers(cache_control: str) -> dict[str, str]:
    """Return the headers of a stream of Server-Sent Events."""
    return {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": cache_control,
        # Otherwise nginx buffers the answer and delivers it all at the end.
        "X-Accel-Buffering": "no",
    }


def for_a_while(heard: Iterable[Heard], seconds: float, clock: Callable[[], float] = time.monotonic) -> Iterator[Heard]:
    """Yield items for this many seconds; the listener then reconnects, perhaps to another process."""
    end = clock() + seconds
    for item in heard:
        yield item
        if clock() >= end:
            return


def streamed(frames: Iterable[str], headers: dict[str, str], slot: ListenerSlot) -> Response:
    """Return a response that releases its listener slot when it ends."""
    response = Response(frames, headers=headers)
    response.call_on_close(slot.release)
    return response
