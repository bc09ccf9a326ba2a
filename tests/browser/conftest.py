"""The product's pages in Chromium (tests/chromium.py), by gunicorn as shipped, before a scripted Gemini in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import BrowserContext, Page

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


@pytest.fixture
def demo() -> Iterator[Model]:
    """The model behind the product: it says what the test tells it to."""
    model = Model()
    model.start()
    yield model
    model.release()
    model.stop()


@pytest.fixture
def app(sqlite_url: str, tmp_path: Any, settings: dict[str, object]) -> Iterator[Flask]:
    """An application on the product's database, to look and to prepare; what it serves is the product's to serve."""
    yield from application(sqlite_url, tmp_path, ScriptedProvider(), settings)


@pytest.fixture
def product(app: Flask, server: Callable[..., Process], demo: Model, settings: dict[str, object]) -> Process:
    env = {name.upper(): str(value) for name, value in settings.items()}
    return server(
        SECRET_KEY=SECRET,
        RATE_LIMITS="false",
        GEMINI_API_KEY="none",
        GEMINI_BASE_URL=demo.url,
        COUNT_SECONDS="30",
        **env,
    )


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
