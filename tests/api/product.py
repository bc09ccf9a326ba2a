"""The product in a process of its own, with a user in its database, and a wire to it that can be cut."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
import httpx
from gevent.server import StreamServer

from tests import servers
from tests.scripted_gemini import ScriptedGemini

GEMINI_KEY = "AIza-the-secret-key"
SECRET_KEY = "a secret of thirty-two characters"
HEAD = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
# The stream of an answer, a program's or a page's.
ANSWER = re.compile(rb"/message(\?|$)|/stream$")
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
RESET = struct.pack("ii", 1, 0)


@dataclass
class Product:
    """url is where it answers; key is the user's personal key, cookie the user's login; client comes with the key."""

    process: servers.Process
    key: str
    cookie: str
    client: httpx.Client

    @property
    def url(self) -> str:
        return self.process.url

    def new_chat(self, **fields: Any) -> str:
        made: str = self.client.post("/api/chat", json=fields).json()["id"]
        return made

    def messages(self, chat_id: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.client.get(f"/api/chat/{chat_id}").json()["messages"]
        return messages


@contextlib.contextmanager
def running(directory: Path, gemini: ScriptedGemini | None = None, **settings: str) -> Iterator[Product]:
    """Start the product, with the demo or with a scripted Gemini behind it; settings by their names."""
    shutil.copy(servers.migrated_sqlite(), directory / "chat.db")
    env = {"DATABASE_URL": f"sqlite:///{directory / 'chat.db'}", "SECRET_KEY": SECRET_KEY, "RATE_LIMITS": "false"}
    if gemini is not None:
        env |= {"GEMINI_API_KEY": GEMINI_KEY, "GEMINI_BASE_URL": gemini.url}
    key, cookie = _introduce(directory, env["DATABASE_URL"])
    process = servers.start_product(directory, env | settings)
    client = httpx.Client(base_url=process.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
    try:
        yield Product(process, key, cookie, client)
    finally:
        client.close()
        process.kill()


def _introduce(directory: Path, database_url: str) -> tuple[str, str]:
    """Put a user into the database as a second application on it; return a key and a login of theirs."""
    from chatapp import create_app
    from chatapp.kernel.extensions import db
    from chatapp.providers.demo import DemoProvider
    from chatapp.providers.registry import Providers
    from tests.auth.browser import signed_in
    from tests.conftest import make_user

    values = {"database_url": database_url, "secret_key": SECRET_KEY, "instance_dir": directory / "instance"}
    app = create_app(Providers([DemoProvider()]), rate_limits=False, **values)
    user = make_user(app, "ada@example.org")
    cookie = signed_in(app, user.id).cookie()
    with app.app_context():
        db.engine.dispose()
    assert cookie
    return user.key, cookie


@dataclass
class Exchange:
    """A request for an answer's stream that passed the wire."""

    head: str
    status: int = 0
    cut_after_bytes: int | None = None
    sent_bytes: int = 0

    def header(self, name: str) -> str | None:
        found = re.search(rf"(?im)^{name}: (.*?)\r?$", self.head)
        return found[1] if found else None


@dataclass
class Wire:
    """A TCP proxy. It notes who asks for streams, and cuts as many of them as cuts has numbers of bytes of body.

    is_rough: a cut resets the connection instead of closing it.
    """

    target: str
    cuts: list[int] = field(default_factory=list)
    is_rough: bool = False
    exchanges: list[Exchange] = field(default_factory=list)

    def __enter__(self) -> Wire:
        self._server = StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.stop(timeout=0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def _serve(self, client: Any, _address: Any) -> None:
        parts = urlsplit(self.target)
        server = socket.create_connection((parts.hostname, parts.port))
        asked: list[Exchange] = []
        upward = gevent.spawn(self._carry_up, client, server, asked)
        try:
            self._carry_down(server, client, asked)
        except OSError:
            pass
        finally:
            upward.kill()
            server.close()
            client.close()

    def _carry_up(self, client: Any, server: Any, asked: list[Exchange]) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                if head := HEAD.match(data):
                    asked.clear()
                    if ANSWER.search(head[2]):
                        asked.append(Exchange(data.decode("latin-1")))
                        asked[0].cut_after_bytes = self.cuts.pop(0) if self.cuts else None
                        self.exchanges += asked
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _carry_down(self, server: Any, client: Any, asked: list[Exchange]) -> None:
        while data := server.recv(65_536):
            for exchange in asked:
                data = self._within(exchange, data)
            client.sendall(data)
            if asked and asked[0].sent_bytes == asked[0].cut_after_bytes:
                if self.is_rough:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return

    @staticmethod
    def _within(exchange: Exchange, data: bytes) -> bytes:
        """Return what may still pass of a reply, counting the bytes behind its head."""
        head_bytes = 0
        if status := STATUS.match(data):
            exchange.status = int(status[1])
            head_bytes = data.index(b"\r\n\r\n") + 4
        body_bytes = len(data) - head_bytes
        if exchange.cut_after_bytes is not None:
            body_bytes = min(body_bytes, exchange.cut_after_bytes - exchange.sent_bytes)
        exchange.sent_bytes += body_bytes
        return data[: head_bytes + body_bytes]
