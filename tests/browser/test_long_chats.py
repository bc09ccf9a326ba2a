"""A chat of a thousand messages: it opens at its end, and what is further up comes as the reader gets there."""

from uuid import UUID

import pytest
from playwright.sync_api import expect

from chatapp.chats.models import Chat, Message
from chatapp.kernel.database import write
from tests.browser.looks import LOOKS

MESSAGES = 1000
EACH_LOOK = pytest.mark.parametrize("look", LOOKS)
TOP = "id => document.getElementById(id).getBoundingClientRect().top"


@pytest.fixture
def long_chat(app, api):
    """Return the id of a chat with a thousand messages."""
    chat_id = UUID(api.new_chat())
    with app.app_context(), write() as session:
        head = None
        for number in range(MESSAGES):
            role = "assistant" if number % 2 else "user"
            message = Message(chat_id=chat_id, parent_id=head, role=role, content=f"Number {number}. " + "Word. " * 30)
            session.add(message)
            session.flush()
            head = message.id
        session.get(Chat, chat_id).head_id = head
    return chat_id


@EACH_LOOK
def test_a_thousand_messages_are_not_all_sent_and_the_last_is_in_sight(open_page, long_chat, look):
    page = open_page(f"/chats/{long_chat}", **LOOKS[look])

    expect(page.get_by_text(f"Number {MESSAGES - 1}.")).to_be_in_viewport()
    assert page.locator(".turn").count() < MESSAGES / 10


@EACH_LOOK
def test_earlier_messages_come_when_the_reader_gets_there_and_nothing_moves(open_page, long_chat, look):
    page = open_page(f"/chats/{long_chat}", **LOOKS[look])
    expect(page.get_by_text(f"Number {MESSAGES - 1}.")).to_be_in_viewport()
    shown, first = page.locator(".turn").count(), page.locator(".turn").first.get_attribute("id")

    page.locator("#scroll").evaluate("s => { s.dispatchEvent(new WheelEvent('wheel', {deltaY: -1})); s.scrollTop = 0 }")
    expect(page.locator(".turn")).not_to_have_count(shown)

    # What the reader was looking at is where it was: on the screen, near its top.
    page.wait_for_timeout(600)
    assert 0 <= page.evaluate(TOP, first) < 400
    assert page.locator(".turn").count() == 2 * shown
