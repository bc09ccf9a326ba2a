"""Attack the product as one account, with files, long texts and a hostile model's server.

    .venv/bin/python -m bench.hostile [--only WORD]

One process on SQLite, with the settings that are shipped. Another asks GET /healthz every 10 ms. Each row is one
attack: how long others waited meanwhile (p50, p99, longest; wall clock), the CPU time that the product spent, how much
its memory grew at most, how many of those requests failed, and what was answered. The first rows are the reference of
the same run: nothing at all, and an honest model. --only runs the attacks whose name holds the word.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.hostile_server import ATTACKS
from tests import servers

MEBIBYTE = 1 << 20
PATIENCE_SECONDS = 60
POLLER = """
import http.client, sys, time
host, port = sys.argv[1].split(":")
while True:
    began = time.perf_counter()
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        connection.close()
        failed = 0
    except OSError:
        failed = 1
    print(time.perf_counter() - began, failed, flush=True)
    time.sleep(0.01)
"""


# The files


def zipped(content: bytes, method: int, name: str = "conversations.json") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def many_entries(number: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", allowZip64=True) as archive:
        for index in range(number):
            archive.writestr(str(index), b"")
        archive.writestr("conversations.json", b"[]")
    return packed.getvalue()


def chatgpt_file(text: str, references: list[dict[str, Any]], instant: float = 1.7e9) -> bytes:
    def node(name: str, parent: str | None, role: str, text: str) -> dict[str, Any]:
        message = {
            "id": name,
            "author": {"role": role},
            "create_time": instant,
            "content": {"content_type": "text", "parts": [text]},
            "metadata": {"content_references": references},
        }
        return {"id": name, "parent": parent, "message": message, "children": []}

    mapping = {"a": node("a", None, "user", "Hi"), "b": node("b", "a", "assistant", text)}
    mapping["a"]["children"] = ["b"]
    return json.dumps([{"title": "t", "create_time": instant, "current_node": "b", "mapping": mapping}]).encode()


def marks() -> bytes:
    mark = "\ue200cite\ue202t\ue201"
    reference = {"matched_text": mark, "alt": "x" * 500_000, "safe_urls": ["http://a.b/" + "y" * 500_000]}
    return chatgpt_file(mark * 2000, [reference])


def long_chat(exchanges: int, text: str) -> bytes:
    """Return a chat of so many exchanges, as ChatGPT exports it."""
    mapping: dict[str, Any] = {}
    for index in range(exchanges * 2):
        parent = f"m{index - 1}" if index else None
        role = "assistant" if index % 2 else "user"
        mapping[f"m{index}"] = {
            "id": f"m{index}",
            "parent": parent,
            "children": [f"m{index + 1}"],
            "message": {
                "id": f"m{index}",
                "author": {"role": role},
                "create_time": 1.7e9 + index,
                "content": {"content_type": "text", "parts": [text]},
            },
        }
    last = f"m{exchanges * 2 - 1}"
    return json.dumps([{"title": "long", "create_time": 1.7e9, "current_node": last, "mapping": mapping}]).encode()


FILES: dict[str, Callable[[], bytes]] = {
    "bzip2 bomb": lambda: zipped(b" " * (1024 * MEBIBYTE), zipfile.ZIP_BZIP2),
    "LZMA bomb": lambda: zipped(b" " * (512 * MEBIBYTE), zipfile.ZIP_LZMA),
    "deflate bomb": lambda: zipped(b" " * (1024 * MEBIBYTE), zipfile.ZIP_DEFLATED),
    "ZIP of 200,000 entries": lambda: many_entries(200_000),
    "marks that multiply": marks,
    "junk that grows": lambda: b'{"junk": [' + b"[]," * 10_000_000 + b'[]], "chats": []}',
    "deep nesting": lambda: b"[" * 30_000_000,
    "a date in year 5": lambda: chatgpt_file("Hi", [], -6.2e10),
    "chat of 40,000 messages": lambda: long_chat(20_000, "word " * 20),
    "chat of 15,000 messages": lambda: long_chat(7_500, "word " * 20),
    "messages of 190,000 characters": lambda: long_chat(12, "word " * 38_000),
    "links that are quadratic": lambda: long_chat(15, "http://a.b/" + ")" * 190_000),
}


# The product and those who look on


@dataclass
class Person:
    """The administrator of the product under attack, in a browser."""

    client: httpx.Client
    key: str = ""

    def form(self, page: str, action: str, data: dict[str, str], **options: Any) -> httpx.Response:
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self.client.get(page).text)
        fields = {**data, "csrf_token": token[1] if token else ""}
        headers = {"Referer": str(self.client.base_url)}
        return self.client.post(action, data=fields, headers=headers, **options)

    @property
    def authorization(self) -> dict[str, str]:
        """Return the header of an API call."""
        return {"Authorization": f"Bearer {self.key}"}


@dataclass
class Watch:
    """What an onlooker saw during one attack."""

    waits: list[float] = field(default_factory=list)
    failures: int = 0
    memory: int = 0
    cpu: float = 0.0


def start(directory: Path, port: int) -> tuple[servers.Process, Person]:
    env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_MODELS": ",".join(ATTACKS)}
    product = servers.start_product(directory, env)
    product.wait_until(lambda: "/setup/" in product.log())
    found = re.search(r"/setup/\S+", product.log())
    assert found, product.log()
    client = httpx.Client(base_url=product.url, timeout=PATIENCE_SECONDS, follow_redirects=True)
    person = Person(client)
    person.form(found[0], found[0], {"email": "ada@example.org", "password": "a long pass phrase", "timezone": "UTC"})
    return product, person


def workers_of(product: servers.Process) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{product.pid}/task/{product.pid}/children").read_text().split()]


def figures_of(pid: int) -> tuple[int, float]:
    """Return the resident bytes and the CPU seconds of a process."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return int(stat[21]) * os.sysconf("SC_PAGE_SIZE"), (int(stat[11]) + int(stat[12])) / ticks


