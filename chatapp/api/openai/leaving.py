"""Notices that a program has hung up. gunicorn sees that only when it writes, and a silent model gives it nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import gevent
from gevent.socket import wait_read


def watched(peer: Any, left: Callable[[], object]) -> gevent.Greenlet:
    """Call left() once the peer has closed its side. Kill the greenlet when the response is over."""
    return gevent.spawn(_watch, peer, left) if peer is not None else gevent.spawn(int)


def _watch(peer: Any, left: Callable[[], object]) -> None:
    try:
        wait_read(peer.fileno())
        # Bytes are the next request on this connection: no longer a sign of anything.
        is_gone = peer.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        is_gone = True
    if is_gone:
        left()
