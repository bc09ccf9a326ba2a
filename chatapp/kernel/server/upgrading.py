"""What a server answers while it upgrades its database: it is alive and will serve shortly.

Runs as a separate program, `python upgrading.py HOST PORT`: the process that migrates is busy.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

REQUEST_SECONDS = 2
RETRY_AFTER_SECONDS = 5


@contextmanager
def answering(host: str, port: int) -> Iterator[None]:
    """Answer requests while the block runs: 200 for /healthz, 503 for everything else."""
    program = subprocess.Popen([sys.executable, __file__, host, str(port)])  # noqa: S603
    try:
        yield
    finally:
        program.terminate()
        program.wait()


class Answer(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        is_health = self.path == "/healthz"
        body = json.dumps({"status": "upgrading", "message": "The database is being upgraded"}).encode()
        self.send_response(200 if is_health else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if not is_health:
            self.send_header("Retry-After", str(RETRY_AFTER_SECONDS))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_HEAD = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        """Log nothing: request lines may contain messages."""


class Server(HTTPServer):
    # gunicorn binds the same address right afterwards.
    allow_reuse_address = True


def main(host: str, port: str) -> None:
    Server.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
    Server((host, int(port)), Answer).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
