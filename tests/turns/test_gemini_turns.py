"""What becomes of a turn when Gemini refuses, breaks off, falls silent or talks nonsense: told, saved, settled once.

The real provider speaks through its real SDK, over real sockets, to a scripted server.
"""

import logging
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest

from chatapp import create_app
from chatapp.kernel.extensions import db
from chatapp.providers import retry
from tests.scripted_gemini import Answer, ScriptedGemini, blocks, refuses, says, tokens_of
from tests.streams import until
from tests.turns.test_turns import settled_once

KEY = "AIza-the-secret-key"
WRONG_KEY = "AIza-wrong-and-secret"
QUESTION = "Tell me"
HALF_A_CHARACTER = b'data: {"candidates": [{"content": {"parts": [{"text": "'.hex() + "f09f"
HOLD, RESET, CLOSE = {"hold": True}, {"reset": True}, {"close": True}
BREAKS_DOWN = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}
UNREACHABLE = {"gemini_base_url": "http://127.0.0.1:1"}
IMPATIENT = {"provider_idle_seconds": 0.4}


@pytest.fixture
def gemini():
    server = ScriptedGemini(api_key=KEY).start()
    yield server
    server.stop()


@pytest.fixture
def app(sqlite_url, tmp_path, gemini, settings, monkeypatch):
    """The application as its settings wire it with a key of Gemini's, and with short pauses between two tries."""
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.02)
    values = {"database_url": sqlite_url, "instance_dir": tmp_path / "instance", "rate_limits": False}
    values |= {"secret_key": "x" * 32, "gemini_api_key": KEY, "gemini_base_url": gemini.url}
    app = create_app(**(values | settings))
    app.extensions["providers"].warm_up()
    yield app
    gemini.release()
    app.extensions["live_turns"].close()
    with app.app_context():
        db.engine.dispose()


@dataclass
class End:
    """A row of the contract's table: what Gemini does, and what the client, the database and the ledger then have."""

    name: str
    gemini_does: list[Answer]
    status: str
    code: str | None = None
    text: str = ""
    is_charged: bool = True
    asked: int = 1
    finish_reason: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def charge_tokens(self) -> int:
        """The question, the answer as far as it came, the overhead; each text by the server's own count."""
        answer_tokens = tokens_of(self.text) + 1 if self.text else 0
        return tokens_of(QUESTION) + 1 + answer_tokens + 10 if self.is_charged else 0


def completed(name, *does, text, finish_reason="stop", **fields):
    return End(name, list(does), "completed", text=text, finish_reason=finish_reason, **fields)


def interrupted(name, *does, code="PROVIDER_ERROR", **fields):
    return End(name, list(does), "interrupted", code, **fields)


def failed(name, *does, code="PROVIDER_ERROR", **fields):
    return End(name, list(does), "failed", code, **fields)


def never_came(name, *does, **fields):
    return failed(name, *does, **({"is_charged": False} | fields))


ENDS = [
    completed("429, then well", refuses(429, retry_delay="0.1s"), says("Hel", "lo."), text="Hello.", asked=2),
    completed("503, then reset, then well", refuses(503), Answer(refuse="reset"), says("Hi."), text="Hi.", asked=3),
    never_came("429 for ever", refuses(429, times=0), code="RATE_LIMIT_ERROR", asked=3),
    never_came("429 with a long wait", refuses(429, retry_delay="3600s"), code="RATE_LIMIT_ERROR"),
    never_came("503 for ever", refuses(503, times=0), asked=3),
    never_came("an HTML error page", Answer(status=502, body="<html>Bad gateway", times=0), asked=3),
    never_came("400", refuses(400)),
    never_came("wrong key", settings={"gemini_api_key": WRONG_KEY}),
    never_came("connection refused", asked=0, settings=UNREACHABLE),
    never_came("reset without a reply", Answer(refuse="reset", times=0), asked=3),
    never_came("closed without a reply", Answer(refuse="close", times=0), asked=3),
    never_came("reset right after the headers", says("Hi.", reset_after_bytes=0, times=0), asked=3),
    never_came("garbage at once", says({"raw": "data: {nonsense\r\n\r\n"}, finish=None)),
    interrupted("reset after text", says("So far", RESET), text="So far"),
    interrupted("closed after text", says("So far", CLOSE), text="So far"),
    interrupted("reset within a character", says("So far", {"raw_hex": HALF_A_CHARACTER}, RESET), text="So far"),
    interrupted("an error after text", says("So far", BREAKS_DOWN), text="So far"),
    interrupted("no finish", says("So far", finish=None), text="So far"),
    interrupted("garbage after text", says("So far", {"raw": "data: {nonsense\r\n\r\n"}), text="So far"),
    interrupted("silence before the headers", Answer(wait_seconds=30), code="PROVIDER_TIMEOUT", settings=IMPATIENT),
    interrupted("silence before text", says(HOLD, "never"), code="PROVIDER_TIMEOUT", settings=IMPATIENT),
    interrupted("silence after text", says("So far", HOLD), code="PROVIDER_TIMEOUT", text="So far", settings=IMPATIENT),
    failed("prompt blocked", blocks(), code="CONTENT_BLOCKED", finish_reason="content_filter"),
    failed("safety without text", says(finish="SAFETY"), code="CONTENT_BLOCKED", finish_reason="content_filter"),
    failed("an empty answer", says(), finish_reason="stop"),
    completed("safety after text", says("So far", finish="SAFETY"), text="So far", finish_reason="content_filter"),
    completed(
        "recitation after text", says("So far", finish="RECITATION"), text="So far", finish_reason="content_filter"
    ),
    never_came("500 for ever", refuses(500, times=0), asked=3),
    completed("length", says("So far", finish="MAX_TOKENS"), text="So far", finish_reason="length"),
    completed("no usage", says("Hi.", usage="none"), text="Hi."),
    completed("negative usage", says("Hi.", usage={"promptTokenCount": -5, "candidatesTokenCount": -9}), text="Hi."),
    completed("huge usage", says("Hi.", usage={"promptTokenCount": 2**62}), text="Hi."),
]


