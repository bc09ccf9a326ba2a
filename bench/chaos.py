"""Break everything while people chat, and count what was lost.

    .venv/bin/python -m bench.chaos [--seconds 600] [--seed N] [--users 12]

People chat over HTTP/2 through the shipped nginx with two processes on PostgreSQL and Redis. Meanwhile, by the seed
that is printed, workers and whole processes are killed, replaced and reloaded, Redis is stopped, hung and flushed,
PostgreSQL is restarted, and the provider refuses, stalls, breaks off and talks nonsense. Clients do what docs/api.md
tells them to: they repeat a send with its key, and come back with Last-Event-ID. They also lose their connections by
themselves, listen in a second tab, and look at pages all the time. Then it is healed and counted:

  sends accepted          for which a position was heard
  turns settled           of them and of all
  ledger differences      balances, reservations and turns that do not add up (tests/faults/invariants.py)
  lost bytes              of what is saved and was not heard, and of a completed answer that is not saved
  duplicated bytes        of what was heard and is not saved, and of what is saved and was not said; repeated questions
  taken back              how long before its stream broke a text was heard that is not saved: at most a checkpoint
  stack traces            in the log
  5xx                     other than 503 with Retry-After

All but the first two must be 0; the exit code says whether they are.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import json
import os
import random
import re
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
import httpx
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests import servers
from tests.deploy.site import Site, Visitor
from tests.faults import invariants
from tests.scripted_gemini import Answer, Request, ScriptedGemini, _last_text, refuses, says
from tests.streams import Heard

SECRET = "a secret of the benchmark, 32 bytes"
NUMBER = re.compile(r"number (\d+)")
# A stack trace ends with the error, at the beginning of a line.
TRACE = re.compile(r"^Traceback .*?^(\S+?:.*?)$", re.MULTILINE | re.DOTALL)
WORDS = ["one ", "zwei ", "**trois** ", "quattro\n", "пять ", "六 ", "🙂 ", "`eight` ", "nine.\n\n", "{ten} "]
EXCHANGE_SECONDS = 180
QUIET_SECONDS = 90
# Of a process that is killed, what is younger than a checkpoint may be lost: 2 s, half a second for the pulse, and some
# for a busy machine.
TAKEN_BACK_SECONDS = 3.0
PAGES = ("/", "/usage", "/chats/{chat}", "/api/chat/{chat}")
EVERY_WRONG = {
    "a turn that was not settled once": invariants.ONCE,
    "a balance that is not the sum of its entries": invariants.BALANCE,
    "a budget that was overrun": invariants.OVER,
    "a reservation without a turn": invariants.HELD,
    "an answer that is not as its turn": invariants.HALF,
    "a key that was used twice": invariants.PER_KEY,
    "a charge that is another in the ledger": invariants.FIGURES,
}


def pieces_of(number: int) -> list[str]:
    """Return the answer to a question, as everybody can know it beforehand."""
    source = random.Random(number)
    return [source.choice(WORDS) for _ in range(source.randint(10, 200))]


class Provider(ScriptedGemini):
    """Gives the answer that belongs to the question; by the seed, in the ways a provider fails."""

    def __init__(self, source: random.Random, misbehaves: float = 0.0) -> None:
        super().__init__()
        self.misbehaves = misbehaves
        self._source = source

    def _answer_for(self, request: Request) -> Answer:
        self.requests.clear()
        asked = NUMBER.search(_last_text(request.body)) if request.kind == "stream" else None
        if asked is None:
            return super()._answer_for(request)
        pieces, source = pieces_of(int(asked[1])), self._source
        well = says(*pieces, pace_seconds=source.uniform(0.01, 0.12))
        if source.random() >= self.misbehaves:
            return well
        cut = source.randrange(len(pieces))
        return source.choice(
            [
                refuses(503),
                refuses(429, retry_delay="1s"),
                Answer(refuse=source.choice(["reset", "close"])),
                says(*pieces, reset_after_bytes=source.randint(0, 2000)),
                says(*pieces[:cut], {"close": True}),
                says(*pieces[:cut], {"wait": 2.0}, *pieces[cut:]),
                says(*pieces[:cut], {"raw": "data: {not json\r\n\r\n"}, *pieces[cut:]),
                says(*pieces, finish=None),
            ]
        )


@dataclass
class Listener(Heard):
    """What is heard by somebody who loses the connection once: behind cut_after pieces, before the first word if -1."""

    cut_after: int | None = None
    taken_back_seconds: float = 0.0
    _heard_at: list[tuple[int, float]] = field(default_factory=list)
    _before_reset: str | None = None

    def take(self, event: Any) -> None:
        if self.cut_after == -1:
            self._lose_connection()
        text, resets = self.text, self.resets
        super().take(event)
        if self.resets > resets:
            self._before_reset = text
        if self._before_reset is not None and (self.text or self.final):
            self._take_back(self._before_reset)
        if len(self.text) > len(text):
            self._heard_at.append((len(self.text), time.monotonic()))
        if self.cut_after is not None and len(self.pieces) >= self.cut_after:
            self._lose_connection()

    def _lose_connection(self) -> None:
        self.cut_after = None
        raise httpx.ReadError("the client lost its connection")

    def _take_back(self, before: str) -> None:
        """Note how old was what was heard before the reset and is not there after it."""
        same = _same(before, self.text)
        if lost := [instant for length, instant in self._heard_at if length > same]:
            self.taken_back_seconds = max(self.taken_back_seconds, self._heard_at[-1][1] - lost[0])
        self._heard_at, self._before_reset = [], None


@dataclass
class Exchange:
    """One send and all that was heard of it, in the tab that sent it and in another."""

    number: int
    chat: str
    heard: Listener
    second: Listener | None = None
    saved: str | None = None
    status: str = ""

    @property
    def is_accepted(self) -> bool:
        return bool(self.heard.ids)

    @property
    def tabs(self) -> list[Listener]:
        return [self.heard, *([self.second] if self.second else [])]


@dataclass
class Crowd:
    """People who chat until they are told to stop."""

    site: Site
    people: list[Any]
    statuses: Counter[int] = field(default_factory=Counter)
    cut: int = 0
    problems: list[str] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    source: random.Random = field(default_factory=lambda: random.Random(0))
    _is_over: bool = False
    _numbers: int = 0

    def start(self) -> None:
        self._chatting = [gevent.spawn(each, person) for person in self.people for each in (self._chat, self._look)]

    def stop(self) -> None:
        """Let everybody hear his last answer to its end."""
        self._is_over = True
        gevent.joinall(self._chatting, timeout=EXCHANGE_SECONDS, raise_error=True)

    def _look(self, person: Any) -> None:
        """Look at pages, until everybody has chatted."""
        with self.site.client(headers=person.headers) as client:
            while not self._is_over:
                self._ask(partial(client.get, self._any_page()), (403, 404))
                gevent.sleep(0.3)

    def _any_page(self) -> str:
        """Return the address of a page, of a stranger's chat too."""
        chat = self.source.choice(self.exchanges).chat if self.exchanges else uuid4()
        return self.source.choice(PAGES).format(chat=chat)

    def _chat(self, person: Any) -> None:
        visitor = Visitor(self.site, person)
        while not self._is_over:
            chat = self._insist(lambda: visitor.call("POST", "/chat", json={}))["id"]
            for _ in range(3):
                if not self._is_over:
                    self._exchange(visitor, chat)
            self._compare(visitor, chat)
        visitor.close()

    def _exchange(self, visitor: Visitor, chat: str) -> None:
        self._numbers += 1
        cut_after = self.source.choice([None, None, -1, 0, self.source.randint(1, 30)])
        exchange = Exchange(self._numbers, chat, Listener(0, cut_after=cut_after))
        self.exchanges.append(exchange)
        body, key = json.dumps({"message": f"Please write number {exchange.number}."}), str(uuid4())
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}

        def listen() -> None:
            if exchange.heard.ids:
                visitor.resume(chat, exchange.heard)
            else:
                visitor._listen(exchange.heard, "POST", f"/chat/{chat}/message", headers, content=body)

        second = gevent.spawn(self._listen_too, visitor.person, exchange)
        self._hear_out(exchange.heard, listen, f"number {exchange.number}")
        second.get(timeout=EXCHANGE_SECONDS)

    def _listen_too(self, person: Any, exchange: Exchange) -> None:
        """Hear the same answer in a second tab: from its beginning, with a connection of its own."""
        end = time.monotonic() + EXCHANGE_SECONDS
        while not exchange.heard.ids and time.monotonic() < end:
            gevent.sleep(0.05)
        if not exchange.heard.ids:
            return
        gevent.sleep(self.source.uniform(0, 4))
        second = exchange.second = Listener(0, ids=exchange.heard.ids[:1])
        tab = Visitor(self.site, person)
        self._hear_out(second, lambda: tab.resume(exchange.chat, second), f"number {exchange.number}, second tab,")
        tab.close()

    def _hear_out(self, heard: Listener, listen: Callable[[], object], what: str) -> None:
        end = time.monotonic() + EXCHANGE_SECONDS
        while not heard.final and time.monotonic() < end:
            heard.status, heard.error = 0, {}
            listen()
            self._note(heard)
            if heard.status != 200 or not heard.final:
                gevent.sleep(0.3)
        if not heard.final:
            self.problems.append(f"{what} never ended: {heard.status} {heard.error}")

    def _note(self, heard: Heard) -> None:
        self.statuses[heard.status] += 1
        self.cut += heard.status == 200 and not heard.final
        if heard.status not in (0, 200, 503):
            self.problems.append(f"{heard.status} {heard.error}")
            gevent.sleep(1)

    def _insist(self, ask: Callable[[], httpx.Response]) -> Any:
        end = time.monotonic() + EXCHANGE_SECONDS
        while time.monotonic() < end:
            answer = self._ask(ask)
            if answer is not None and answer.is_success:
                return answer.json()
            gevent.sleep(0.3)
        raise TimeoutError("the site did not answer")

    def _ask(self, ask: Callable[[], httpx.Response], expected: tuple[int, ...] = ()) -> httpx.Response | None:
        """Return the answer, None where none came; note one that is none of the documented."""
        try:
            answer = ask()
        except httpx.HTTPError:
            self.statuses[0] += 1
            return None
        self.statuses[answer.status_code] += 1
        is_put_off = answer.status_code == 503 and "Retry-After" in answer.headers
        if not (answer.is_success or is_put_off or answer.status_code in expected):
            self.problems.append(f"{answer.status_code} {answer.text[:200]}")
        return answer

    def _compare(self, visitor: Visitor, chat: str) -> None:
        """Take note of what is saved of a chat."""
        messages = self._insist(lambda: visitor.call("GET", f"/chat/{chat}"))["messages"]
        for exchange in (each for each in self.exchanges if each.chat == chat):
            asked = [m for m in messages if m["role"] == "user" and _number(m["content"]) == exchange.number]
            if len(asked) != exchange.is_accepted:
                self.problems.append(f"number {exchange.number} stands there {len(asked)} times")
            by_id = {message["id"]: message for message in messages}
            answer = by_id.get(exchange.heard.final.get("message_id", ""))
            exchange.saved, exchange.status = (answer["content"], answer["status"]) if answer else ("", "failed")

    # What came of it

    @property
    def accepted(self) -> list[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.is_accepted]

    def lost_and_duplicated_bytes(self) -> tuple[int, int]:
        lost = duplicated = 0
        for exchange in self.accepted:
            said, saved = "".join(pieces_of(exchange.number)), exchange.saved or ""
            unsaved, unsaid = _difference(said, saved)
            if exchange.status != "completed":
                unsaved = 0
            lost, duplicated = lost + unsaved, duplicated + unsaid
            for heard in exchange.tabs:
                missing, surplus = _difference(saved, heard.text)
                lost, duplicated = lost + missing, duplicated + surplus
                if missing or surplus or unsaved or unsaid:
                    self.problems.append(
                        f"number {exchange.number} ({exchange.status}): of {len(said)} characters said, "
                        f"{len(saved)} saved, {len(heard.text)} heard with {heard.resets} resets"
                    )
        return lost, duplicated

    def taken_back(self) -> int:
        """Return how many lost what was heard long enough before to be saved."""
        ages = [heard.taken_back_seconds for exchange in self.accepted for heard in exchange.tabs]
        old = [age for age in ages if age > TAKEN_BACK_SECONDS]
        self.problems += [f"what was heard {age:.1f} s before its stream broke was taken back" for age in old]
        return len(old)

    def stack_traces(self) -> int:
        """Return how many errors the processes wrote that nobody had foreseen."""
        found = TRACE.findall(self.site.logs())
        self.problems += [f"in the log: {error}" for error in found]
        return len(found)

    def undocumented(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 500 and status != 503)


