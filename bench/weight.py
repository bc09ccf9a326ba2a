"""Measure what a page weighs and what streaming costs its browser, in Chromium through its own protocol.

    .venv/bin/python -m bench.weight [--seconds 20] [--rounds 1]

  first page      bytes as they came over the wire, headers included, with an empty cache; requests; by kind
  main thread     Chromium's TaskDuration as a share of the time in which an answer of 8 KB streams in below 20 earlier
                  messages, at 1280 × 800, beside a reference in the same run that swaps the whole message every 50 ms;
                  and ours below 1,000 messages, all of them loaded
  long chat       a chat of 20 and one of 1,000 messages: what the main thread does to open it, and for a reader who
                  goes up to its first message

Server, browser and driver share this machine: compare the two shares, not their size.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import contextlib
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from sqlalchemy.orm import Session

from chatapp import create_app
from chatapp.auth import accounts, passwords
from chatapp.chats.models import Chat, Message
from chatapp.conversation import stream as stream_frames
from chatapp.kernel.database import write
from chatapp.providers.base import ChatRequest, Chunk, ModelInfo
from chatapp.providers.registry import Providers
from chatapp.turns.live.log import Piece
from tests import servers

EMAIL, PASSWORD = "ada@example.org", "a quiet morning by the sea"
PIECE_CHARS = 4
PARAGRAPH = """\
Rain falls from a cloud when its drops have grown *too heavy* for the air that carries them, and `g` does the rest.

- A drop begins on a grain of dust, no wider than a hair is thick.
- It grows as others meet it: **slowly at first**, then all at once.

```python
def fall(height: float, drag: float = 0.47) -> float:
    return (2 * height / 9.81) ** 0.5 * (1 + drag)
```