@pytest.mark.parametrize(("end", "settings"), [pytest.param(end, end.settings, id=end.name) for end in ENDS])
def test_every_end_is_told_saved_and_settled_once(app, api, gemini, end):
    chat = api.new_chat()
    gemini.script(*end.gemini_does)

    heard = api.send(chat, QUESTION)

    answer = api.messages(chat)[1]
    final = heard.final
    assert (final.get("code"), final.get("done"), final["finish_reason"]) == (
        end.code, None if end.code else True, end.finish_reason,
    )  # fmt: skip
    assert (answer["status"], answer["content"], heard.text) == (end.status, end.text, end.text)
    assert answer["tokens_consumed"] == final["tokens_used"] == end.charge_tokens
    assert (api.usage()["total_tokens_used"], api.usage()["reserved_tokens"]) == (end.charge_tokens, 0)
    assert len(streams(gemini)) == end.asked
    settled_once(app)


def streams(gemini):
    return [request for request in gemini.requests if request.kind == "stream"]


def test_a_wait_that_gemini_asks_for_is_kept(api, gemini):
    gemini.script(refuses(429, retry_delay="0.3s"), says("Hello."))

    assert api.send(api.new_chat(), QUESTION).text == "Hello."

    first, second = streams(gemini)
    assert second.opened_at - first.opened_at >= 0.3


@pytest.mark.parametrize("settings", [{"provider_total_seconds": 0.5}])
def test_an_answer_without_end_is_ended_and_kept_as_far_as_it_came(app, api, gemini):
    chat = api.new_chat()
    gemini.script(says(*["on and "] * 200, pace_seconds=0.02))

    heard = api.send(chat, QUESTION)

    assert heard.final["code"] == "PROVIDER_TIMEOUT"
    assert heard.text == api.messages(chat)[1]["content"]
    assert heard.text.startswith("on and on and ")
    settled_once(app)


@pytest.mark.parametrize("settings", [{"metering": "provider", "token_limit": 1000}])
@pytest.mark.parametrize(
    ("usage", "method", "charged"),
    [
        ({"promptTokenCount": 30, "candidatesTokenCount": 5, "thoughtsTokenCount": 7}, "reported", 42),
        ({"promptTokenCount": 2**62, "candidatesTokenCount": 5}, "reported", 1000),
        ({"promptTokenCount": -(2**62), "candidatesTokenCount": 5}, "reported", 5),
        ({"promptTokenCount": -1, "candidatesTokenCount": -1}, "api", 3 + 2 + 10),
        ("none", "api", 3 + 2 + 10),
    ],
)
def test_what_gemini_reports_is_never_charged_beyond_the_limit(app, api, gemini, usage, method, charged):
    gemini.script(says("Hi.", usage=usage))

    final = api.send(api.new_chat(), QUESTION).final

    assert (final["calculation_method"], final["tokens_used"]) == (method, charged)
    assert api.usage()["total_tokens_used"] == charged <= 1000
    settled_once(app)


@pytest.mark.parametrize("settings", [{"gemini_api_key": WRONG_KEY}])
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
def test_a_key_in_geminis_words_reaches_neither_client_nor_log(api, gemini, caplog, status):
    caplog.set_level(logging.INFO)
    chat, address = api.new_chat(), "/chat/{}/message"
    if status != 400:  # A 400 in these words is what the server says of a wrong key by itself.
        gemini.api_key = WRONG_KEY
        gemini.script(refuses(status, message=f"API key not valid: {WRONG_KEY}", times=0))

    told = api.call("POST", address.format(chat), json={"message": QUESTION}).text

    assert streams(gemini)[0].headers["x-goog-api-key"] == WRONG_KEY
    assert '"error": true' in told
    assert str(status) in caplog.text
    assert WRONG_KEY not in told + caplog.text + api.call("GET", f"/chat/{chat}").text


@pytest.mark.parametrize("does", [says(HOLD), says("So far", HOLD), Answer(wait_seconds=30)])
def test_a_stop_hangs_up_on_gemini_at_once(app, api, gemini, does):
    chat = api.new_chat()
    gemini.script(does)
    reading = gevent.spawn(api.send, chat, QUESTION)
    text = "So far" if "So far" in does.steps else ""
    until(lambda: streams(gemini) and api.messages(chat)[-1]["content"] == text)

    api.call("POST", f"/chat/{chat}/stop")

    assert gemini.wait_until(lambda: streams(gemini)[0].state == "closed", seconds=1)
    assert reading.get(timeout=30).final["code"] == "TURN_STOPPED"
    assert (api.messages(chat)[1]["status"], api.messages(chat)[1]["content"]) == ("stopped", text)
    settled_once(app)


def test_a_stop_while_waiting_to_try_again_asks_no_more(app, api, gemini):
    chat = api.new_chat()
    gemini.script(refuses(429, retry_delay="20s", times=0))
    reading = gevent.spawn(api.send, chat, QUESTION)
    until(lambda: [request.state for request in streams(gemini)] == ["done"])

    api.call("POST", f"/chat/{chat}/stop")

    assert reading.get(timeout=30).final["code"] == "TURN_STOPPED"
    assert len(streams(gemini)) == 1
    settled_once(app)