def _number(question: str) -> int:
    found = NUMBER.search(question)
    return int(found[1]) if found else 0


def _difference(whole: str, other: str) -> tuple[int, int]:
    """Return how many bytes of whole are not in other, and of other not in whole: behind what both begin with."""
    same = _same(whole, other)
    return len(whole[same:].encode()), len(other[same:].encode())


def _same(one: str, other: str) -> int:
    """Return how many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def differences_in(url: str) -> dict[str, int]:
    """Return what does not add up in the database, and how often; empty where all is well."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.connect() as connection:
        found = {name: len(connection.execute(text(query)).all()) for name, query in EVERY_WRONG.items()}
    return {name: count for name, count in found.items() if count}


def count(url: str, query: str) -> int:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


class Stores:
    """PostgreSQL and Redis of their own, to be broken."""

    def __init__(self, directory: Path) -> None:
        # What is acknowledged must be there after an immediate stop.
        recipe = servers.postgresql(_folder(directory, "postgresql"))
        command = [word.replace("synchronous_commit=off", "synchronous_commit=on") for word in recipe.command]
        self._recipes = {
            "postgresql": servers.Recipe(command, recipe.url, recipe.is_ready),
            "redis": servers.redis(_folder(directory, "redis")),
        }
        self._directory = directory
        self._running = {name: servers.start(recipe, directory) for name, recipe in self._recipes.items()}

    def url(self, name: str) -> str:
        return self._recipes[name].url

    def send(self, name: str, number: int) -> None:
        self._running[name].send(number)

    def stop(self, name: str, number: int) -> None:
        self._running[name].stop(number)

    def start(self, name: str) -> None:
        self._running[name] = servers.start(self._recipes[name], self._directory)

    def kill(self) -> None:
        for process in self._running.values():
            process.kill()