"""


class Steady:
    """A provider that says 8 KB in a given time, a piece of four characters at a time."""

    name = "steady"
    seconds = 20.0
    has_ended = Event()
    text = (PARAGRAPH * 30)[:8192]

    def models(self) -> tuple[ModelInfo, ...]:
        return (ModelInfo("steady", "Steady", max_input_tokens=32_768, max_output_tokens=8_192),)

    def warm_up(self) -> None:
        """Do nothing: nothing here is slow."""

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def count_tokens(self, model: str, text: str) -> int | None:
        return len(text) // 4

    def stream(self, request: ChatRequest) -> Iterator[Chunk]:
        pieces = [self.text[at : at + PIECE_CHARS] for at in range(0, len(self.text), PIECE_CHARS)]
        begun = time.monotonic()
        for number, piece in enumerate(pieces):
            gevent.sleep(max(0.0, begun + self.seconds * number / len(pieces) - time.monotonic()))
            yield Chunk(delta=piece)
        self.has_ended.set()
        yield Chunk(finish_reason="stop")


class WholeMessage(stream_frames.AnswerFrames):
    """The reference: every frame holds the message from its beginning."""

    interval_seconds = 0.0

    def grow(self, piece: Piece) -> str:
        super().grow(piece)
        return stream_frames.event(self._text.state)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=20)
    options.add_argument("--rounds", type=int, default=1)
    chosen = options.parse_args()
    Steady.seconds = chosen.seconds
    logging.disable(logging.INFO)
    servers.begin_run()
    try:
        with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=servers.find("chromium"), args=flags)
            url, chats, close = product(Path(place))
            try:
                measure(browser, url, chats, chosen.rounds)
            finally:
                browser.close()
                close()
    finally:
        servers.end_run()


def measure(browser: Browser, url: str, chats: dict[int, str], rounds: int) -> None:
    """chats: how many messages each has → its address."""
    page = sign_in(browser, url)
    for name, path in (("a new chat", "/"), ("a chat with 20 messages", chats[20])):
        requests, kinds = weigh(page, url + path)
        parts = ", ".join(f"{kind} {size / 1000:.1f}" for kind, size in kinds.most_common())
        print(f"first page, {name}: {sum(kinds.values()) / 1000:.1f} kB in {requests} requests ({parts})", flush=True)
    ours = stream_frames.AnswerFrames
    for _ in range(rounds):
        for name, frames in (("ours", ours), ("whole message each time", WholeMessage)):
            stream_frames.AnswerFrames = frames  # type: ignore[misc]
            page.goto(url + chats[20])
            print(f"main thread, {name}: {stream(page)}", flush=True)
    stream_frames.AnswerFrames = ours  # type: ignore[misc]
    for messages, path in chats.items():
        page.goto("about:blank")
        with working(page) as opening:
            page.goto(url + path)
            page.wait_for_load_state("networkidle")
        with working(page) as going_up:
            go_up(page)
        print(f"long chat, {messages:,} messages, opened: {opening}; read up to its first: {going_up}", flush=True)
    print(f"main thread, ours below {messages:,} messages: {stream(page)}", flush=True)


def product(place: Path) -> tuple[str, dict[int, str], Any]:
    """Start the product in this process, with a short and a long chat. Returns its address, theirs, and its end."""
    database = servers.migrated_sqlite().rename(place / "chat.db")
    settings = {"database_url": f"sqlite:///{database}", "instance_dir": place, "rate_limits": False}
    app = create_app(Providers([Steady()]), secret_key="x" * 32, **settings)
    with app.app_context():
        password_hash = passwords.make_hash(PASSWORD)
    with app.app_context(), write() as session:
        user = accounts.create(EMAIL, password_hash, limit=10_000_000)
        session.flush()
        chats = {messages: f"/chats/{add_chat(session, user.id, messages)}" for messages in (20, 1000)}
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None)
    server.start()

    def close() -> None:
        server.stop(timeout=1)
        app.extensions["live_turns"].close()

    return f"http://127.0.0.1:{server.server_port}", chats, close


def add_chat(session: Session, user_id: UUID, messages: int) -> UUID:
    chat = Chat(user_id=user_id, title="Rain", model="steady")
    session.add(chat)
    session.flush()
    parent = None
    for number in range(messages):
        role = "assistant" if number % 2 else "user"
        text = PARAGRAPH * 3 if number % 2 else f"How does rain fall, part {number}?"
        message = Message(chat_id=chat.id, parent_id=parent, role=role, content=text, status="completed")
        message.model = "steady"
        session.add(message)
        session.flush()
        parent = chat.head_id = message.id
    return chat.id


def sign_in(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(url)
    page.get_by_label("Email").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.locator("#text").wait_for()
    return page


def weigh(page: Page, address: str) -> tuple[int, Counter[str]]:
    """Load a page with an empty cache. Returns how many requests it made, and bytes by kind."""
    protocol = page.context.new_cdp_session(page)
    kinds: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    protocol.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    protocol.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    protocol.send("Network.enable")
    protocol.send("Network.clearBrowserCache")
    page.goto(address)
    page.wait_for_load_state("networkidle")
    protocol.detach()
    by_kind: Counter[str] = Counter()
    for request, size in sizes.items():
        by_kind[kinds.get(request, "Other")] += int(size)
    return len(sizes), by_kind


def go_up(page: Page) -> None:
    """Read a chat up to its first message, as the wheel does."""
    scroll = page.locator("#scroll")
    while page.locator(".earlier").count():
        turns = page.locator(".turn").count()
        scroll.evaluate("s => { s.dispatchEvent(new WheelEvent('wheel', {deltaY: -1})); s.scrollTop = 0 }")
        page.locator(".turn").nth(turns).wait_for(state="attached")
    page.wait_for_load_state("networkidle")


def stream(page: Page) -> Work:
    """Let one answer stream into the chat that is open. Returns the work of the page's main thread."""
    turns = page.locator(".turn").count()
    page.locator("#text").fill("Tell me all of it.")
    page.locator("#text").press("Enter")
    page.locator(".turn").nth(turns).locator(".prose > div:not(:empty)").first.wait_for()
    Steady.has_ended.clear()
    with working(page) as work:
        Steady.has_ended.wait()  # Asking the page whether it is at its end would give it work.
    page.locator("#stop").wait_for(state="detached")
    return work


@dataclass
class Work:
    """What a page's main thread did meanwhile. Times in seconds; elements: of the page at its end."""

    seconds: float = 0.0
    busy: float = 0.0
    script: float = 0.0
    elements: int = 0

    def __str__(self) -> str:
        share = f"{self.busy / self.seconds:.0%} of {self.seconds:.1f} s"
        return f"{share}, {self.script * 1000:.0f} ms of it scripts, {self.elements:,} elements"


@contextlib.contextmanager
def working(page: Page) -> Iterator[Work]:
    """Measure by Chromium's own counters."""
    protocol = page.context.new_cdp_session(page)
    protocol.send("Performance.enable")
    work, before, begun = Work(), counters(protocol), time.monotonic()
    yield work
    after, work.seconds = counters(protocol), time.monotonic() - begun
    work.busy = after["TaskDuration"] - before["TaskDuration"]
    work.script = after["ScriptDuration"] - before["ScriptDuration"]
    work.elements = page.locator("*").count()
    protocol.detach()


def counters(protocol: CDPSession) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in protocol.send("Performance.getMetrics")["metrics"]}


if __name__ == "__main__":
    main()
