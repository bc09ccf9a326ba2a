"""A long message of one's own shows twelve lines, and the rest when it is asked for."""

import pytest
from playwright.sync_api import expect

LONG = "\n".join(f"Line {number}" for number in range(1, 31))
LOOKS = {
    "wide": {"viewport": {"width": 1280, "height": 800}},
    "narrow": {"viewport": {"width": 390, "height": 844}},
    "no scripts": {"viewport": {"width": 1280, "height": 800}, "java_script_enabled": False},
}


@pytest.fixture
def chat(api, demo):
    demo.will_say("Thirty lines.")
    chat_id = api.new_chat()
    api.send(chat_id, LONG)
    return f"/chats/{chat_id}"


def height(page):
    return page.locator(".bubble").bounding_box()["height"]


@pytest.mark.parametrize("look", LOOKS)
def test_a_long_message_is_folded_until_it_is_asked_for(open_page, chat, look):
    page = open_page(chat, **LOOKS[look])
    folded = height(page)

    page.get_by_text("Show more").click()
    expect(page.get_by_text("Show less")).to_be_visible()

    assert height(page) > 2 * folded


def test_printed_it_is_whole(open_page, chat):
    page = open_page(chat)
    folded = height(page)

    page.emulate_media(media="print")

    assert height(page) > 2 * folded
    expect(page.locator(".unfold")).to_be_hidden()


def test_a_message_of_twelve_lines_is_not_folded(open_page, api, demo):
    chat_id = api.new_chat()
    api.send(chat_id, "\n".join("x" * 12))

    expect(open_page(f"/chats/{chat_id}").locator(".unfold")).to_have_count(0)