def _folder(directory: Path, name: str) -> Path:
    directory.chmod(0o711)  # PostgreSQL's own user passes through.
    (directory / name).mkdir()
    return directory / name


class Chaos:
    """One fault after another, by the seed."""

    def __init__(self, site: Site, stores: Stores, source: random.Random) -> None:
        self._site, self._stores, self._source = site, stores, source
        self.faults: Counter[str] = Counter()

    def go_on(self, seconds: float) -> None:
        began, end = time.monotonic(), time.monotonic() + seconds
        faults = {
            "a worker is killed": self._kill_worker,
            "a process is killed": self._kill_process,
            "a process is replaced": lambda: self._site.replace(self._source.randrange(2)),
            "a process is reloaded": lambda: self._site.processes[self._source.randrange(2)].send(signal.SIGHUP),
            "a process is killed and Redis is flushed": self._kill_process_and_flush_redis,
            "Redis is stopped": self._stop_redis,
            "Redis hangs": self._hang_redis,
            "Redis is flushed": self._flush_redis,
            "PostgreSQL is restarted": lambda: self._restart_postgresql(signal.SIGINT),
            "PostgreSQL is stopped at once": lambda: self._restart_postgresql(signal.SIGQUIT),
        }
        waiting: list[str] = []
        while time.monotonic() < end:
            # Each once before any comes again.
            waiting = waiting or self._source.sample(sorted(faults), len(faults))
            self._pause(0.5, 4)
            name = waiting.pop()
            print(f"{time.monotonic() - began:6.1f} s  {name}", flush=True)
            self.faults[name] += 1
            faults[name]()

    def _pause(self, least: float, most: float) -> None:
        gevent.sleep(self._source.uniform(least, most))

    def _kill_worker(self) -> None:
        for pid in self._site.workers(self._source.randrange(2)):
            os.kill(pid, signal.SIGKILL)

    def _kill_process(self) -> None:
        index = self._source.randrange(2)
        self._site.processes[index].kill()
        self._pause(0, 2)
        self._site.start_again(index)

    def _kill_process_and_flush_redis(self) -> None:
        # All is well for long enough that answers are older than a checkpoint, and nothing else can tell their text.
        gevent.sleep(3 * TAKEN_BACK_SECONDS)
        index = self._source.randrange(2)
        self._site.processes[index].kill()
        self._flush_redis()
        self._site.start_again(index)

    def _stop_redis(self) -> None:
        self._stores.stop("redis", signal.SIGKILL)
        self._pause(0, 5)
        self._stores.start("redis")

    def _hang_redis(self) -> None:
        self._stores.send("redis", signal.SIGSTOP)
        self._pause(0.5, 5)
        self._stores.send("redis", signal.SIGCONT)

    def _flush_redis(self) -> None:
        import redis

        with redis.Redis.from_url(self._stores.url("redis")) as client:
            client.flushall()

    def _restart_postgresql(self, number: int) -> None:
        self._stores.stop("postgresql", number)
        self._pause(0, 3)
        self._stores.start("postgresql")