@contextmanager
def watching(product: servers.Process) -> Iterator[Watch]:
    pid, watch = workers_of(product)[0], Watch()
    memory, cpu = figures_of(pid)
    address = product.url.removeprefix("http://")
    poller = subprocess.Popen([sys.executable, "-c", POLLER, address], stdout=subprocess.PIPE, text=True)
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.02):
            with_it = figures_of(pid)[0] if Path(f"/proc/{pid}").exists() else 0
            watch.memory = max(watch.memory, with_it - memory)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield watch
    finally:
        time.sleep(0.3)
        is_over.set()
        looking.join()
        poller.terminate()
        for line in (poller.stdout or io.StringIO()).read().splitlines():
            seconds, failed = line.split()
            watch.waits.append(float(seconds))
            watch.failures += int(failed)
        if workers_of(product)[:1] != [pid]:
            watch.failures += 1_000_000  # The worker was killed.
        else:
            watch.cpu = figures_of(pid)[1] - cpu


# The attacks


def upload(person: Person, content: bytes) -> str:
    files = {"file": ("export.zip" if content[:2] == b"PK" else "export.json", content)}
    answer = person.form("/account/data", "/account/data/imports", {}, files=files)
    return str(answer.status_code)


def ask(person: Person, model: str) -> str:
    """Send a message and hear the answer to its end; return how it ended."""
    answer = person.client.post("/api/chat", json={"model": model}, headers=person.authorization)
    assert answer.status_code == 201, answer.text
    path = f"/api/chat/{answer.json()['id']}/message"
    heard, last = 0, ""
    with person.client.stream("POST", path, json={"message": "Hi"}, headers=person.authorization) as response:
        for line in response.iter_lines():
            heard += len(line)
            last = line if line.startswith("data: {") else last
    end = json.loads(last[6:]) if last else {}
    return f"{end.get('code') or end.get('finish_reason')} after {heard // 1024:,} kB"


def look_at_all(person: Person, *paths: str) -> str:
    chats = person.client.get("/api/chat?limit=50", headers=person.authorization).json()["chats"]
    statuses = set()
    for chat in chats:
        for path in paths:
            headers = person.authorization if path.startswith("/api/") else {}
            statuses.add(person.client.get(path.format(chat=chat["id"]), headers=headers).status_code)
    return f"{len(chats)} chats: {', '.join(map(str, sorted(statuses)))}"


def make_key(person: Person) -> None:
    """Make the person a key: with the cookie an API call would need a token too."""
    page = person.form("/account", "/account/keys", {"name": "bench"}).text
    found = re.search(r"\b[a-z]+_[A-Za-z0-9_-]{30,}\b", page)
    assert found, "no key on the account page"
    person.key = found[0]


@dataclass
class Attack:
    """prepare: makes what run sends, before the clock starts."""

    name: str
    run: Callable[[Person, bytes], str]
    prepare: Callable[[], bytes] = bytes


def _wait(_person: Person, _content: bytes) -> str:
    time.sleep(3)
    return "-"


def _model(name: str) -> Attack:
    return Attack(f"model: {name}", lambda person, _content: ask(person, name))


def _paths(name: str, *paths: str) -> Attack:
    return Attack(name, lambda person, _content: look_at_all(person, *paths))


ALL = [
    Attack("nothing", _wait),
    *(_model(name) for name in ATTACKS),
    *(Attack(f"file: {name}", upload, make) for name, make in FILES.items()),
    _paths("pages of all that was imported", "/chats/{chat}"),
    _paths("the API's view of it", "/api/chat/{chat}"),
    _paths("exports of it", "/chats/{chat}/export.json", "/chats/{chat}/export.md"),
    Attack("search in it", lambda person, _content: str(person.client.get("/chats?q=zebra").status_code)),
]


def row(name: str, came: str, watch: Watch) -> str:
    waits = sorted(watch.waits) or [0.0]
    failures = "KILLED" if watch.failures >= 1_000_000 else f"{watch.failures}"
    milliseconds = " ".join(
        f"{each * 1000:8,.0f}" for each in (waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1])
    )
    return f"{name:38} {milliseconds} {watch.cpu:7.1f} {watch.memory / MEBIBYTE:8,.0f} {failures:>7}  {came}"


def measure(product: servers.Process, person: Person, attack: Attack) -> str:
    content = attack.prepare()
    with watching(product) as watch:
        try:
            came = attack.run(person, content)
        except httpx.HTTPError as error:
            came = type(error).__name__
    return row(attack.name, came, watch)


def main() -> None:
    parser = argparse.ArgumentParser(description="Attack the product as one account.")
    parser.add_argument("--only", default="", help="the attacks whose name holds this word")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory(prefix="chat-hostile-", ignore_cleanup_errors=True) as directory:
        port = servers.free_port()
        server = subprocess.Popen([sys.executable, str(Path(__file__).with_name("hostile_server.py")), str(port)])
        product, person = start(Path(directory), port)
        try:
            make_key(person)
            names = "".join(f"{name:>9}" for name in ("p50 ms", "p99 ms", "longest"))
            print(f"{'attack':38}{names} {'CPU s':>7} {'+ MiB':>8} {'failed':>7}  answer")
            for attack in (each for each in ALL if only in each.name):
                print(measure(product, person, attack), flush=True)
        finally:
            product.kill()
            server.kill()


if __name__ == "__main__":
    main()
