"""What the product is measured against: a bare route that proxies one stream from a raw socket. It does nothing else.

No framework, no login, no database, no second listener, no resuming, no counting. Served by the same gunicorn worker.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

UPSTREAM_PORT = int(os.environ.get("UPSTREAM_PORT", "0"))
REQUEST = (
    b"POST /v1beta/models/m:streamGenerateContent?alt=sse HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    if environ["PATH_INFO"] == "/healthz":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"ok"])
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    return relay()


def relay() -> Iterator[bytes]:
    with socket.create_connection(("127.0.0.1", UPSTREAM_PORT)) as upstream:
        upstream.sendall(REQUEST)
        waiting = b""
        while data := upstream.recv(65536):
            waiting += data
            *lines, waiting = waiting.split(b"\r\n")
            for line in lines:
                if not line.startswith(b"data: "):
                    continue
                candidate = json.loads(line[6:])["candidates"][0]
                text = candidate["content"]["parts"][0]["text"]
                yield b"data: " + text.encode() + b"\n\n"
                if "finishReason" in candidate:
                    yield b'data: {"done": true}\n\n'
                    return
