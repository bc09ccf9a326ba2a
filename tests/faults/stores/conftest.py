"""Stores of a test's own, to be stopped, killed, paused and started again at the same address."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import psycopg
import pytest

from tests import servers
from tests.conftest import WORKER, make_user
from tests.faults.invariants import hold
from tests.streams import Api, until

PIECES = ["The first third, ", "the second, ", "and the last: ü 漢 👩‍👧."]
TEXT = "".join(PIECES)


class Store:
    def __init__(self, recipe: servers.Recipe, directory: Path) -> None:
        self.url = recipe.url
        self._recipe = recipe
        self._directory = directory
        self.start()

    def start(self) -> None:
        self._process = servers.start(self._recipe, self._directory)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it in order; SIGQUIT is PostgreSQL's immediate end, which rolls nothing back and closes nothing."""
        self._process.stop(number)

    def kill(self) -> None:
        self._process.kill()

    def ensure(self) -> None:
        if not self._process.is_running:
            self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let it accept connections and answer nothing."""
        self._process.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send(signal.SIGCONT)


@pytest.fixture
def redis_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(servers.redis(tmp_path), tmp_path)
    yield store
    store.kill()


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Store]:
    directory = Path(os.environ[servers.RUN_DIR]) / f"postgresql-{WORKER}"
    directory.mkdir()
    recipe = servers.postgresql(directory)
    # What was committed must outlive an immediate end. (The run's shared one is never killed and does without.)
    store = Store(replace(recipe, command=[*recipe.command, "--synchronous_commit=on"]), directory)
    with psycopg.connect(store.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty")
    servers.migrate(store.url.replace("/postgres", "/empty"))
    yield store
    store.stop(signal.SIGQUIT)


_numbers = itertools.count()


class Database:
    """A database on a PostgreSQL of this test process's own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = f"test{next(_numbers)}"
        store.ensure()
        with self._postgres() as connection:
            connection.execute(f"CREATE DATABASE {self.name} TEMPLATE empty")
        self.url = store.url.replace("/postgres", f"/{self.name}")

    def connect(self) -> psycopg.Connection[Any]:
        """Return another session, as somebody else would have one. It commits when it is told to."""
        return psycopg.connect(self.url)

    def rows(self, query: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query).fetchall()

    def sessions(self, state: str) -> int:
        found = self.rows(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self.name}' AND {state}")
        count: int = found[0][0]
        return count

    def set(self, setting: str) -> None:
        """Change what new sessions begin with."""
        with self._postgres() as connection:
            connection.execute(f"ALTER DATABASE {self.name} SET {setting}")

    def restart(self, number: int, seconds: float = 0.3) -> None:
        self.store.stop(number)
        gevent.sleep(seconds)
        self.store.start()

    def drop(self) -> None:
        self.store.ensure()
        with self._postgres() as connection:
            connection.execute(f"DROP DATABASE {self.name} WITH (FORCE)")

    def _postgres(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.store.url, autocommit=True)


@pytest.fixture
def own_postgresql(_cluster: Store) -> Iterator[Database]:
    database = Database(_cluster)
    yield database
    database.drop()


@pytest.fixture
def on_postgresql(make_app: Callable[..., Any], own_postgresql: Database) -> Callable[..., Api]:
    """Return a person's program before an application on that database: on_postgresql(redis_url=...)."""

    def make(**settings: Any) -> Api:
        # Tests share their processors: how late the loop is says nothing here.
        app = make_app(own_postgresql.url, **settings)
        return Api(app, make_user(app, "ada@example.org"))

    return make


@pytest.fixture
def ends_well() -> Callable[..., None]:
    """Return a check of what was heard and saved of one exchange, and of everything that is always true."""

    def check(api: Api, url: str, chat: str, heard: Any, text: str = TEXT) -> None:
        assert (heard.status, heard.text, heard.resets) == (200, text, 0)
        assert heard.final.get("done"), heard.final
        [_question, answer] = api.messages(chat)
        assert (answer["content"], answer["status"]) == (text, "completed")
        assert api.usage()["total_tokens_used"] == heard.final["tokens_used"] == answer["tokens_consumed"] > 0
        hold(url)

    return check


class Held:
    """An answer that waits after its first third and, if it is told to, before its end."""

    def __init__(self, api: Api, demo: Any) -> None:
        self.chat = api.new_chat()
        self.third, self.end = demo.hold(), demo.hold()
        demo.will_say(PIECES[0], self.third, PIECES[1], self.end, PIECES[2])
        self.listening = gevent.spawn(api.send, self.chat, "Hi")
        until(lambda: (found := api.messages(self.chat)) and found[1]["content"] == PIECES[0])

    def go_on(self) -> None:
        self.third.set()
        self.end.set()

    def heard(self, seconds: float = 30) -> Any:
        return self.listening.get(timeout=seconds)


@pytest.fixture
def half_said(demo: Any) -> Callable[[Api], Held]:
    return lambda api: Held(api, demo)
