"""The product's pages in Chromium (tests/chromium.py), by gunicorn as shipped, before a scripted Gemini in this process."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import BrowserContext, Page

from tests import servers
from tests.browser.model import Model
from tests.browser.steps import cookie
from tests.conftest import Person, application
from tests.faults.program import Program
from tests.providers.scripted import ScriptedProvider
from tests.servers import Process

SECRET = "x" * 32


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()) or "page" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


class Stage:
    """The product in a process of its own, for one test after the other. Starting it is what cost a test the most."""

    def __init__(self, directory: Path, settings: dict[str, object]) -> None:
        self._database = directory / "chat.db"
        shutil.copy(servers.migrated_sqlite(), self._database)
        self.model = Model()
        self.model.start()
        env = {
            "DATABASE_URL": self.database_url,
            "SECRET_KEY": SECRET,
            "RATE_LIMITS": "false",
            "GEMINI_API_KEY": "none",
            "GEMINI_BASE_URL": self.model.url,
            "COUNT_SECONDS": "30",
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        self.process = servers.start_product(directory, env)

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self._database}"

    def clear(self) -> bool:
        """Empty the database once the last answer has ended. Return False where the process is not to be used again."""
        self.model.reset()
        return self.process.is_running and self.model.wait_until(self._is_quiet) and self.model.wait_until(self._empty)

    def close(self) -> None:
        self.process.kill()
        self.model.stop()

    def _is_quiet(self) -> bool:
        count = "SELECT count(*) FROM exchanges WHERE ended_at IS NULL"
        with suppress(sqlite3.OperationalError), closing(self._connect()) as database:
            return bool(database.execute(count).fetchone() == (0,))
        return False

    def _empty(self) -> bool:
        """Copy the empty database over this one: the ledger lets no row be deleted. Return False while it is in use."""
        with closing(sqlite3.connect(servers.migrated_sqlite())) as empty, closing(self._connect()) as database:
            with suppress(BlockingIOError, sqlite3.OperationalError):
                empty.backup(database, progress=_refuse_to_wait)
                return True
        return False

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=0)


def _refuse_to_wait(status: int, _remaining: int, _total: int) -> None:
    """Stop a backup that would wait for a lock: it would wait outside of gevent's loop, and for ever."""
    if status not in (sqlite3.SQLITE_OK, sqlite3.SQLITE_DONE):
        raise BlockingIOError


@pytest.fixture(scope="session")
def _stages() -> Iterator[dict[str, Stage]]:
    stages: dict[str, Stage] = {}
    yield stages
    for stage in stages.values():
        stage.close()


@pytest.fixture
def stage(
    _stages: dict[str, Stage], settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The product with an empty database, by the test's settings."""
    name = repr(sorted(settings.items()))
    if name not in _stages:
        _stages[name] = Stage(tmp_path_factory.mktemp("stage"), settings)
    yield _stages[name]
    if not _stages[name].clear():
        _stages.pop(name).close()


@pytest.fixture
def demo(stage: Stage) -> Model:
    """The model behind the product: it says what the test tells it to."""
    return stage.model


@pytest.fixture
def app(stage: Stage, tmp_path: Path, settings: dict[str, object]) -> Iterator[Flask]:
    """An application on the product's database, to look and to prepare; what it serves is the product's to serve."""
    yield from application(stage.database_url, tmp_path, ScriptedProvider(), settings)


@pytest.fixture
def product(stage: Stage) -> Process:
    return stage.process


@pytest.fixture
def site(product: Process) -> str:
    """The product's address."""
    return product.url


@pytest.fixture
def api(product: Process, user: Person) -> Iterator[Program]:
    """A program of the user's, with a personal key."""
    program = Program(product, user)
    yield program
    program.close()


@pytest.fixture
def open_page(app: Flask, site: str, user: Person, new_context: Callable[..., BrowserContext]) -> Callable[..., Page]:
    """Open a page as the user: open_page("/usage", viewport=...)."""

    def open_one(path: str = "/", person: Person = user, **options: object) -> Page:
        context = new_context(base_url=site, **options)
        context.add_cookies([cookie(app, site, person)])
        page = context.new_page()
        page.goto(path)
        return page

    return open_one


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """The start page, as the user sees it."""
    return open_page()
