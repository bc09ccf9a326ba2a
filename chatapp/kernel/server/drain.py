"""A gunicorn worker that exits when its turns have ended, not when its connections have.

A turn runs independently of any connection, so gunicorn's own worker would drop it as soon as nobody listens; and it
waits for every connection that a browser or nginx merely keeps open. On SIGTERM this worker stops listening at once,
so that nginx goes to another process. It accepts no new turns on its remaining connections, closes the idle ones, lets
the open turns finish, and saves as interrupted those that do not finish in time. gunicorn's master kills the worker
after graceful_timeout; all of this is done before that.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.workers.ggevent import GeventWorker

from chatapp.kernel.server import OpenTurns

SAVE_SECONDS = 3
# Time for streams to send their ending and for requests in progress to finish.
LAST_WORDS_SECONDS = 1
# The master starts counting a moment earlier.
MARGIN_SECONDS = 1
SIGN_OF_LIFE_SECONDS = 1.0


class _Idle:
    """A connection that is waiting for a request."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.timeout: gevent.Timeout | None = None
        self.has_asked = False

    @property
    def has_data(self) -> bool:
        return bool(select.select([self._client], [], [], 0)[0])


class DrainWorker(GeventWorker):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections waiting for a request, by greenlet.
        self._idle: dict[gevent.Greenlet, _Idle] = {}
        self._leaving = Event()
        # Open turns may run until then.
        self._patience_ends = float("inf")

    def run(self) -> None:
        """Serve until a signal arrives. Replaces gunicorn's loop, which checks for one once a second."""
        servers = [self._listen(socket) for socket in self.sockets]
        while self.alive:
            self.notify()
            self._leaving.wait(SIGN_OF_LIFE_SECONDS)
        for server in servers:
            server.close()
        self._close_idle()
        turns = self._turns
        if turns is not None:
            self._wait(lambda: turns.open_count() == 0)
            turns.interrupt_all(SAVE_SECONDS)
        self._wait(lambda: not any(len(server.pool) for server in servers), SAVE_SECONDS + LAST_WORDS_SECONDS)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: leave gracefully."""
        self._leave(self.cfg.graceful_timeout - SAVE_SECONDS - LAST_WORDS_SECONDS - MARGIN_SECONDS)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, and Ctrl-C, which reaches master and worker alike: leave at once, but save everything."""
        self._leave(0)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        gevent.getcurrent().connection = _Idle(client)
        super().handle(listener, client, addr)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Wait for a connection's next request, for keepalive seconds or until the worker leaves."""
        waiting = gevent.getcurrent()
        seconds = self.cfg.keepalive if self.alive else self._last_wait(waiting.connection)
        try:
            with gevent.Timeout(seconds, False) as timeout:
                waiting.connection.timeout = timeout
                self._idle[waiting] = waiting.connection
                yield
        finally:
            del self._idle[waiting]
            waiting.connection.has_asked = True

    @property
    def _turns(self) -> OpenTurns | None:
        """This process's turns; None if the application never started."""
        found: OpenTurns | None = getattr(self.wsgi, "extensions", {}).get("live_turns")
        return found

    def _listen(self, socket: Any) -> StreamServer:
        socket.setblocking(1)
        # gunicorn asks for the name on every connection, even on the last one, when the socket is already closed.
        name = socket.getsockname()
        handle = partial(self.handle, SimpleNamespace(getsockname=lambda: name))
        server = StreamServer(socket, handle=handle, spawn=Pool(self.worker_connections))
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server

    def _leave(self, patience_seconds: float) -> None:
        self.alive = False
        self._patience_ends = min(self._patience_ends, time.monotonic() + patience_seconds)
        if self._turns is not None:
            self._turns.drain()
        self._leaving.set()

    def _close_idle(self) -> None:
        for waiting, connection in list(self._idle.items()):
            gevent.spawn_later(self._last_wait(connection), self._close, waiting, connection)

    @staticmethod
    def _last_wait(connection: _Idle) -> float:
        """Still answer a request that has arrived, and the first one of a new connection, which is on its way."""
        return 0 if connection.has_asked and not connection.has_data else LAST_WORDS_SECONDS

    def _close(self, waiting: gevent.Greenlet, connection: _Idle) -> None:
        """End the wait early with its own timeout: the connection closes as if it had been idle for too long."""
        if self._idle.get(waiting) is connection:
            waiting.throw(connection.timeout)

    def _wait(self, is_true: Callable[[], bool], more_seconds: float = 0) -> None:
        """Wait until is_true, at most until the patience ends plus more_seconds."""
        while not is_true() and time.monotonic() < self._patience_ends + more_seconds:
            self.notify()
            gevent.sleep(0.02)