def settings(database_url: str, redis_url: str, provider: ScriptedGemini) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECRET_KEY": SECRET,
        "RATE_LIMITS": "false",
        "GEMINI_API_KEY": "k",
        "GEMINI_BASE_URL": provider.url,
    }


def make_people(directory: Path, url: str, number: int) -> list[Any]:
    """Make accounts with plenty of tokens and a key each, without asking the site."""
    from chatapp import create_app
    from chatapp.kernel.extensions import db
    from tests.conftest import make_user

    app = create_app(database_url=url, instance_dir=directory / "instance", secret_key=SECRET)
    people = [make_user(app, f"user{index}@example.org", limit=10**9) for index in range(number)]
    with app.app_context():
        db.engine.dispose()
    return people


def wait_until_quiet(url: str) -> None:
    def is_quiet() -> bool:
        gevent.sleep(0.5)
        try:
            return count(url, "SELECT count(*) FROM exchanges WHERE status = 'in_progress'") == 0
        except OperationalError:
            return False

    servers.wait_until(is_quiet, "the last turn", QUIET_SECONDS)


def report(crowd: Crowd, url: str) -> Mapping[str, int]:
    """Return the figures that must be 0, having printed all of them."""
    lost, duplicated = crowd.lost_and_duplicated_bytes()
    differences = differences_in(url)
    settled = count(url, "SELECT count(*) FROM exchanges WHERE status <> 'in_progress'")
    ends = Counter(exchange.status for exchange in crowd.accepted)
    print(f"sends accepted       {len(crowd.accepted):8,}")
    print(f"turns settled        {settled:8,}   {', '.join(f'{number} {end}' for end, number in ends.most_common())}")
    unheard, busy = crowd.statuses[0], crowd.statuses[503]
    print(
        f"answers              {crowd.statuses.total():8,}   {busy} × 503, {unheard} not heard, {crowd.cut} streams cut"
    )
    if settled != len(crowd.accepted):
        crowd.problems.append(f"{settled} turns for {len(crowd.accepted)} accepted sends")
    must_be_0 = {
        "ledger differences": sum(differences.values()),
        "lost bytes": lost,
        "duplicated bytes": duplicated,
        "taken back": crowd.taken_back(),
        "stack traces": crowd.stack_traces(),
        "5xx": crowd.undocumented(),
        "other problems": len(crowd.problems),
    }
    for name, figure in must_be_0.items():
        print(f"{name:20} {figure:8,}")
    for problem in [*differences, *crowd.problems[:20]]:
        print(f"  {problem}")
    return must_be_0


def run(directory: Path, seconds: float, seed: int, users: int) -> bool:
    source = random.Random(seed)
    stores = Stores(directory)
    url = stores.url("postgresql")
    provider = Provider(random.Random(seed + 1), misbehaves=0.15)
    provider.start()
    site = Site(directory, settings(url, stores.url("redis"), provider) | {"DRAIN_SECONDS": "5"})
    try:
        crowd = Crowd(site, make_people(directory, url, users), source=random.Random(seed + 2))
        chaos = Chaos(site, stores, source)
        crowd.start()
        chaos.go_on(seconds)
        provider.misbehaves = 0
        crowd.stop()
        wait_until_quiet(url)
        print(f"\nseed {seed}, {seconds:.0f} s, {users} people, {chaos.faults.total()} faults")
        return not any(report(crowd, url).values())
    finally:
        site.stop()
        stores.kill()
        provider.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Break everything while people chat.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--users", type=int, default=12)
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chat-chaos-") as directory:
        sys.exit(not run(Path(directory), options.seconds, seed, options.users))


if __name__ == "__main__":
    main()
