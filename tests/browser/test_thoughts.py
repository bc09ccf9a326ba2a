"""What a model thinks, in Chromium: while it thinks, after a reload, and when it has ended."""

# ruff: noqa: F811

import pytest
from playwright.sync_api import expect

from chatapp.providers.base import Chunk
from tests.browser.looks import page  # noqa: F401
from tests.browser.steps import FOLLOWED, LONG, last_answer, send, wait_until
from tests.streams import until


def thinking(*pieces):
    return [Chunk(thought=piece) for piece in pieces]


def fold(page):
    return last_answer(page).locator(".thoughts")


def test_thoughts_are_seen_while_they_come_and_the_fold_stays_as_the_reader_has_it(page, demo):
    more, answer, end = demo.hold(), demo.hold(), demo.hold()
    demo.will_say(*thinking("**Hm.**\n\nLet me"), more, *thinking(" see."), answer, "It is", end, " so.")
    send(page, "Is it so?")
    expect(fold(page).locator("summary")).to_have_text("Thinking …", use_inner_text=True)
    expect(fold(page).locator(".prose")).to_be_hidden()

    fold(page).locator("summary").click()
    expect(fold(page).locator("strong")).to_have_text("Hm.")
    for event, said in ((more, "Let me see."), (answer, "It is"), (end, "It is so.")):
        event.set()
        expect(last_answer(page)).to_contain_text(said)
    expect(page.locator(".bill")).to_be_visible()

    expect(fold(page).locator("summary")).to_have_text("Thoughts", use_inner_text=True)
    live = fold(page).locator(".prose").inner_text()
    page.reload()
    fold(page).locator("summary").click()
    assert fold(page).locator(".prose").inner_text() == live == "Hm.\n\nLet me see."


def test_a_reload_while_it_thinks_shows_what_there_is_and_what_follows(page, demo):
    more = demo.hold()
    demo.will_say(*thinking("First this,"), more, *thinking(" then that."), demo.hold())
    send(page, "Think about it")
    expect(fold(page)).to_contain_text("First this,")

    page.reload()
    fold(page).locator("summary").click()
    expect(fold(page).locator(".prose")).to_have_text("First this,")
    more.set()

    expect(fold(page).locator(".prose")).to_have_text("First this, then that.")
    expect(fold(page)).to_have_attribute("open", "")


def test_an_answer_without_thoughts_shows_no_fold(page, demo):
    hold = demo.hold()
    demo.will_say("Yes", hold, ".")
    send(page, "Is it so?")
    expect(last_answer(page)).to_contain_text("Yes")

    expect(fold(page)).to_be_hidden()
    hold.set()
    expect(page.locator(".bill")).to_be_visible()
    expect(fold(page)).to_be_hidden()


def test_a_stop_while_it_thinks_keeps_the_thoughts(page, demo):
    demo.will_say(*thinking("Let me see."), demo.hold(), "Yes.")
    send(page, "Is it so?")
    expect(fold(page)).to_contain_text("Let me see.")

    page.keyboard.press("Escape")

    expect(last_answer(page)).to_contain_text("You stopped this answer.")
    expect(fold(page).locator("summary")).to_have_text("Thoughts", use_inner_text=True)
    page.reload()
    expect(fold(page)).to_contain_text("Let me see.")


def test_who_unfolds_long_thoughts_begins_at_their_beginning_and_stays_there(page, demo):
    more, end = demo.hold(), demo.hold()
    demo.will_say(LONG, end)
    demo.will_say(*thinking(LONG), more, *thinking("\n\nAt last."), "Yes.", end, "")
    send(page, "Fill the page")
    expect(last_answer(page)).to_contain_text("Paragraph 59")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    send(page, "Is it so?")
    expect(fold(page)).to_contain_text("Paragraph 59")
    wait_until(page, FOLLOWED)
    before = fold(page).bounding_box()["y"]

    fold(page).locator("summary").click()
    more.set()
    expect(last_answer(page)).to_contain_text("Yes.")
    end.set()
    expect(page.locator(".bill").last).to_be_attached()

    assert abs(fold(page).bounding_box()["y"] - before) < 2


def test_a_screen_reader_is_told_that_it_thinks_and_nothing_of_what(page, demo):
    answer, end = demo.hold(), demo.hold()
    demo.will_say(*thinking("Let me see."), answer, "Yes", end, ".")
    send(page, "Is it so?")
    expect(page.locator("#status")).to_have_text("The model is thinking.")
    answer.set()
    expect(page.locator("#status")).to_have_text("The answer is being written.")
    end.set()

    expect(page.locator("#status")).to_have_text("The answer is complete.")
    assert fold(page).locator("xpath=ancestor-or-self::*[@aria-live or @role]").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_without_scripts_the_thoughts_so_far_can_be_read(open_page, api, demo, width):
    hold = demo.hold()
    demo.will_say(*thinking("Let me see."), hold, "Yes.")
    chat_id = api.new_chat()
    heard, _listening = api.start(chat_id, "Is it so?")
    until(lambda: heard.ids)
    page = open_page(f"/chats/{chat_id}", java_script_enabled=False, viewport={"width": width, "height": 800})

    expect(fold(page).locator(".prose")).to_be_visible()
    expect(fold(page).locator(".prose")).to_have_text("Let me see.")
    hold.set()

    expect(last_answer(page)).to_contain_text("Yes.")
    expect(fold(page).locator(".prose")).to_be_hidden()
