"""A program that talks to a real server over a real connection, and remembers what it heard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gevent
import httpx
from httpx_sse._decoders import SSEDecoder

from tests.servers import Process
from tests.streams import Heard


def worker_pids(server: Process) -> list[int]:
    """Return the process ids of a server's workers."""
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


class Program:
    def __init__(self, server: Process, person: Any) -> None:
        self.server = server
        self.person = person
        self._client = httpx.Client(base_url=f"{server.url}/api", headers=person.headers, timeout=30)

    def close(self) -> None:
        self._client.close()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._client.request(method, path, **options)

    def new_chat(self, **fields: Any) -> str:
        chat_id: str = self.call("POST", "/chat", json=fields).json()["id"]
        return chat_id

    def messages(self, chat_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"/chat/{chat_id}").json()["messages"]
        return found

    def usage(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", "/user/token-usage").json()
        return found

    def start(self, chat_id: str, text: str, key: str | None = None) -> tuple[Heard, gevent.Greenlet]:
        """Send in the background; what is heard grows. A connection that breaks ends it quietly."""
        heard = Heard(0)
        body = json.dumps({"message": text})
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        return heard, gevent.spawn(self._listen, heard, "POST", f"/chat/{chat_id}/message", headers, content=body)

    def send(self, chat_id: str, text: str, key: str | None = None) -> Heard:
        heard, listening = self.start(chat_id, text, key)
        listening.get(timeout=60)
        return heard

    def resume(self, chat_id: str, heard: Heard) -> Heard:
        """Come back with the position, as an EventSource does, and hear the rest into what was heard."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": heard.ids[-1]}
        self._listen(heard, "GET", f"/chat/{chat_id}/message", headers)
        return heard

    def follow_page(self, turn_id: str) -> gevent.Greenlet:
        """Follow a turn in the background as the person's page does; the greenlet returns all frames."""
        cookies = {"session": self.person.cookie}

        def follow() -> str:
            return httpx.get(f"{self.server.url}/turns/{turn_id}/stream", cookies=cookies, timeout=60).text

        return gevent.spawn(follow)

    def _listen(self, heard: Heard, method: str, path: str, headers: dict[str, str], **options: Any) -> None:
        decoder = SSEDecoder()
        try:
            with self._client.stream(method, path, headers=headers, **options) as response:
                heard.status = response.status_code
                if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                    heard.error = json.loads(response.read() or b"{}")
                    return
                rest = b""
                for chunk in response.iter_raw():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if event := decoder.decode(line.decode()):
                            heard.take(event)
        except httpx.HTTPError:
            return
