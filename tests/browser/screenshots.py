"""Take pictures of every page and state, wide and narrow, light and dark: `make screenshots` → .cache/screenshots.

The README shows six of them, which are copied to docs/screenshots by hand.

It starts the product on a database of its own that holds a few days of work, and looks at it with Chromium.
Give words to take only the pictures that have one of them in their name.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, Route, sync_playwright

from tests import servers
from tests.browser.scenes import PEOPLE, SCENES, SIZES, product, sign_in

FOLDER = servers.ROOT / ".cache/screenshots"


def main(words: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    servers.begin_run()
    try:
        with (
            tempfile.TemporaryDirectory() as place,
            product(Path(place)) as (url, data),
            sync_playwright() as playwright,
        ):
            flags = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=servers.find("chromium"), args=flags)
            logins = {name: sign_in(browser, url, f"{name}@example.org") for name in ("ada", "eve")}
            for scene, size, theme in itertools.product(SCENES, SIZES, ("light", "dark")):
                name = f"{scene}-{size}-{theme}"
                if words and not any(word in name for word in words):
                    continue
                login = logins[PEOPLE.get(scene, "ada")]
                with looking(browser, size, theme, login) as page:
                    SCENES[scene](page, data, url)
                    page.wait_for_timeout(150)
                    page.screenshot(path=FOLDER / f"{name}.png", caret="initial")
            browser.close()
    finally:
        servers.end_run()


@contextlib.contextmanager
def looking(browser: Browser, size: str, theme: str, login: dict) -> Iterator[Page]:
    is_phone = size == "phone"
    context = browser.new_context(
        viewport=SIZES[size],
        color_scheme=theme,  # type: ignore[arg-type]
        storage_state=login,  # type: ignore[arg-type]
        has_touch=is_phone,
        is_mobile=is_phone,
        device_scale_factor=1,
        reduced_motion="reduce",
    )
    context.route("**/app.*.css", in_a_better_font)
    yield context.new_page()
    context.close()


def in_a_better_font(route: Route) -> None:
    """Say which font is the system's: a server's is often one for terminals, people's own systems have a better one."""
    response = route.fetch()
    route.fulfill(response=response, body=response.text().replace("system-ui,", '"Liberation Sans", "DejaVu Sans",'))


if __name__ == "__main__":
    main(sys.argv[1:])
