"""Answers given again, questions in other words, and the rest of an answer, on a screen and on a phone."""

import pytest
from playwright.sync_api import expect

from tests.browser.looks import LOOKS
from tests.browser.steps import LONG, last_answer, send, turns, wait_until


@pytest.fixture(params=LOOKS)
def chat_page(request, open_page, demo):
    """A page with one question that is answered."""
    demo.will_say("The first answer.")
    page = open_page(**LOOKS[request.param])
    send(page, "What is it?")
    expect(page.locator(".bill")).to_be_attached()
    expect(page.locator("#stop")).to_have_count(0)
    return page


def act(page, name):
    page.locator(".turn").last.hover()
    page.get_by_role("button", name=name, exact=True).or_(page.get_by_role("link", name=name, exact=True)).last.click()


def test_an_answer_is_given_again_and_the_old_one_comes_back(chat_page, demo):
    page = chat_page
    demo.will_say("The second answer.")

    act(page, "Regenerate")

    expect(last_answer(page).locator(".prose")).to_have_text("The second answer.")
    expect(page.locator(".answer .versions")).to_contain_text("2/2")
    expect(page.locator(".turn")).to_have_count(1)
    act(page, "Previous version")
    expect(last_answer(page).locator(".prose")).to_have_text("The first answer.")
    expect(page.locator(".answer .versions")).to_contain_text("1/2")
    expect(page.get_by_role("button", name="Next version")).to_be_focused()
    page.reload()
    expect(last_answer(page).locator(".prose")).to_have_text("The first answer.")
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]


def test_a_question_is_put_in_other_words(chat_page, demo):
    page = chat_page
    demo.will_say("Another answer.")

    act(page, "Edit your message")
    box = page.get_by_role("textbox", name="Your edited message")
    expect(box).to_be_focused()
    expect(box).to_have_value("What is it?")
    box.fill("What is that?")
    box.press("Control+Enter")

    expect(page.locator(".bubble")).to_have_text("What is that?")
    expect(last_answer(page).locator(".prose")).to_have_text("Another answer.")
    act(page, "Previous version")
    expect(page.locator(".bubble")).to_have_text("What is it?")
    expect(last_answer(page).locator(".prose")).to_have_text("The first answer.")


def test_an_edit_that_is_given_up_changes_nothing(app, chat_page):
    page = chat_page
    act(page, "Edit your message")
    page.get_by_role("textbox", name="Your edited message").fill("Something else")

    page.keyboard.press("Escape")

    expect(page.locator(".bubble")).to_have_text("What is it?")
    expect(page.get_by_role("link", name="Edit your message")).to_be_focused()
    assert turns(app) == 1


def test_an_answer_that_was_stopped_goes_on(chat_page, demo):
    page = chat_page
    demo.will_say("```python\nx = 1\n", demo.hold())
    send(page, "Code")
    expect(last_answer(page)).to_contain_text("x = 1")
    page.locator("#stop").click()
    demo.will_say("y = 2\n```\n\nThe end.")

    page.get_by_role("button", name="Continue").click()

    expect(last_answer(page)).to_contain_text("The end.")
    expect(page.locator(".seam")).to_contain_text("Continued")
    assert last_answer(page).locator("code").inner_text() == "y = 2\n"
    expect(page.get_by_role("button", name="Continue")).to_be_hidden()


def test_what_was_pressed_stays_where_it_is(open_page, api, demo):
    chat = api.new_chat()
    for text in ("One", "Two"):
        demo.will_say(LONG)
        api.send(chat, text)
    page = open_page(f"/chats/{chat}")
    demo.will_say(LONG)
    act(page, "Regenerate")
    expect(page.locator(".answer .versions")).to_contain_text("2/2")
    expect(page.locator("#stop")).to_have_count(0)
    button = page.get_by_role("button", name="Previous version")
    page.locator("#scroll").hover()
    page.mouse.wheel(0, -150)
    wait_until(page, "document.getElementById('latest').hidden === false")
    button.scroll_into_view_if_needed()
    before = button.bounding_box()["y"]

    button.click()

    expect(page.locator(".answer .versions")).to_contain_text("1/2")
    after = page.get_by_role("button", name="Next version").bounding_box()["y"]
    assert abs(after - before) < 2


def test_all_of_it_works_without_a_script(app, open_page, api, demo):
    chat = api.new_chat()
    demo.will_say("Once upon", finish_reason="length")
    api.send(chat, "Tell me")
    page = open_page(f"/chats/{chat}", java_script_enabled=False)

    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".seam")).to_be_visible()
    expect(page.locator("#stop")).to_have_count(0)
    page.get_by_role("link", name="Edit your message").click()
    page.get_by_role("textbox", name="Your edited message").fill("Tell me more")
    page.locator(".revision").get_by_role("button", name="Send").click()
    expect(page.locator(".bubble")).to_have_text("Tell me more")
    expect(page.locator("#stop")).to_have_count(0)
    page.get_by_role("button", name="Previous version").click()

    expect(page.locator(".bubble")).to_have_text("Tell me")
    assert turns(app) == 3


def asked(demo):
    """The model that was asked last."""
    return [request.model for request in demo.requests if request.kind == "stream"][-1]


def test_an_answer_is_given_again_by_a_model_from_the_menu(chat_page, demo):
    page = chat_page
    page.locator(".turn").last.hover()
    page.locator(".with-model summary").click()
    other = page.locator(".with-model button").nth(1)
    chosen = other.get_attribute("value")

    other.click()

    expect(page.locator(".answer .versions")).to_contain_text("2/2")
    assert asked(demo) == chosen
    expect(page.locator("#composer [name=model]")).to_have_value(chosen)


def test_regenerating_and_editing_use_the_model_in_the_box(chat_page, demo):
    page = chat_page
    page.locator("#composer [name=model]").select_option(index=2)
    chosen = page.locator("#composer [name=model]").input_value()

    act(page, "Regenerate")
    expect(page.locator(".answer .versions")).to_contain_text("2/2")

    assert asked(demo) == chosen


def test_a_model_that_was_chosen_is_still_chosen_after_a_reload(chat_page):
    page = chat_page
    page.locator("#composer [name=model]").select_option(index=2)
    chosen = page.locator("#composer [name=model]").input_value()

    page.reload()

    expect(page.locator("#composer [name=model]")).to_have_value(chosen)
