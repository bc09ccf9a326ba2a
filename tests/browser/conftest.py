"""The product's pages in Chromium (tests/chromium.py), served by this process, so that a test can steer what is behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from gevent.pywsgi import WSGIServer
from playwright.sync_api import BrowserContext, Page

from tests.browser.steps import cookie
from tests.conftest import Person
from tests.servers import Process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()) or "page" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture
def site(app: Flask) -> Iterator[str]:
    """The application's address."""
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None)
    server.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop(timeout=1)


@pytest.fixture
def gunicorn_site(server: Callable[..., Process]) -> str:
    """The address of the product as shipped, on the application's database: a module makes it its `site`."""
    return server(SECRET_KEY="x" * 32, RATE_LIMITS="false").url


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
