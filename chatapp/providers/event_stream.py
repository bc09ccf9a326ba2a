"""JSON requests to a model's server, and the event streams it replies with. No Flask, no database.

http.client reads the head of the reply. The body is read here, everything that has arrived at once: existing clients
return one HTTP chunk at a time and need one wake-up for each.
"""

from __future__ import annotations

import http.client
import json
import re
import select
import socket
import ssl
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import gevent
import gevent.monkey

from chatapp.kernel.breath import Breath
from chatapp.kernel.errors import ProviderError, ProviderInterrupted, ProviderMisconfigured, ProviderTimeout
from chatapp.providers.events import LONGEST_DOCUMENT_BYTES, read_events
from chatapp.providers.pace import Pace
from chatapp.providers.proxy import ProxyError, proxy_for

# What is read is processed in one go, so it is limited to a few milliseconds' worth.
READ_BYTES = 16_384
KEPT_CONNECTIONS = 64
KEPT_SECONDS = 60.0
LONGEST_REFUSAL_BYTES = 65536
MOST_REFUSAL_PIECES = LONGEST_REFUSAL_BYTES // READ_BYTES
# A token is a few letters, and a chunk with one token takes a few hundred bytes.
BYTES_PER_TOKEN = 2000
LEAST_BYTES = 4_000_000
LONGEST_CHUNK_HEAD_BYTES = 1000
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,12}")


def most_bytes(tokens: int) -> int:
    """Return how long a reply to a request for this many tokens may be: generous, but limited."""
    return LEAST_BYTES + BYTES_PER_TOKEN * tokens


class StreamError(Exception):
    """The network failed. was_sent: the request may have reached the model.

    cause: this machine's error message, never the peer's.
    """

    def __init__(self, cause: str = "the connection broke", *, timed_out: bool = False, was_sent: bool = True) -> None:
        super().__init__("timed out" if timed_out else cause)
        self.timed_out = timed_out
        self.was_sent = was_sent


def cause_of(error: Exception) -> str:
    """Return what a log may say about a failure: exceptions from libraries may quote the key."""
    return str(error) if isinstance(error, StreamError) else type(error).__name__


