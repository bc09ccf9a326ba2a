"""The wire format to the letter, as clients hear it that nobody here wrote: curl and httpx-sse against real gunicorn."""

import json
import re
import subprocess
from collections import Counter
from functools import partial

import httpx
import pytest
from httpx_sse import connect_sse

from chatapp.turns.live.log import HEARTBEAT_SECONDS
from tests.api.product import GEMINI_KEY, Wire, running
from tests.scripted_gemini import ScriptedGemini, says
from tests.streams import Heard

HOLD = {"hold": True}
# Line ends of all kinds and across pieces, blanks at both ends, what looks like metadata or like a field of the format.
PIECES = [
    "one\n", "\n", "  two ", '{"done": true}', "\r", "\nthree\r", "four\r\n\r\n", "{", "\u2028 \u0085 \u2029", "🎨",
    "\ufeff", "data: x\n", ": y", "\nid: 7\n\n", "e\u0301", "\0", "\t end\n\n",
]  # fmt: skip
TEXT = "".join(PIECES).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


@pytest.fixture(scope="module")
def gemini():
    server = ScriptedGemini(api_key=GEMINI_KEY).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def product(tmp_path_factory, gemini):
    with running(tmp_path_factory.mktemp("product"), gemini) as product:
        yield product


@pytest.fixture(autouse=True)
def silence(gemini):
    gemini.reset()


@pytest.fixture
def chat(product):
    return product.new_chat()


def streams(gemini):
    return [request for request in gemini.requests if request.kind == "stream"]


# curl


def curl(product, path, *arguments, **options):
    command = ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "20", *arguments, product.url + path]
    return subprocess.Popen(command, stdout=subprocess.PIPE, **options)


def posting(product, message):
    yield from ("--header", f"Authorization: Bearer {product.key}", "--header", "Content-Type: application/json")
    yield from ("--data-binary", json.dumps({"message": message}))


def read_until(output, end):
    """Return the bytes that have come when the first frame with those in it is whole."""
    raw = b""
    while not (end in raw and raw.endswith(b"\n\n")):
        raw += (byte := output.read(1))
        assert byte, raw
    return raw


FRAMES = [
    ("Hello,", "data: Hello,\n", " world", "data:  world\n"),
    ("one\ntwo\n\n", "data: one\ndata: two\ndata: \ndata: \n", "\nthree", "data: \ndata: three\n"),
    ("  x\r\ny", "data:   x\ndata: y\n", "a\rb\u2028c", "data: a\ndata: b\u2028c\n"),
    ("🎨", "data: 🎨\n", '{"a": "🎨\n"}', 'data: {"chunk": "{\\"a\\": \\"🎨\\n\\"}", "done": false}\n'),
    ("{", 'data: {"chunk": "{", "done": false}\n', " {", "data:  {\n"),
]


@pytest.mark.parametrize(("first", "first_data", "second", "second_data"), FRAMES)
def test_curl_hears_these_bytes_and_the_first_of_them_at_once(
    product, gemini, chat, first, first_data, second, second_data
):
    gemini.script(says(first, HOLD, second))
    with curl(product, f"/api/chat/{chat}/message", *posting(product, "Hi"), bufsize=0) as process:
        begun = read_until(process.stdout, b"data: ")
        gemini.release()
        raw = (begun + process.stdout.read()).decode()

    answer = product.messages(chat)[1]
    assert answer["content"] == (first + second).replace("\r\n", "\n").replace("\r", "\n")
    turn = re.match(r"id: ([0-9a-f-]{36}):0\n", raw)[1]
    end = {
        "done": True,
        "tokens_used": answer["tokens_consumed"],
        "message_id": answer["id"],
        "remaining_tokens": product.client.get("/api/user/token-usage").json()["remaining_tokens"],
        "calculation_method": "api",
        "finish_reason": "stop",
    }
    first_end = len(first.replace("\r\n", "\n"))
    assert raw == (
        f"id: {turn}:0\n\n"
        f"id: {turn}:{first_end}\n{first_data}\n"
        f"id: {turn}:{len(answer['content'])}\n{second_data}\n"
        f"id: {turn}:end\ndata: {json.dumps(end)}\n\n"
    )


