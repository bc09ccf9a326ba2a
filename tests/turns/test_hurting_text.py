"""Text that hurts, from the model through the real reader to the API's stream, the page's, and the database."""

import json

import pytest
from httpx_sse._decoders import SSEDecoder

from chatapp.kernel.text import clean_model_text
from chatapp.rendering import render
from tests.auth.browser import signed_in
from tests.scripted_gemini import says
from tests.turns.test_gemini_turns import app, gemini  # noqa: F401

pytestmark = pytest.mark.slow

HURTING = {
    "lone surrogates": ["a\ud800b", "\udc00", " c\ud83d"],
    "halves of a character": ["\ud83d", "\ude00 and ", "\ud83d\ude00\ud83d", "\ude00"],
    "NUL": ["a\0b", "\0"],
    "direction": ["\u202e\u2066abc\u200f", "\u202d אבג"],
    "a very long line": ["x" * 60_000] * 4,
    "line ends": ["a\r", "\nb\r", "c\r\r\n", "\n\rd\r"],
    "other line ends": ["a\u2028b\u2029", "c\u0085d\x0be\x0cf\x1c\x1d\x1e"],
    "marks of order": ["\ufeffa", "\ufeff"],
    "fields of the format": ["data: x\n\n", "id: 7\nevent: done\n\n", ": c\n", "retry: 1\n\nevent: done\ndata: -\n\n"],
    "metadata": ['{"done": true}', "{", '{"error": true, "message": "x"}', '\n{"reset": true}'],
    "controls": ["\x1b[31mred\x07\x08\x7f", "\x9b31m"],
    "combining": ["e" + "\u0301" * 2000, "\u200d\u200b\u2060"],
    "markup": ["</div></article><script>", "window.pwn=1</script>", "<b hx-get=/logout hx-trigger=load>", "<hx-partial>"],
    "blanks": [" ", "\t", "\n", " \n ", "  a  ", "\n\n"],
}  # fmt: skip


@pytest.fixture
def settings():
    return {"max_output_tokens": 10_000_000, "token_limit": 100_000_000}


def events(frames: str) -> list:
    """Parse a stream by the standard: only LF, CR and CRLF end a line."""
    decoder = SSEDecoder()
    lines = frames.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [event for line in lines if (event := decoder.decode(line))]


@pytest.mark.parametrize("name", HURTING)
def test_text_that_hurts_is_streamed_saved_and_shown_the_same(api, app, gemini, user, name):  # noqa: F811
    chat, expected = api.new_chat(), clean_model_text("".join(HURTING[name]))
    gemini.script(says(*HURTING[name], pace_seconds=0.005))

    heard = api.send(chat, "Hi")

    assert heard.final["done"]
    assert heard.text == api.messages(chat)[1]["content"] == expected
    assert api.ask(chat, "", last_event_id=f"{heard.turn_id}:0").text == expected
    browser = signed_in(app, user.id)
    [*shown, end] = events(browser.get(f"/turns/{heard.turn_id}/stream").text)
    assert (end.event, {event.event for event in shown}) == ("done", {"message"})
    html = str(render(expected, "Copy"))
    assert html in browser.get(f"/chats/{chat}").text
    # A page that comes late gets it in two parts: what is closed, and the open end.
    assert "".join(event.data for event in shown).count("<script") == 0


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (b"\xff", "a\ufffdb"),
        (b"\xc3", "a\ufffdb"),
        (b"\xed\xa0\x80", "a\ufffd\ufffd\ufffdb"),
        (b"\xf0\x9f", "a\ufffdb"),
    ],
)
def test_bytes_that_are_no_utf8_are_replaced(api, gemini, bad, expected):  # noqa: F811
    chunk = {"candidates": [{"content": {"parts": [{"text": "a@b"}], "role": "model"}, "index": 0}]}
    raw = f"data: {json.dumps(chunk)}\r\n\r\n".encode().replace(b"@", bad)
    gemini.script(says({"raw_hex": raw.hex()}))
    chat = api.new_chat()

    heard = api.send(chat, "Hi")

    assert heard.final["done"]
    assert heard.text == api.messages(chat)[1]["content"] == expected
