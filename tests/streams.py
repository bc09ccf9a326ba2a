"""Reading the API's stream as a client does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gevent
from httpx_sse._decoders import SSEDecoder


@dataclass
class Heard:
    """What a client made of a stream: the text, its pieces, the metadata, and where it stands."""

    status: int
    text: str = ""
    pieces: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    resets: int = 0
    final: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)

    @property
    def turn_id(self) -> str:
        return self.ids[0].partition(":")[0]

    def take(self, event: Any) -> None:
        if event.id:
            self.ids.append(event.id)
        if not event.data:
            return
        if not event.data.startswith("{"):
            self._say(event.data)
            return
        value = json.loads(event.data)
        if "chunk" in value:
            self._say(value["chunk"])
        elif value.get("reset"):
            self.resets += 1
            self.text, self.pieces = "", []
        else:
            self.final = value

    def _say(self, text: str) -> None:
        self.pieces.append(text)
        self.text += text


def read(response: Any, pieces: int | None = None) -> Heard:
    """Read a response of the test client to its end, or until some pieces have come; then close it."""
    heard = Heard(response.status_code)
    if response.mimetype != "text/event-stream":
        heard.error = response.get_json(silent=True) or {}
        return heard
    decoder, rest = SSEDecoder(), ""
    for chunk in response.iter_encoded():
        rest += chunk.decode()
        *lines, rest = rest.split("\n")
        for line in lines:
            event = decoder.decode(line)
            if event is not None:
                heard.take(event)
        if pieces is not None and len(heard.pieces) >= pieces:
            break
    response.close()
    return heard


def until(is_true: Callable[[], Any], seconds: float = 30) -> None:
    """Let the other greenlets run until something has come true. Raises gevent.Timeout."""
    with gevent.Timeout(seconds):
        while not is_true():
            gevent.sleep(0.002)


class Api:
    """A program that uses a person's key."""

    def __init__(self, app: Any, person: Any) -> None:
        self.client = app.test_client()
        self.headers = person.headers

    def call(self, method: str, path: str, **options: Any) -> Any:
        headers = self.headers | options.pop("headers", {})
        return self.client.open(f"/api{path}", method=method, headers=headers, **options)

    def new_chat(self, **fields: Any) -> str:
        return self.call("POST", "/chat", json=fields).get_json()["id"]

    def send(self, chat_id: str, text: Any, key: str | None = None, pieces: int | None = None) -> Heard:
        headers = {"Idempotency-Key": key} if key else {}
        response = self.call("POST", f"/chat/{chat_id}/message", json={"message": text}, headers=headers)
        return read(response, pieces)

    def ask(self, chat_id: str, text: str, pieces: int | None = None, last_event_id: str | None = None, **query: str):
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        response = self.call("GET", f"/chat/{chat_id}/message", query_string={"msg": text} | query, headers=headers)
        return read(response, pieces)

    def messages(self, chat_id: str) -> list[dict[str, Any]]:
        return self.call("GET", f"/chat/{chat_id}").get_json()["messages"]

    def usage(self) -> dict[str, Any]:
        return self.call("GET", "/user/token-usage").get_json()
