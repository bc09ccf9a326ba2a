"""The page's stream: frames of HTML, and the routes around it."""

import re
from uuid import UUID, uuid4

import pytest

from chatapp.conversation import stream as stream_frames
from chatapp.providers.base import Chunk
from chatapp.turns.live.log import Ending, Piece, Thought
from tests.auth.browser import signed_in
from tests.auth.test_auth_sessions import fails
from tests.streams import read, until

ANSWER = UUID("11111111-1111-1111-1111-111111111111")
ENDING = Ending("completed", ANSWER, 12, 100, "estimate", "stop")


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self, seconds_per_look: float = 0.0) -> None:
        self.now, self.step = 0.0, seconds_per_look

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def stream(*heard, is_good=lambda: True, clock=None, slept=None):
    sleep = (slept if slept is not None else []).append
    return list(
        stream_frames.frames(ANSWER, heard, lambda ending: "<i>end</i>", is_good, clock=clock or Clock(), sleep=sleep)
    )


def test_the_first_frame_is_the_whole_state():
    frame = stream(Piece("One.\n\nTwo.\n\nThree.\n\nFour", 25))[1]

    assert f'<div id="m{ANSWER}-blocks" hx-swap-oob="innerHTML"><p dir="auto">One.' in frame
    assert f'<div id="m{ANSWER}-tail" hx-swap-oob="innerHTML"><p dir="auto">Three.' in frame


def test_a_block_that_is_final_is_sent_once_and_the_open_end_again():
    frames = stream(Piece("One.\n\nTwo", 8), Piece(".\n\nThr", 16), Piece("ee", 18))

    assert 'hx-swap-oob="beforeend"><p dir="auto">One.' in frames[2]
    assert "One." not in frames[3]
    assert "Two." in frames[2]
    assert "Three" in frames[3]


def test_thoughts_grow_within_their_fold():
    frames = stream(Thought("One.\n\nTwo"), Thought(".\n\nThree"), Piece("Yes", 3), ENDING)

    assert f'<div id="m{ANSWER}-thoughts" hx-swap-oob="innerHTML"><div class="prose"' in frames[1]
    assert "The model is thinking." in frames[1]
    assert f'<div id="m{ANSWER}-thoughts-tail" hx-swap-oob="innerHTML"><p dir="auto">Two.' in frames[2]
    assert "The answer is being written." in frames[3]
    assert "details" not in "".join(frames)


def test_thoughts_can_be_no_markup_of_the_page():
    assert "<script" not in "".join(
        stream(Thought("<script>alert(1)</script> and"), Thought(" <script src=x>"), ENDING)
    )


def test_text_that_begins_again_replaces_what_was_there():
    frames = stream(Piece("Old text", 8), Piece("New text", 8, reset=True))

    assert 'hx-swap-oob="innerHTML"' in frames[2]
    assert "Old" not in frames[2]
    assert "New text" in frames[2]


def test_the_code_that_grows_is_sent_alone():
    frames = stream(Piece("```python\nx = 1\n", 16), Piece("y = 2\n", 22))

    assert f'hx-swap-oob="beforeend:#m{ANSWER}-tail code">' in frames[2]
    assert "y = 2" in frames[2]
    assert "x = 1" not in frames[2]


def test_the_last_frame_brings_the_end_of_the_text_and_of_the_page():
    frames = stream(Piece("All of it", 9), ENDING)

    assert "All of it" in frames[-2]
    assert "<i>end</i>" in frames[-2]
    assert frames[-1] == stream_frames.DONE


def test_a_page_that_never_saw_a_piece_still_gets_the_end():
    assert stream(ENDING)[1:] == ["data: <i>end</i>\n\n", stream_frames.DONE]


def test_silence_is_filled_with_comments():
    assert stream(None, None)[1:3] == [stream_frames.KEEP_ALIVE] * 2


def test_a_login_that_ended_ends_the_stream_even_while_text_comes():
    answers = iter([True, False])
    pieces = [Piece(f"Word {number} ", number) for number in range(10)]

    frames = stream(*pieces, is_good=lambda: next(answers), clock=Clock(seconds_per_look=8))

    assert frames[-1] == stream_frames.DONE
    assert len(frames) < 8


def test_a_long_open_end_is_drawn_less_often():
    slept: list[float] = []

    stream(Piece("word " * 2000, 10_000), slept=slept)

    assert slept == [pytest.approx(0.05)]


def test_no_line_end_of_the_text_breaks_an_event():
    assert stream_frames.event("a\r\nb\rc\nd") == "data: a\ndata: b\ndata: c\ndata: d\n\n"


@pytest.mark.parametrize(
    ("hint", "agent", "tick"),
    [
        ("?1", "", stream_frames.PHONE_TICK_SECONDS),
        ("?0", "Mobile", stream_frames.TICK_SECONDS),
        (None, "… Mobile Safari", stream_frames.PHONE_TICK_SECONDS),
        (None, "Firefox", stream_frames.TICK_SECONDS),
    ],
)
def test_a_phone_is_sent_news_half_as_often(hint, agent, tick):
    assert stream_frames.tick_seconds(hint, agent) == tick


