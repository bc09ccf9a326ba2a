"""Streams in Chromium: who may use the GET form, how an EventSource comes back, and a page whose process dies."""

# ruff: noqa: F811

import contextlib
import socket

import gevent
import pytest
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from gevent.server import StreamServer
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from chatapp.conversation import stream as stream_frames
from tests.api.product import Wire
from tests.browser.inside import api, app, demo, site  # noqa: F401
from tests.browser.steps import cookie, last_answer, send, turns
from tests.faults import invariants
from tests.faults.conftest import gemini, make_person, products  # noqa: F401
from tests.streams import until

LISTEN = """address => new Promise(resolve => {
  const heard = {texts: [], ids: [], errors: 0}, source = new EventSource(address);
  source.onmessage = event => {
    heard.ids.push(event.lastEventId);
    if (event.data.startsWith('{"done"')) { heard.final = JSON.parse(event.data); source.close(); resolve(heard); }
    else heard.texts.push(event.data);
  };
  source.onerror = () => {
    heard.errors++;
    if (source.readyState === EventSource.CLOSED) { heard.isClosed = true; resolve(heard); }
  };
})"""
# Each tries to make the browser send the address, and resolves when it has tried.
TRICKS = {
    "EventSource": "u => new Promise(r => { const s = new EventSource(u); s.onerror = s.onmessage = () => { s.close(); r(); }; })",
    "EventSource with its cookie": (
        "u => new Promise(r => { const s = new EventSource(u, {withCredentials: true});"
        " s.onerror = s.onmessage = () => { s.close(); r(); }; })"
    ),
    "image": "u => new Promise(r => { const i = new Image(); i.onload = i.onerror = () => r(); i.src = u; })",
    "script": (
        "u => new Promise(r => { const s = document.createElement('script'); s.onload = s.onerror = () => r();"
        " s.src = u; document.head.append(s); })"
    ),
    "stylesheet": (
        "u => new Promise(r => { const l = document.createElement('link'); l.rel = 'stylesheet';"
        " l.onload = l.onerror = () => r(); l.href = u; document.head.append(l); })"
    ),
    "frame": (
        "u => new Promise(r => { const f = document.createElement('iframe'); f.onload = f.onerror = () => r();"
        " f.src = u; document.body.append(f); })"
    ),
    "prefetch": (
        "u => new Promise(r => { const l = document.createElement('link'); l.rel = 'prefetch';"
        " l.onload = l.onerror = () => r(); l.href = u; document.head.append(l); })"
    ),
    "fetch without CORS": "u => fetch(u, {mode: 'no-cors', credentials: 'include'}).catch(() => 0)",
    "link": "u => { const a = document.createElement('a'); a.href = u; document.body.append(a); a.click(); }",
    "form": (
        "u => { const f = document.createElement('form'), [address, query] = u.split('?'); f.action = address;"
        " for (const [n, v] of new URLSearchParams(query)) { const i = document.createElement('input');"
        " i.name = n; i.value = v; f.append(i); } document.body.append(f); f.submit(); }"
    ),
    "location": "u => { location.href = u; }",
}
FROM = {"our own page": "own", "another port": "http://127.0.0.1:{}", "another site": "http://localhost:{}"}


