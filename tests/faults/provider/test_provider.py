"""Gemini misbehaves before the whole product: what a page shows, what is charged, what the next turn is asked."""

import html
import re

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as some

from chatapp.conversation import stream as stream_frames
from tests.auth.browser import signed_in
from tests.faults.invariants import hold
from tests.scripted_gemini import says
from tests.turns.test_gemini_turns import ENDS, KEY, QUESTION, WRONG_KEY, app, gemini  # noqa: F401


@pytest.fixture
def browser(app, user):  # noqa: F811
    return signed_in(app, user.id)


WORDS = {
    "wrong key": "The model’s provider refused this site’s key. Please tell your administrator.",
    "503 for ever": "The model is overloaded. Try again in a moment.",
    "an empty answer": "The model gave no answer.",
    "safety after text": "The model’s safety rules stopped this answer.",
    "recitation after text": "The model’s safety rules stopped this answer.",
    "length": "The answer reached the length limit.",
    "RATE_LIMIT_ERROR": "The model is busy. Try again in a moment.",
    "CONTENT_BLOCKED": "The model’s safety rules blocked this message. Try rephrasing it.",
    ("interrupted", "PROVIDER_TIMEOUT", True): "The model stopped responding. The partial answer is saved.",
    ("interrupted", "PROVIDER_TIMEOUT", False): "The model stopped responding. No answer arrived.",
    ("interrupted", "PROVIDER_ERROR", True): "The answer was interrupted. The partial answer is saved.",
    ("interrupted", "PROVIDER_ERROR", False): "The answer was interrupted before it began.",
    "PROVIDER_ERROR": "The model couldn’t be reached.",
    None: "",
}


def words(end):
    keys = (end.name, (end.status, end.code, bool(end.text)), end.code)
    return next(WORDS[key] for key in keys if key in WORDS)


@pytest.mark.parametrize(("end", "settings"), [pytest.param(end, end.settings, id=end.name) for end in ENDS])
def test_a_page_tells_every_end_in_words_and_keeps_what_was_said(browser, api, gemini, end, sqlite_url):  # noqa: F811
    gemini.script(*end.gemini_does)
    chat = browser.post("/chats", text=QUESTION).headers["Location"].rpartition("/")[2]
    opened = browser.get(f"/chats/{chat}").text
    stream = re.search(r'hx-sse:connect="([^"]+)"', opened)

    told = browser.get(stream[1]).text if stream else ""
    shown = html.unescape(browser.get(f"/chats/{chat}").text)

    assert not stream or told.endswith(stream_frames.DONE)
    assert end.text in shown
    assert words(end) in shown
    assert not stream or words(end) in html.unescape(told)
    # What was cut off is gone on with; what the model would not say, or not a word came of, is asked again.
    is_cut = bool(end.text) and (end.status == "interrupted" or end.finish_reason == "length")
    assert ("Continue</button>" in shown) == is_cut
    assert ("Try again</button>" in shown) == (not end.text or end.finish_reason == "content_filter")
    assert [each["status"] for each in api.messages(chat)] == ["completed", end.status]
    assert not [key for key in (KEY, WRONG_KEY) if key in told + shown + opened]
    hold(sqlite_url)


@pytest.mark.parametrize("settings", [{"provider_total_seconds": 0.6}])
def test_a_drip_is_ended_by_the_total_limit(api, gemini, sqlite_url):  # noqa: F811
    chat = api.new_chat()
    gemini.script(says(*["on and on "] * 50, write_bytes=8, drip_seconds=0.02))

    heard = api.send(chat, QUESTION)

    assert heard.final["code"] == "PROVIDER_TIMEOUT"
    assert heard.text == api.messages(chat)[1]["content"]
    hold(sqlite_url)


@pytest.mark.parametrize("settings", [{"provider_idle_seconds": 0.4}])
def test_after_an_answer_without_a_word_the_next_question_still_alternates(api, gemini, sqlite_url):  # noqa: F811
    chat = api.new_chat()
    gemini.script(says("Well."), says(), says({"hold": True}), says("Better."))

    ends = [api.send(chat, f"Question {number}").final.get("code") for number in range(4)]

    assert ends == [None, "PROVIDER_ERROR", "PROVIDER_TIMEOUT", None]
    asked = [request.body["contents"] for request in gemini.requests if request.kind == "stream"][-1]
    assert [(part["role"], part["parts"][0]["text"]) for part in asked] == [
        ("user", "Question 0"), ("model", "Well."), ("user", "Question 3"),
    ]  # fmt: skip
    hold(sqlite_url)


figures = some.integers(-(2**70), 2**70) | some.floats() | some.text(max_size=5) | some.none()
usage = some.dictionaries(
    some.sampled_from(
        ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount", "cachedContentTokenCount"]
    ),
    figures,
) | some.sampled_from(["none", "running", [], 7])
odd = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=20),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(["candidates", "content", "parts", "text", "finishReason", "usageMetadata", "thought"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
steps = some.lists(
    some.text(max_size=30)
    | some.builds(lambda value: {"chunk": value}, some.dictionaries(some.just("candidates"), odd) | odd)
    | some.builds(lambda raw: {"raw_hex": raw.hex()}, some.binary(max_size=40)),
    max_size=5,
)
finish = some.sampled_from(
    ["STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "MALFORMED_FUNCTION_CALL", "NEW", None]
)


@pytest.mark.parametrize(
    "settings",
    [{"metering": metering, "token_limit": 10**9, "provider_tries": 1} for metering in ("exchange", "provider")],
)
def test_garbage_is_an_answer_or_an_error_and_never_costs_more_than_was_held(api, gemini, sqlite_url, settings):  # noqa: F811
    @limits(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(steps=steps, finish=finish, usage=usage)
    def say(steps, finish, usage):
        gemini.reset()
        gemini.script(says(*steps, finish=finish, usage=usage))
        chat, before = api.new_chat(), api.usage()["total_tokens_used"]

        heard = api.send(chat, QUESTION)

        question, answer = api.messages(chat)
        assert heard.final.get("done") or heard.final.get("code") in ("PROVIDER_ERROR", "CONTENT_BLOCKED")
        assert (question["content"], answer["content"]) == (QUESTION, heard.text)
        assert answer["usage"]["charged_tokens"] == heard.final["tokens_used"] >= 0
        assert api.usage()["total_tokens_used"] - before == heard.final["tokens_used"]
        assert api.usage()["reserved_tokens"] == 0

    say()
    hold(sqlite_url)