class Refused(Exception):
    """The server answered with a status other than 200. body is its reply, truncated if long."""

    def __init__(self, status: int, headers: Message, body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class UnsendableHeader(Exception):
    """A header's value contains a character that is not allowed in headers."""


def network_failure(error: Exception, *, has_begun: bool, has_piece: bool) -> ProviderError:
    """Turn a failure before or during a reply into our own error.

    has_begun: a chunk was received, so the model was working. has_piece: it contained text, so nothing may be retried.
    """
    is_network = isinstance(error, StreamError)
    if isinstance(error, StreamError) and error.timed_out:
        return ProviderTimeout(can_retry=not error.was_sent)
    if has_begun:
        return ProviderInterrupted(can_retry=is_network and not has_piece)
    if isinstance(error, UnsendableHeader):
        return ProviderMisconfigured()  # A key pasted with a line break, or with a non-ASCII letter.
    return ProviderError(can_retry=is_network)


@dataclass
class Patience:
    """How long to wait for a reply: idle_seconds for each part, and until an instant (monotonic) for the whole."""

    idle_seconds: float
    until: float

    def seconds(self) -> float:
        """Return how long to wait for the next part. Raises StreamError if the total time is over."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise StreamError(timed_out=True)
        return min(self.idle_seconds, left)

    @contextmanager
    def timer(self) -> Iterator[None]:
        """Limit the block to the total time. Raises StreamError when it is over."""
        with gevent.Timeout(max(self.until - time.monotonic(), 0.001)) as timer:
            try:
                yield
            except gevent.Timeout as expired:
                if expired is not timer:
                    raise
                raise StreamError(timed_out=True) from None


class JsonServer:
    """Sends requests to one server and keeps connections to it. Safe across greenlets."""

    def __init__(self, url: str, connect_seconds: float, pace: Pace | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._path = parts.hostname or "", parts.path.rstrip("/")
        self._query = parts.query
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._host_header = parts.netloc.rpartition("@")[2]
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._connect_seconds = connect_seconds
        self._pace = pace or Pace()
        self._proxy = proxy_for(parts.scheme, self._host, self._port)
        self._target = f"{parts.scheme}://{self._host_header}" if self._proxy and not self._tls else ""
        self._idle: deque[tuple[float, socket.socket]] = deque()

    def stream(
        self,
        path: str,
        headers: Mapping[str, str],
        body: Any,
        patience: Patience,
        most: int,
    ) -> Generator[list[bytes], None, None]:
        """Yield the data of the events that answer a POST, all that arrived together at a time.

        A reply of one JSON document gives one event. Closing the iterator closes the connection.
        Raises Refused, StreamError (also for more than most bytes), UnsendableHeader, ProviderMisconfigured.
        """
        with self._reply("POST", path, headers, body, patience) as reply, self._pace.stream() as wait:
            yield from read_events(_body(reply, patience, wait, most))

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: Any, patience: Patience) -> bytes:
        """Return the body of a reply. Raises what stream() does."""
        with self._reply(method, path, headers, body, patience) as reply:
            return b"".join(_body(reply, patience, lambda: None, LONGEST_DOCUMENT_BYTES))

    def close(self) -> None:
        """Close the idle connections. The next request opens new ones."""
        while self._idle:
            self._idle.pop()[1].close()

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def _reply(
        self, method: str, path: str, headers: Mapping[str, str], body: Any, patience: Patience
    ) -> Iterator[_Reply]:
        request = self._request(method, path, headers, body)
        sock = self._kept() or self._connect()
        response = http.client.HTTPResponse(sock, method=method)
        is_whole = False
        try:
            sock.settimeout(patience.seconds())
            # A head or an error body sent byte by byte never triggers the socket timeout and might never end.
            with patience.timer():
                sock.sendall(request)
                response.begin()
                if response.status != 200:
                    raise Refused(response.status, response.headers, _refusal(response))
            yield _Reply(sock, response)
            is_whole = not response.will_close
        except (OSError, http.client.HTTPException, zlib.error) as error:
            raise StreamError(timed_out=isinstance(error, TimeoutError)) from None
        finally:
            response.close()  # It holds a reference to the socket.
            # Only after a reply that was read to its end can the connection be reused.
            if is_whole and len(self._idle) < KEPT_CONNECTIONS:
                self._idle.append((time.monotonic(), sock))
            else:
                sock.close()

    def _request(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        fields = {
            "Host": self._host_header,
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Accept-Encoding": "identity",
            **headers,
        }
        for name, value in fields.items():
            if not value.isascii() or not value.isprintable():
                raise UnsendableHeader(name)
        if self._target and self._proxy:
            fields |= self._proxy.headers
        lines = [
            f"{method} {self._target}{self._path}{self._with_query(path)} HTTP/1.1",
            *(f"{name}: {value}" for name, value in fields.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + content

    def _with_query(self, path: str) -> str:
        return f"{path}{'&' if '?' in path else '?'}{self._query}" if self._query else path

    def _connect(self) -> socket.socket:
        first = (self._proxy.host, self._proxy.port) if self._proxy else (self._host, self._port)
        sock = None
        try:
            sock = socket.create_connection(first, self._connect_seconds)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._secured(sock)
        except (OSError, UnicodeError, ProxyError) as error:
            if sock is not None:
                sock.close()
            # The server has not replied yet, so the message is from this machine.
            cause = f"the proxy: {error}" if self._proxy and sock is None else str(error)
            raise StreamError(cause, timed_out=isinstance(error, TimeoutError), was_sent=False) from None

    def _secured(self, sock: socket.socket) -> socket.socket:
        if self._tls is None:
            return sock
        if self._proxy:
            self._proxy.open_tunnel(sock, self._host, self._port)
        return self._tls.wrap_socket(sock, server_hostname=self._host)

    def _kept(self) -> socket.socket | None:
        """Return an idle connection that is still open."""
        while self._idle:
            since, sock = self._idle.pop()
            if time.monotonic() - since < KEPT_SECONDS and not _has_news(sock):
                return sock
            sock.close()
        return None


@dataclass
class _Reply:
    sock: socket.socket
    response: http.client.HTTPResponse


def _refusal(response: http.client.HTTPResponse) -> bytes:
    """Return the beginning of a refusal, decoded; as it came where it cannot be."""
    said = response.read(LONGEST_REFUSAL_BYTES)
    try:
        return b"".join(islice(_decoder(response.headers.get("Content-Encoding", ""))(said), MOST_REFUSAL_PIECES))
    except (http.client.HTTPException, zlib.error):
        return said


def _has_news(sock: socket.socket) -> bool:
    """Return whether an idle connection is readable: it was closed, or the server sent something unasked."""
    poll = gevent.monkey.get_original("select", "poll")()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _body(reply: _Reply, patience: Patience, wait: Callable[[], None], most: int) -> Iterator[bytes]:
    """Yield the body without framing and encoding, as much as has arrived at a time; wait() is called in between.

    Yields to other greenlets in between: a server that never makes us wait must not starve them.
    """
    breath = Breath()
    decode = _decoder(reply.response.headers.get("Content-Encoding", ""))
    left = most
    for data in _raw(reply, patience, wait):
        for piece in decode(data):
            left -= len(piece)
            if left < 0:
                raise http.client.HTTPException("reply too long")
            yield piece
            breath()
        patience.seconds()


def _raw(reply: _Reply, patience: Patience, wait: Callable[[], None]) -> Iterator[bytes]:
    """Yield the body without framing."""
    response, chunks = reply.response, _Chunks()
    left = response.length
    source: Any = response.fp
    while True:
        reply.sock.settimeout(patience.seconds())
        data = source.read1(READ_BYTES) if left is None else source.read1(min(left, READ_BYTES))
        if response.chunked:
            is_over = not data
            data = chunks.feed(data)
            is_over = is_over or chunks.is_over
            if is_over and not chunks.is_over:
                raise http.client.IncompleteRead(b"")
        elif left is None:
            is_over = not data
        else:
            left -= len(data)
            is_over = left == 0
            if not data and left:
                raise http.client.IncompleteRead(b"")
        if data:
            yield data
        if is_over:
            return
        wait()


class _Chunks:
    """Removes the framing of a chunked body. Source: RFC 9112, 7.1; trailers are dropped."""

    def __init__(self) -> None:
        self.is_over = False
        self._left = 0  # Bytes left of the current chunk, including the line end after it.
        self._waiting = b""

    def feed(self, data: bytes) -> bytes:
        data = self._waiting + data if self._waiting else data
        self._waiting = b""
        found, at = [], 0
        while at < len(data) and not self.is_over:
            if self._left:
                content = data[at : at + self._left]
                at += len(content)
                # The last two bytes are the line end.
                keep = max(0, min(len(content), self._left - 2))
                found.append(content[:keep] if keep < len(content) else content)
                self._left -= len(content)
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._waiting = data[at:]
                if len(self._waiting) > LONGEST_CHUNK_HEAD_BYTES:
                    raise http.client.HTTPException("a chunk without a size")
                break
            self._left = self._size(data[at:end])
            at = end + 1
        return b"".join(found)

    def _size(self, head: bytes) -> int:
        digits = head.partition(b";")[0].strip()
        if not CHUNK_SIZE.fullmatch(digits):
            raise http.client.HTTPException("no chunk size")
        size = int(digits, 16)
        self.is_over = size == 0
        return size + 2 if size else 0


def _decoder(coding: str) -> Callable[[bytes], Iterator[bytes]]:
    """Return a decoder for an encoding we did not ask for. It yields in steps: a little may unpack to a lot."""
    if coding in ("", "identity"):
        return lambda data: iter((data,))
    if coding not in ("gzip", "deflate"):
        raise http.client.HTTPException("unknown content encoding")
    unpack = zlib.decompressobj(wbits=47 if coding == "gzip" else 15)

    def decode(data: bytes) -> Iterator[bytes]:
        while data:
            yield unpack.decompress(data, READ_BYTES)
            data = unpack.unconsumed_tail

    return decode
