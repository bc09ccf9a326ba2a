"""An OpenAI-compatible server that attacks its client: each model is one way, named in ATTACKS.

    python bench/hostile_server.py PORT

It sends as fast as the client reads, until the client hangs up. Threads, no framework: it is not what is measured.
"""

from __future__ import annotations

import gzip
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EVENTS_AT_ONCE = 200


def _event(data: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps(data).encode()


def _delta(**delta: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": {"completion_tokens": 1}}


def _without_end(piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.repeat(piece * EVENTS_AT_ONCE)


def _honest() -> Iterator[bytes]:
    for _ in range(20):
        yield _event(_delta(content="word "))
    yield _event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield b"data: [DONE]\n\n"


def _deep() -> Iterator[bytes]:
    yield b"data: " + b"[" * 1_000_000 + b"\n\n"


def _gzip_bomb() -> Iterator[bytes]:
    yield gzip.compress(_event(_delta(content="word ")) * 5_000_000, 9)


ATTACKS: dict[str, Callable[[], Iterator[bytes]]] = {
    "honest": _honest,
    "text-without-end": _without_end(_event(_delta(content="word "))),
    "long-text-without-end": _without_end(_event(_delta(content="word " * 200))),
    "thoughts-without-end": _without_end(_event(_delta(reasoning_content="hm "))),
    "empty-events": _without_end(b"data: {}\n\n"),
    "comments": _without_end(b": nothing\n\n"),
    "blank-lines": _without_end(b"\n" * 50),
    "one-line-without-end": _without_end(b"data: " + b"x" * 1000),
    "deep-json": _deep,
    "gzip-bomb": _gzip_bomb,
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._begin("application/json")
        self.wfile.write(json.dumps({"object": "list", "data": [{"id": name} for name in ATTACKS]}).encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        attack = ATTACKS[asked["model"]]
        self._begin("text/event-stream", "gzip" if attack is _gzip_bomb else "identity")
        try:
            for piece in attack():
                self.wfile.write(piece)
        except OSError:
            return  # The client hung up, as it should.

    def _begin(self, kind: str, coding: str = "identity") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Encoding", coding)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
