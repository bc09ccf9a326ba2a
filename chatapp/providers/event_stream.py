"""A JSON request that is answered by an event stream, read as it arrives. No Flask, no database, no provider's words.

On urllib3: among the well-kept clients the cheapest for a stream by far, with TLS, proxies, pooling, content codings
and time limits by phase. Out comes the data of each event; what goes wrong is urllib3's own HTTPError, or Refused.
"""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3

READ_BYTES = 65536
KEPT_CONNECTIONS = 256
# No answer of any model, escaped in any way, comes near it.
LONGEST_LINE_BYTES = 8_000_000
LONGEST_REFUSAL_BYTES = 65536

# It would warn of every connection beyond those that are kept.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


class Refused(Exception):
    """The server answered with something else than a stream. body is what it said, cut where it was long."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class EventStreams:
    """Makes requests to one server and keeps connections to it. Safe across greenlets."""

    def __init__(self, url: str, connect_seconds: float, idle_seconds: float) -> None:
        """idle_seconds bounds each wait for bytes, not the whole."""
        self._timeout = urllib3.Timeout(connect=connect_seconds, read=idle_seconds)
        options: dict[str, Any] = {"num_pools": 4, "maxsize": KEPT_CONNECTIONS, "block": False, "retries": False}
        proxy = _proxy_of(url)
        self._pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)

    def post(self, url: str, headers: Mapping[str, str], body: Any) -> Iterator[bytes]:
        """Yield the data of each event that answers the request; closing the iterator closes the connection.

        Raises Refused, and urllib3.exceptions.HTTPError for what the network does; ProtocolError where a line is longer
        than any should be.
        """
        response = self._send(url, headers, body, preload_content=False)
        is_whole = False
        try:
            if response.status != 200:
                raise Refused(response.status, response.headers, response.read(LONGEST_REFUSAL_BYTES))
            yield from _events(response)
            is_whole = True
        finally:
            # An answer that was read to its end leaves a connection to be used again; any other is of no use.
            response.release_conn() if is_whole else response.close()

    def post_json(self, url: str, headers: Mapping[str, str], body: Any) -> bytes:
        """Return the body that answers the request. Raises what post() does."""
        response = self._send(url, headers, body, preload_content=True)
        if response.status != 200:
            raise Refused(response.status, response.headers, response.data[:LONGEST_REFUSAL_BYTES])
        return response.data

    def _send(
        self, url: str, headers: Mapping[str, str], body: Any, *, preload_content: bool
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.urlopen(
            "POST",
            url,
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity", **headers},
            timeout=self._timeout,
            preload_content=preload_content,
            redirect=False,
            retries=False,
        )

    def close(self) -> None:
        self._pool.clear()


def _events(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield what follows "data:" in each event. A body that is no event stream is yielded whole, line by line.

    Source: WHATWG HTML 9.2.6. Line ends are LF or CRLF; a bare CR is not looked for: no server of models sends it.
    """
    data: list[bytes] = []
    waiting = b""
    while read := response.read1(READ_BYTES):
        waiting += read
        if b"\n" not in read:
            if len(waiting) > LONGEST_LINE_BYTES:
                raise urllib3.exceptions.ProtocolError("a line without end")
            continue
        *lines, waiting = waiting.split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif data and line in (b"", b"\r"):
                yield data[0] if len(data) == 1 else b"\n".join(data)
                data = []
            elif line[:1] in b"{[" and line:
                yield line
    if waiting[:1] in b"{[" and waiting:
        yield waiting


def _proxy_of(url: str) -> str | None:
    """Return the proxy that the environment names for an address (HTTPS_PROXY, NO_PROXY and their kin)."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
