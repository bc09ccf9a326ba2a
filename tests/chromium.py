"""Chromium, driven by Playwright. Playwright's waits run on gevent's hub, so this process may serve as well.

A page that writes an error to the console, raises one, breaks the content security policy or asks for something
that is not there fails its test, unless the test said that it expects that: complaints.expect("text").
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests import servers

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Playwright

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 10_000


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """One for the whole test process: a second would find the first one's loop running."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    browser = playwright.chromium.launch(executable_path=servers.find("chromium"), args=flags)
    yield browser
    browser.close()


class Complaints(list[str]):
    """What the pages of a test complained about and the test did not expect."""

    def __init__(self) -> None:
        super().__init__()
        self._expected: list[str] = []

    def expect(self, text: str) -> None:
        """Pass over complaints with that text in them, from now on."""
        self._expected.append(text)

    def add(self, complaint: str) -> None:
        if not any(text in complaint for text in self._expected):
            self.append(complaint)

    def watch(self, page: Page) -> None:
        # Chromium reports violations of the policy and failed requests as console errors.
        page.on("console", lambda message: self.add(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.add(str(error)))


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    complaints = Complaints()
    yield complaints
    assert not complaints, list(complaints)


@pytest.fixture
def new_context(browser: Browser, complaints: Complaints) -> Iterator[Callable[..., BrowserContext]]:
    """Open a browser of another person or kind: new_context(viewport=..., java_script_enabled=False)."""
    contexts: list[BrowserContext] = []

    def open_one(**options: object) -> BrowserContext:
        # What a service worker fetches, a test that steers the network does not see.
        context = browser.new_context(**{"service_workers": "block", **options})  # type: ignore[arg-type]
        context.set_default_timeout(TIMEOUT_MS)
        context.on("page", complaints.watch)
        contexts.append(context)
        return context

    yield open_one
    for context in contexts:
        context.close()
