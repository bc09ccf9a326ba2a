"""A gunicorn worker that leaves when its turns have ended, not when its connections have.

A turn runs apart from any connection, so gunicorn's own worker would drop it the moment nobody listens; and it
waits for every connection that a browser or nginx merely keeps open. On SIGTERM this one takes no new turns, closes
the idle connections, lets the open turns come to their end, and saves as interrupted what has not ended in time.
gunicorn's master kills without a word after graceful_timeout; everything here is over SAVE_SECONDS before that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gevent
from gunicorn.workers.ggevent import GeventWorker

if TYPE_CHECKING:
    from chatapp.turns.workers import Workers

SAVE_SECONDS = 3
# gunicorn looks once a second for the signal and once a second for the last connection.
LEAVE_SECONDS = 2
# For streams to tell their listeners how it ended.
LAST_WORDS_SECONDS = 0.2


class DrainWorker(GeventWorker):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: dict[gevent.Greenlet, gevent.Timeout] = {}
        self._draining: gevent.Greenlet | None = None

    def run(self) -> None:
        super().run()
        if self._draining is not None:
            self._draining.join()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Leave gently: SIGTERM."""
        super().handle_exit(sig, frame)
        self._drain(self.cfg.graceful_timeout - SAVE_SECONDS - LEAVE_SECONDS)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Leave at once, but with everything saved: SIGQUIT, and Ctrl-C, which reaches master and worker alike."""
        gevent.spawn(self._quit)

    def _quit(self) -> None:
        self._drain(0).join()
        gevent.sleep(LAST_WORDS_SECONDS)
        os._exit(0)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Wait for the next request of a connection, for keepalive seconds or until the worker leaves."""
        waiting = gevent.getcurrent()
        try:
            with gevent.Timeout(self.cfg.keepalive, False) as timeout:
                self._idle[waiting] = timeout
                yield
        finally:
            del self._idle[waiting]

    @property
    def _turns(self) -> Workers | None:
        """The turns of this process; None where the application never came up."""
        services = getattr(self.wsgi, "extensions", {}).get("services")
        return services.turns if services else None

    def _drain(self, wait_seconds: float) -> gevent.Greenlet:
        self._draining = gevent.spawn(self._end_turns, time.monotonic() + wait_seconds)
        return self._draining

    def _end_turns(self, deadline: float) -> None:
        for waiting, timeout in list(self._idle.items()):
            # Its own timeout, early: the connection is closed as if it had been idle for too long.
            gevent.get_hub().loop.run_callback(waiting.throw, timeout)
        turns = self._turns
        if turns is None:
            return
        turns.drain()
        while turns.open_count() and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)
        turns.interrupt_all(SAVE_SECONDS)
