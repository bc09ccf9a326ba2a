"""A first page is light, and what it loaded is not loaded again."""

import re

import pytest


@pytest.fixture
def loads(open_page):
    """Open a page with an empty cache and return what it loaded, in the order of its end."""

    def load(path):
        page = open_page("about:blank")
        seen = []
        page.context.on("requestfinished", lambda request: seen.append(request))
        page.goto(path)
        page.wait_for_load_state("networkidle")
        return page, seen

    return load


@pytest.mark.parametrize("path", ["/", "chat"])
def test_a_first_page_is_light(loads, api, demo, path):
    chat_id = api.new_chat()
    api.send(chat_id, "Hello")

    _, seen = loads(f"/chats/{chat_id}" if path == "chat" else path)

    assert len(seen) <= 10
    assert (
        sum(sum(request.sizes()[part] for part in ("responseHeadersSize", "responseBodySize")) for request in seen)
        <= 80_000
    )


def test_the_parts_of_a_page_are_compressed_and_kept_for_ever(loads):
    _, seen = loads("/")
    parts = [request.response().all_headers() for request in seen if "/static/" in request.url]

    assert len(parts) >= 3
    beside = [request.url for request in seen if not request.is_navigation_request()]
    assert all(re.search(r"/static/.+\.[0-9a-f]{12}\.", url) for url in beside)
    assert {part["cache-control"] for part in parts} == {"public, max-age=31536000, immutable"}
    assert {part.get("content-encoding") for part in parts} == {"gzip"}