@pytest.fixture
def elsewhere():
    """A page that is not ours. On 127.0.0.1 it is same-site with ours, on localhost it is another site."""

    def serve(_environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<!DOCTYPE html><title>Elsewhere</title><body>Elsewhere"]

    server = WSGIServer(("127.0.0.1", 0), serve, log=None, error_log=None)
    server.start()
    yield server.server_port
    server.stop(timeout=1)


@pytest.fixture
def asked(app):
    """The requests that reached the GET form: what the browser said of each, and how it was answered."""
    seen, serve = [], app.wsgi_app

    def watch(environ, start_response):
        if not (environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith("/message")):
            return serve(environ, start_response)
        said = {name.removeprefix("HTTP_"): value for name, value in environ.items() if name.startswith("HTTP_")}
        seen.append(said)

        def note(status, headers, *rest):
            said["status"] = int(status.split()[0])
            return start_response(status, headers, *rest)

        return serve(environ, note)

    app.wsgi_app = watch
    return seen


def come_to_rest(tab):
    """Let a tab end whatever change of pages it is at, by one of our own that takes its place."""
    for _ in range(10):
        with contextlib.suppress(PlaywrightError):
            tab.goto("about:blank")
            return
        tab.wait_for_timeout(50)


def test_our_own_script_may_send_with_an_event_source(app, page, site, api, asked, demo):
    demo.will_say("one\n", "\ntwo", '{"three"}')

    heard = page.evaluate(LISTEN, f"{site}/api/chat/{api.new_chat()}/message?msg=Hi")

    assert heard["final"]["done"]
    assert "".join(heard["texts"]).startswith("one\n\ntwo")
    assert [each["status"] for each in asked] == [200]
    assert (asked[0]["SEC_FETCH_SITE"], asked[0]["SEC_FETCH_DEST"]) == ("same-origin", "empty")
    assert turns(app) == 1


@pytest.mark.parametrize("origin", FROM)
def test_nothing_else_can_make_a_browser_send(
    app, site, user, api, asked, demo, elsewhere, new_context, origin, complaints
):
    complaints.expect("")  # Whatever the browser says of it: each of these is to fail.
    chat = api.new_chat()
    reached = {}
    # Our own policy would stop some of them in our own page already; here it is lifted.
    context = new_context(bypass_csp=True)
    context.add_cookies([cookie(app, site, user) | {"sameSite": "Lax"}])
    for name, trick in TRICKS.items():
        if (origin, name) in [("our own page", "EventSource"), ("our own page", "EventSource with its cookie")]:
            continue
        tab = context.new_page()
        tab.goto(f"{site}/usage" if origin == "our own page" else FROM[origin].format(elsewhere))
        asked.clear()
        tab.evaluate(trick, f"{site}/api/chat/{chat}/message?msg=Hi")
        until(lambda: asked and all("status" in each for each in asked), seconds=5)
        reached[name] = {each["status"] for each in asked}
        # Chromium may never answer who closes a tab, or its context, while it changes stream_frames.
        come_to_rest(tab)

    assert demo.requests == []
    assert (turns(app), api.messages(chat)) == (0, [])
    assert set.union(*reached.values()) <= {401, 403, 406}
    # `until` saw each of them reach the server: it is the server that refused.


def test_an_event_source_comes_back_by_itself_and_at_the_end_is_told_to_stop(
    app, user, site, api, demo, new_context, complaints
):
    complaints.expect("net::ERR_")  # The wire that breaks.
    words = [f"{word} 漢\n" for word in range(40)]
    holds = [demo.hold() for _ in range(2)]
    demo.will_say(*words[:10], holds[0], *words[10:25], holds[1], *words[25:])
    chat = api.new_chat()
    with Wire(site, [500]) as wire:
        context = new_context(base_url=wire.url)
        context.add_cookies([cookie(app, wire.url, user)])
        tab = context.new_page()
        tab.goto("/usage")
        address = f"/api/chat/{chat}/message?msg=Count"
        # In braces: evaluate would wait for a promise that is the value, and with it for the end.
        follow = LISTEN.replace("source.close(); resolve(heard);", "")
        tab.evaluate(f"() => {{ window.heard = ({follow})('{address}'); }}")
        for hold in holds:
            gevent.sleep(0.2)
            hold.set()
        heard = tab.evaluate("window.heard")
        asks = len(wire.exchanges)
        tab.wait_for_timeout(4000)

        assert "".join(heard["texts"]) == "".join(words) == api.messages(chat)[1]["content"]
        assert wire.exchanges[1].header("Last-Event-ID") not in (None, heard["ids"][-1])
        assert wire.exchanges[-1].header("Last-Event-ID") == heard["ids"][-1]
        assert heard["isClosed"]
        assert (wire.exchanges[-1].status, len(wire.exchanges)) == (204, asks)
    assert len(demo.requests) == turns(app) == 1


# The page


def stream_requests(page):
    seen = []
    page.on("request", lambda request: seen.append(request.url) if request.url.endswith("/stream") else None)
    return seen


def test_a_page_asks_no_more_when_its_answer_is_over(page, demo):
    asked = stream_requests(page)
    send(page, "Hello")
    expect(page.locator(".bill")).to_be_visible()
    page.wait_for_timeout(2500)

    assert len(asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [503, 502, 500, 429, 401, "a sign-in page"])
def test_a_reconnect_that_is_refused_is_tried_again_until_it_works(app, page, demo, complaints, monkeypatch, trouble):
    complaints.expect("Failed to load resource")
    complaints.expect("htmx:")
    whole, hold, tries, is_well = stream_frames.frames, demo.hold(), [], Event()

    def breaks_once(*arguments, **options):
        for number, frame in enumerate(whole(*arguments, **options)):
            yield frame
            if len(tries) == 1 and number == 1:
                return

    def fail_again(route):
        tries.append(1)
        if len(tries) == 1 or is_well.is_set():
            route.continue_()
        elif trouble == "a sign-in page":
            route.fulfill(status=200, body="<h1>Sign in</h1>", content_type="text/html")
        else:
            route.fulfill(status=trouble, body="<h1>Bad gateway</h1>", content_type="text/html")

    monkeypatch.setattr(stream_frames, "frames", breaks_once)
    page.route("**/stream", fail_again)
    demo.will_say("One.\n\nTwo.\n\n", hold, "Three.")
    send(page, "Count")
    while len(tries) < 2:
        page.wait_for_timeout(50)
    if trouble != "a sign-in page":
        expect(page.get_by_text("Connection lost. Reconnecting")).to_be_visible()
    is_well.set()
    hold.set()

    expect(page.locator(".bill")).to_be_visible(timeout=15_000)
    expect(page.locator("#connection")).to_be_hidden()
    assert last_answer(page).locator(".prose").inner_text().split() == ["One.", "Two.", "Three."]
    assert "Bad gateway" not in page.content()
    assert "Sign in" not in last_answer(page).inner_text()
    assert turns(app) == 1


def test_a_tab_in_the_background_has_the_whole_answer_when_it_is_looked_at_again(app, page, demo):
    first, second = demo.hold(), demo.hold()
    demo.will_say("One.\n\n", first, "Two.\n\n", second, "Three.")
    send(page, "Count")
    expect(last_answer(page)).to_contain_text("One.")
    for state in ("hidden", "visible", "hidden", "visible"):
        look(page, state)
    first.set()
    expect(last_answer(page)).to_contain_text("Two.")
    look(page, "hidden")
    second.set()
    until(lambda: app.extensions["live_turns"].open_count() == 0)
    expect(page.locator(".bill")).to_have_count(0)

    look(page, "visible")

    expect(page.locator(".bill")).to_be_visible()
    assert last_answer(page).locator(".prose").inner_text().split() == ["One.", "Two.", "Three."]
    assert (len(demo.requests), turns(app)) == (1, 1)


def look(page, state):
    """Put the tab into the background, "hidden", or before the eyes, "visible"."""
    page.evaluate(
        f"Object.defineProperty(document, 'visibilityState', {{value: '{state}', configurable: true}});"
        f"Object.defineProperty(document, 'hidden', {{value: {str(state == 'hidden').lower()}, configurable: true}});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


@pytest.mark.parametrize("settings", [{"stream_seconds": 0.3}])
def test_a_connection_that_lived_long_enough_is_replaced_without_anything_to_be_seen(page, demo):
    asked = stream_requests(page)
    page.evaluate(
        "window.seen = 0; new MutationObserver(() => { if (!document.getElementById('connection').hidden) window.seen++ })"
        ".observe(document.getElementById('connection'), {attributes: true})"
    )
    paragraphs = [f"Paragraph {number}.\n\n" for number in range(30)]
    holds = [demo.hold() for _ in paragraphs]
    demo.will_say(*(piece for pair in zip(holds, paragraphs, strict=True) for piece in pair))
    send(page, "Count")
    for hold in holds:
        page.wait_for_timeout(60)
        hold.set()

    expect(page.locator(".bill")).to_be_visible()
    assert last_answer(page).locator(".prose").inner_text().split("\n\n") == [each.strip() for each in paragraphs]
    assert len(asked) > 2
    assert page.evaluate("window.seen") == 0


def test_a_draft_that_outlived_its_login_is_sent_once_after_the_next(app, site, user, page, demo, complaints):
    from chatapp.auth.models import LoginSession
    from chatapp.kernel.database import write

    complaints.expect("Failed to load resource")
    send(page, "Hello")
    expect(page.locator(".bill")).to_be_visible()
    address = page.url
    with app.app_context(), write():
        LoginSession.end_all(user.id)
    send(page, "A long thought")
    page.wait_for_url("**/login**")
    assert turns(app) == 1
    page.context.add_cookies([cookie(app, site, user)])
    page.goto(address)
    expect(page.locator("#text")).to_have_value("A long thought")

    page.locator("#text").press("Enter")
    page.locator("#text").press("Enter")

    expect(page.locator(".bill")).to_have_count(2)
    expect(page.locator(".bubble")).to_have_text(["Hello", "A long thought"])
    page.reload()
    expect(page.locator("#text")).to_have_value("")
    assert (turns(app), len(demo.requests)) == (2, 2)


def test_text_that_hurts_looks_the_same_live_and_after_a_reload(page, demo, complaints):
    from tests.turns.test_hurting_text import HURTING

    texts = {name: pieces for name, pieces in HURTING.items() if name not in ("a very long line", "blanks")}
    live = []
    for number, (name, pieces) in enumerate(texts.items()):
        demo.will_say(*pieces)
        send(page, name)
        expect(page.locator(".bill")).to_have_count(number + 1)
        live.append(last_answer(page).locator(".prose").text_content())
    page.reload()

    assert page.locator(".answer .prose").all_text_contents() == live
    assert all(live)
    assert page.evaluate("window.pwn") is None
    assert page.locator(".prose :is(script, [hx-get])").count() == 0
    expect(page.locator("#text")).to_be_visible()


class Door:
    """A proxy before several processes: it lets each connection in at the first that opens, as a load balancer does."""

    def __init__(self, *urls: str) -> None:
        self.ports = [int(url.rpartition(":")[2]) for url in urls]
        self._server = StreamServer(("127.0.0.1", 0), self._serve)

    def __enter__(self) -> str:
        self._server.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_) -> None:
        self._server.stop(timeout=0)

    def _serve(self, client, _address) -> None:
        for port in self.ports:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
                up = gevent.spawn(self._carry, client, server)
                self._carry(server, client)
                up.kill()
                return

    @staticmethod
    def _carry(source, target) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.redis
def test_a_page_whose_process_is_killed_heals_by_itself_and_can_go_on(
    products,
    gemini,
    new_context,
    complaints,
    postgresql_url,
):
    complaints.expect("Failed to load resource")
    complaints.expect("htmx:")
    complaints.expect("ERR_")
    first, second = products(gemini)
    gemini.post("/__script", json={"steps": ["So far, ", "so good", {"hold": True}]})
    with Door(first.server.url, second.server.url) as address:
        context = new_context(base_url=address)
        context.add_cookies([{"name": "session", "value": first.person.cookie, "url": address}])
        page = context.new_page()
        page.goto("/")
        send(page, "Tell me")
        expect(last_answer(page)).to_contain_text("so good")
        page.wait_for_timeout(300)

        first.server.kill()

        expect(last_answer(page)).to_contain_text("interrupted", timeout=30_000)
        assert last_answer(page).locator(".prose").inner_text() == "So far, so good"
        page.get_by_role("button", name="Continue").click()
        expect(last_answer(page)).to_contain_text("You said")
        expect(page.locator("#connection")).to_be_hidden()
    invariants.hold(postgresql_url)


def test_six_tabs_that_listen_leave_the_browser_room_for_a_seventh_and_for_stop(page, demo):
    holds = [[demo.hold(), demo.hold()] for _ in range(6)]
    tabs = [page, *(page.context.new_page() for _ in range(5))]
    for tab, (first, second) in zip(tabs, holds, strict=True):
        demo.will_say("One ", first, "two ", second, "three.")
        tab.goto("/")
        send(tab, "Hi")
        expect(last_answer(tab)).to_contain_text("One")

    with page.context.expect_page() as opened:
        page.evaluate("open('/')")
    expect(opened.value.locator("#text")).to_be_visible(timeout=2000)
    for tab, (first, _second) in zip(tabs, holds, strict=True):
        first.set()
        expect(last_answer(tab)).to_contain_text("two", timeout=2000)
    tabs[0].locator("#stop").click()
    expect(last_answer(tabs[0])).to_contain_text("You stopped this answer.", timeout=2000)
    for tab, (_first, second) in list(zip(tabs, holds, strict=True))[1:]:
        second.set()
        expect(last_answer(tab)).to_contain_text("three.")
        expect(tab.locator("[data-open]")).to_have_count(0)
