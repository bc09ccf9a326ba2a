"""Hostile outputs in Chromium, with the page's own scripts and policy: nothing runs, nothing loads, nothing gets out."""

import random
import re
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, SubElement

import pytest
from gevent.pywsgi import WSGIServer

from tests.auth.browser import signed_in
from tests.rendering import corpus
from tests.rendering.hostile import broken, foreign_elements

pytestmark = pytest.mark.browser

SEED = random.SystemRandom().randrange(10**6)
AT_ONCE = 28  # A page shows the last thirty exchanges.
CORPUS = corpus.read()
SHARES = [CORPUS[start : start + AT_ONCE] for start in range(0, len(CORPUS), AT_ONCE)] or [
    pytest.param([], marks=pytest.mark.skip(reason=f"no corpus at {corpus.CORPUS}"))
]
OUR_PATHS = re.compile(
    r"/(chats(/news|/[0-9a-f-]{36}(/messages|/news)?)?|turns/[0-9a-f-]{36}/stream|drafts|static/.*|login|)\Z"
)

TRAP = "window.pwned = []; window.pwn = (...values) => { window.pwned.push(values); };"
SEND = """async (texts) => {
    for (const [at, text] of texts.entries()) {
        document.querySelector("#text").value = text;
        document.querySelector("#composer").requestSubmit();
        const until = Date.now() + 20_000;
        while (document.querySelectorAll(".bill").length < at + 1 || document.querySelector(".answer[aria-busy]")) {
            if (Date.now() > until) throw new Error(`no end of answer ${at}`);
            await new Promise((next) => setTimeout(next, 5));
        }
    }
}"""
# Of each answer: its elements as [namespace, name, attributes], its text, and whether it keeps to its place.
LOOK = """() => [...document.querySelectorAll("#log > .turn")].map((turn) => {
    const prose = turn.querySelector(".answer > .prose");
    const parts = [...prose.children].flatMap((part) => [...part.querySelectorAll("*")]);
    return {
        elements: parts.map((e) => [e.namespaceURI, e.localName, [...e.attributes].map((a) => [a.name, a.value])]),
        html: [...prose.children].map((part) => part.innerHTML).join(""),
        text: prose.innerText,
        question: turn.querySelector(".bubble").textContent,
        inBubble: turn.querySelector(".bubble").children.length,
        isWhole: [...turn.children].map((e) => e.className).join() === "question,answer" && prose.children.length === 2,
        isSeen: turn.querySelector(".bill > summary").checkVisibility(),
        direction: getComputedStyle(turn.querySelector(".answer > footer")).direction,
        isolation: getComputedStyle(prose).unicodeBidi,
    };
})"""
TOUCH = """() => {
    document.addEventListener("click", (event) => event.preventDefault(), true);
    for (const element of document.querySelectorAll(".prose *, .bubble *, #chats bdi *")) {
        for (const kind of ["mouseover", "mouseenter", "pointerdown", "focus", "click", "toggle", "animationend"])
            element.dispatchEvent(new MouseEvent(kind, { bubbles: true, cancelable: true }));
    }
    return window.pwned;
}"""
FRAME = """() => [...document.body.children, ...document.querySelector("main").children].map((e) => e.localName + "#" + e.id)"""


@pytest.fixture
def settings():
    return {"token_limit": 10**9, "max_output_tokens": 10**6}


@pytest.fixture
def page(app, user, new_context):
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None)
    server.start()
    site = f"http://127.0.0.1:{server.server_port}"
    context = new_context(base_url=site)
    context.add_cookies([{"name": "session", "value": signed_in(app, user.id).cookie(), "url": site}])
    page = context.new_page()
    page.add_init_script(TRAP)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url.removeprefix(site)))
    yield page
    context.close()
    server.stop(timeout=1)


def as_question(line):
    return line.saved.strip()[:4000].strip() or "?"


def element_of(seen):
    """The answer as the browser has parsed it, in the shape that the checker knows."""
    message = Element("article")
    message.text = seen["text"]
    for namespace, name, attributes in seen["elements"]:
        SubElement(message, f"{{{namespace}}}{name}", dict(attributes))
    return message


def nothing_happened(page, frame):
    assert page.evaluate(TOUCH) == []
    assert page.evaluate(FRAME) == frame
    assert [url for url in page.asked if not OUR_PATHS.match(urlsplit(url).path) or url.startswith("http")] == []


def each_is_harmless(page, lines):
    seen = page.evaluate(LOOK)
    assert len(seen) == len(lines)
    for line, one in zip(lines, seen, strict=True):
        message, said = element_of(one), (line.name, SEED)
        assert (said, broken(message, line.must_not), foreign_elements(message)) == (said, [], [])
        assert (said, one["isWhole"], one["isSeen"], one["inBubble"]) == (said, True, True, 0)
        assert (said, one["question"]) == (said, as_question(line))
        assert (said, one["direction"], "isolate" in one["isolation"]) == (said, "ltr", True)
    return [one["html"] for one in seen]


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("share", SHARES, ids=range(len(SHARES)))
def test_an_answer_is_harmless_while_it_streams_and_after_a_reload(page, demo, share, is_cut):
    page.goto("/")
    frame = page.evaluate(FRAME)
    for line in share:
        demo.will_say(*(line.pieces(SEED) if is_cut else [line.text]))

    page.evaluate(SEND, [as_question(line) for line in share])

    streamed = each_is_harmless(page, share)
    nothing_happened(page, frame)
    page.reload()
    assert each_is_harmless(page, share) == streamed
    nothing_happened(page, frame)


@pytest.mark.skipif(not CORPUS, reason=f"no corpus at {corpus.CORPUS}")
def test_a_title_is_harmless_in_the_list_and_at_the_head_of_its_page(page, api):
    page.goto("/chats")
    frame = page.evaluate(FRAME)
    titles = {}
    for line in CORPUS:
        title = " ".join(line.saved.split())[:200].strip()
        if title:
            chat = api.new_chat(title=title)
            titles[chat] = api.call("GET", f"/chat/{chat}").get_json()["title"]

    page.goto("/chats?limit=500")

    shown = page.evaluate(
        """() => [...document.querySelectorAll("main .links a, #chats .chat-row > a:first-child")].map((link) => {
            const title = link.querySelector("bdi");
            const isolation = getComputedStyle(title).unicodeBidi;
            return [link.pathname.slice(7), title.textContent, title.children.length, isolation];
        })"""
    )
    assert {row for row, *_ in shown} == set(titles)
    for row, text, elements, isolation in shown:
        assert (text, elements, isolation) == (titles[row], 0, "isolate")
    nothing_happened(page, frame)
    page.goto(f"/chats/{api.new_chat(title='Plain')}")
    frame = page.evaluate(FRAME)
    for row in list(titles)[:: len(titles) // 8]:
        page.goto(f"/chats/{row}")
        assert page.title().split() == f"{titles[row]} · Tally".split()
        nothing_happened(page, frame)