def test_the_headers_are_these_and_each_comes_once(product, chat):
    origin = ("--header", "Origin: https://elsewhere.example")
    with curl(product, f"/api/chat/{chat}/message", "--include", *origin, *posting(product, "Hi")) as process:
        lines = process.stdout.read().decode().partition("\r\n\r\n")[0].splitlines()[1:]

    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert (headers["connection"], headers["transfer-encoding"]) == ("keep-alive", "chunked")
    assert max(Counter(line.partition(":")[0].lower() for line in lines).values()) == 1
    assert not any(name.startswith("access-control-") for name in headers)


def test_connection_and_transfer_encoding_are_left_to_the_server(api):
    response = api.call("POST", f"/chat/{api.new_chat()}/message", json={"message": "Hi"})

    assert response.mimetype == "text/event-stream"
    assert {"connection", "transfer-encoding", "content-length"}.isdisjoint(map(str.lower, response.headers.keys()))
    response.close()


def test_no_other_origin_is_let_in(product, chat):
    asking = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}

    response = product.client.options(f"/api/chat/{chat}/message", headers=asking)

    assert not any(name.startswith("access-control-") for name in response.headers)


# httpx-sse


def hear(product, method, chat, pieces=None, last_event_id=None, url="", **query):
    """Listen until the end, until some pieces have come, or until the line breaks; start or, with an id, go on."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    sent = {"json": {"message": "Go"}} if method == "POST" else {"params": {"msg": "Go", **query}}
    heard = None
    try:
        with connect_sse(product.client, method, f"{url}/api/chat/{chat}/message", headers=headers, **sent) as source:
            heard = Heard(source.response.status_code)
            for event in source.iter_sse() if heard.status == 200 else ():
                heard.take(event)
                if pieces is not None and len(heard.pieces) >= pieces:
                    break
    except httpx.TransportError:
        assert url, "only a wire that cuts may break"
    return heard or Heard(0)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_pieces_joined_are_the_saved_text(product, gemini, chat, method):
    gemini.script(says(*PIECES, pace_seconds=0.03))

    heard = hear(product, method, chat)

    assert heard.text == product.messages(chat)[1]["content"] == TEXT
    assert len(heard.pieces) > 3


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("pieces", [1, 3, 6])
def test_a_connection_that_is_cut_goes_on_right_there(product, gemini, chat, method, pieces):
    gemini.script(says(*PIECES, pace_seconds=0.03))
    first = hear(product, method, chat, pieces)

    rest = hear(product, "GET", chat, last_event_id=first.ids[-1])

    assert first.text != TEXT
    assert first.text + rest.text == product.messages(chat)[1]["content"] == TEXT
    assert len(streams(gemini)) == 1


@pytest.mark.parametrize("piece_seconds", [0.0, 0.03])
def test_a_connection_for_each_piece_makes_the_whole_text(product, gemini, chat, piece_seconds):
    gemini.script(says(*PIECES, pace_seconds=piece_seconds))
    heard = hear(product, "GET", chat, 1)
    text = heard.text
    while not heard.ids[-1].endswith(":end"):
        heard = hear(product, "GET", chat, 1, last_event_id=heard.ids[-1])
        text += heard.text

    assert text == product.messages(chat)[1]["content"] == TEXT
    assert hear(product, "GET", chat, last_event_id=heard.ids[-1]).status == 204
    assert len(streams(gemini)) == 1


@pytest.mark.parametrize("is_rough", [False, True])
def test_a_wire_that_breaks_anywhere_loses_and_repeats_nothing(product, gemini, chat, is_rough):
    gemini.script(says(*PIECES, pace_seconds=0.03))
    cuts = [60, 75, 150, 160, 201, 222]
    with Wire(product.url, list(cuts), is_rough) as wire:
        heard = hear(product, "GET", chat, url=wire.url)
        text, last_id, listened = heard.text, (heard.ids or [None])[-1], 1
        while not heard.final:
            heard = hear(product, "GET", chat, last_event_id=last_id, url=wire.url)
            text, last_id, listened = text + heard.text, (heard.ids or [last_id])[-1], listened + 1

    assert text == product.messages(chat)[1]["content"] == TEXT
    assert listened == len(wire.exchanges) > len(cuts)
    assert [exchange.sent_bytes for exchange in wire.exchanges[:-1]] == cuts
    assert len(streams(gemini)) == 1


def test_a_repeated_post_with_its_key_hears_the_same_once_more(product, gemini, chat):
    gemini.script(says(*PIECES))
    headers = {"Idempotency-Key": "a-key-of-the-client"}
    ask = partial(product.client.post, f"/api/chat/{chat}/message", json={"message": "Go"}, headers=headers)

    first, second = ask(), ask()

    last = [response.text.split("\n\n")[-2] for response in (first, second)]
    assert last[0] == last[1]
    assert len(streams(gemini)) == 1


# Before the stream


def refusal(response):
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("size_bytes", [40, 2_000_000])
def test_a_body_without_a_length_is_refused(product, gemini, chat, size_bytes):
    body = (part for part in [b'{"message": "', b"x" * size_bytes, b'"}'])

    response = product.client.post(
        f"/api/chat/{chat}/message", content=body, headers={"Content-Type": "application/json"}
    )

    assert refusal(response) == (411, "INVALID_REQUEST")
    assert product.messages(chat) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"message": "' + b"x" * 2_000_000 + b'"}', (413, "INVALID_REQUEST")),
        (b'{"message": ' + b"[" * 200_000, (400, "INVALID_MESSAGE")),
        (b'{"message": ' + b'{"a":' * 40_000 + b"1" + b"}" * 40_001, (400, "INVALID_MESSAGE")),
        (b'{"message": ' + b"9" * 200_000 + b"}", (400, "INVALID_MESSAGE")),
        (b'{"message": "\xff"}', (400, "INVALID_MESSAGE")),
    ],
)
def test_a_hostile_body_is_refused_and_the_next_is_served(product, chat, body, expected):
    headers = {"Content-Type": "application/json"}

    assert refusal(product.client.post(f"/api/chat/{chat}/message", content=body, headers=headers)) == expected
    assert hear(product, "POST", chat).final["done"]


def test_a_cookie_writes_with_its_token_only(product, chat):
    with httpx.Client(base_url=product.url) as browser:
        # With its host, so that the page's own cookie takes its place.
        browser.cookies.set("session", product.cookie, domain="127.0.0.1")
        token = re.search(r'<meta name="csrf-token" content="([^"]+)"', browser.get("/").text)[1]
        address, body = f"/api/chat/{chat}/message", {"message": "Hi"}

        assert refusal(browser.post(address, json=body)) == (403, "CSRF_FAILED")
        assert product.messages(chat) == []
        assert '"done": true' in browser.post(address, json=body, headers={"X-CSRFToken": token}).text


def test_neither_keys_nor_messages_stand_in_the_log(product, chat):
    asked = product.client.get(
        f"/api/chat/{chat}/message", params={"msg": "a-marker-in-the-text"}, headers={"Accept": "text/event-stream"}
    )

    assert "a-marker-in-the-text" in asked.text
    log = product.process.log()
    assert "Token calculation completed" in log
    assert not [secret for secret in (product.key, GEMINI_KEY, "a-marker-in-the-text") if secret in log]


# While the model is silent


def test_a_silent_stream_shows_that_it_lives(app, api, demo, monkeypatch):
    turns = app.extensions["live_turns"]
    monkeypatch.setattr(turns, "follow", partial(turns.follow, heartbeat_seconds=0.02))
    demo.will_say(demo.hold(), "Hello.")

    chunks = api.call("POST", f"/chat/{api.new_chat()}/message", json={"message": "Hi"}).iter_encoded()

    assert next(chunks).endswith(b":0\n\n")
    assert [next(chunks), next(chunks)] == [b": keep-alive\n\n"] * 2
    demo.release()
    assert b"data: Hello.\n\n" in b"".join(chunks)
    assert HEARTBEAT_SECONDS <= 15