# The routes


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def begin(browser, text="Hello", **fields):
    answer = browser.post(
        "/chats", text=text, key=fields.pop("key", str(uuid4())), headers={"HX-Request": "true"}, **fields
    )
    assert answer.status_code == 200, answer.text
    return answer, re.search(r"/turns/([-0-9a-f]{36})/stream", answer.text)[1], answer.headers["HX-Push-Url"]


def test_a_message_is_answered_with_its_turn_and_what_changes_around_it(browser):
    answer, turn_id, address = begin(browser, "What is <b>HTML</b>?")

    assert "What is &lt;b&gt;HTML&lt;/b&gt;?" in answer.text
    assert f'hx-sse:connect="/turns/{turn_id}/stream"' in answer.text
    for part in ("composer", "chats", "title", "meter", "notice", "welcome", "status"):
        assert re.search(f'id="{part}"[^>]* hx-swap-oob', answer.text), part
    assert browser.get(address).status_code == 200


def test_the_stream_ends_with_the_figures_and_done(browser, demo):
    demo.will_say("Good", " day.")
    _, turn_id, _ = begin(browser)

    body = browser.get(f"/turns/{turn_id}/stream").text

    assert "Good day." in body
    assert "tokens · estimate" in body
    assert body.endswith(stream_frames.DONE)


def test_a_page_that_comes_while_it_thinks_has_the_thoughts_so_far(browser, demo):
    demo.will_say(Chunk(thought="Let me *see*."), demo.hold(), "Yes.")
    _, turn_id, address = begin(browser)
    until(lambda: browser.app.extensions["live_turns"]._log.get(UUID(turn_id)).thoughts)

    page = browser.get(address).text

    assert "Let me <em>see</em>." in page
    assert "Thinking …" in page


def test_a_turn_that_ended_is_told_whole_to_whoever_comes_late(browser, demo):
    demo.will_say("Good day.")
    _, turn_id, _ = begin(browser)
    first = browser.get(f"/turns/{turn_id}/stream").text

    assert "Good day." in browser.get(f"/turns/{turn_id}/stream").text
    assert "Good day." in first


def test_an_end_that_the_database_does_not_tell_is_fetched_by_a_page_that_comes_back(browser, demo, monkeypatch):
    demo.will_say("Good day.")
    _, turn_id, _ = begin(browser)
    with monkeypatch.context() as outage:
        outage.setattr("chatapp.chats.queries.versions", fails)
        first = browser.get(f"/turns/{turn_id}/stream").text

    assert "Good day." in first
    assert stream_frames.DONE not in first
    assert browser.get(f"/turns/{turn_id}/stream").text.endswith(stream_frames.DONE)


@pytest.mark.parametrize("who", ["nobody", "other"])
def test_a_turn_of_somebody_else_is_a_stream_that_ends_at_once(app, browser, other_user, who):
    _, turn_id, _ = begin(browser)
    asking = app.test_client() if who == "nobody" else signed_in(app, other_user.id).client

    for address in (f"/turns/{turn_id}/stream", f"/turns/{uuid4()}/stream"):
        answer = asking.get(address)
        assert (answer.status_code, answer.text) == (200, stream_frames.DONE)


def test_stop_keeps_what_was_said(browser, demo):
    demo.will_say("The beginning", demo.hold(), " the rest")
    _, turn_id, address = begin(browser)

    assert browser.post(f"/turns/{turn_id}/cancellation", headers={"HX-Request": "true"}).status_code == 204

    assert "You stopped this answer." in browser.get(f"/turns/{turn_id}/stream").text
    assert "the rest" not in browser.get(address).text


def test_a_failure_says_why_and_offers_to_ask_again(browser, demo):
    from chatapp.kernel.errors import ProviderMisconfigured

    demo.will_raise(ProviderMisconfigured())
    _, turn_id, address = begin(browser, "Why?")

    body = browser.get(f"/turns/{turn_id}/stream").text

    assert "connection to the model isn’t set up. Please tell your administrator." in body
    assert "Try again" in body
    assert "Please tell your administrator." in browser.get(address).text


def test_the_source_of_a_message_is_as_the_model_wrote_it(app, browser, demo, other_user):
    demo.will_say("**Bold** <i>")
    _, turn_id, _ = begin(browser)
    address = re.search(r"/messages/[-0-9a-f]+\.md", browser.get(f"/turns/{turn_id}/stream").text)[0]

    answer = browser.get(address)

    assert (answer.text, answer.mimetype) == ("**Bold** <i>", "text/plain")
    assert signed_in(app, other_user.id).get(address).status_code == 404


def test_the_api_and_the_page_say_the_same(app, browser, api, demo):
    demo.will_say("One *text*.")
    chat_id = api.new_chat()
    heard = read(api.client.post(f"/api/chat/{chat_id}/message", json={"message": "Hi"}, headers=api.headers))

    assert "One <em>text</em>." in browser.get(f"/chats/{chat_id}").text
    assert heard.text == "One *text*."
