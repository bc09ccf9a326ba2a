"""What a page says of an answer that ended early, and to whom."""

import re

import pytest

from chatapp.conversation.words import ending_text, is_long
from chatapp.kernel.errors import ProviderKeyRefused, ProviderOverloaded
from tests.auth.browser import make_account, signed_in

SAVED = "The partial answer is saved."


@pytest.mark.parametrize(
    ("code", "answer_tokens", "says"),
    [
        ("PROVIDER_TIMEOUT", 3, f"The model stopped responding. {SAVED}"),
        ("PROVIDER_TIMEOUT", 0, "The model stopped responding. No answer arrived."),
        ("TURN_INTERRUPTED", 3, f"The answer was interrupted. {SAVED}"),
        ("TURN_INTERRUPTED", 0, "The answer was interrupted before it began."),
    ],
)
def test_what_is_saved_is_said_only_where_something_came(app, code, answer_tokens, says):
    with app.test_request_context():
        assert ending_text("interrupted", {"error_code": code, "answer_tokens": answer_tokens}) == says


@pytest.mark.parametrize(
    ("error", "is_admin", "is_offered"),
    [(ProviderKeyRefused(), True, True), (ProviderKeyRefused(), False, False), (ProviderOverloaded(), True, False)],
    ids=["a wrong key", "a wrong key, to others", "a busy model"],
)
def test_administrators_are_led_to_what_they_can_mend(app, demo, error, is_admin, is_offered):
    browser = signed_in(app, make_account(app, "grace@example.org", is_admin=is_admin))
    demo.will_raise(error)
    chat = browser.post("/chats", text="Why?").headers["Location"]
    turn_id = re.search(r"/turns/([-0-9a-f]+)/stream", browser.get(chat).text)[1]

    streamed, page = browser.get(f"/turns/{turn_id}/stream").text, browser.get(chat).text

    assert ("Check the connection" in streamed, "Check the connection" in page) == (is_offered, is_offered)
    assert 'class="bill"' not in page


@pytest.mark.parametrize(
    ("text", "folded"),
    [("x\n" * 11 + "x", False), ("x\n" * 12 + "x", True), ("x" * 700, False), ("x" * 800, True), ("", False)],
)
def test_a_message_is_long_by_the_lines_it_takes(text, folded):
    assert is_long(text) == folded
