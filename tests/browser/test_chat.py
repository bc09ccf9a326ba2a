"""A conversation as a person has it, in Chromium. The scripted provider says what it is told, when it is told."""

# ruff: noqa: F811

import re

import pytest
from playwright.sync_api import expect

from tests.api.product import Wire
from tests.browser.looks import page  # noqa: F401
from tests.browser.steps import FOLLOWED, LONG, last_answer, send, show_chats, turns, wait_until
from tests.conftest import make_user


def test_a_question_is_asked_and_answered(page, demo):
    demo.will_say("A **bold** ", "start.\n\n", "```python\nx = 1\n", "y = 2\n```\n", "The end.")

    send(page, "What is this?")

    expect(page.locator(".bubble")).to_have_text("What is this?")
    expect(page.locator(".bill summary")).to_contain_text("tokens · counted by the provider")
    expect(page.locator("#text")).to_have_value("")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#status")).to_have_text("The answer is complete.")
    expect(page).to_have_title("What is this? · Tally")
    assert "/chats/" in page.url
    live = last_answer(page).locator(".prose").inner_text()
    page.reload()
    assert last_answer(page).locator(".prose").inner_text() == live
    assert "x = 1\ny = 2" in live


def test_the_next_question_stays_on_the_page(page, demo):
    send(page, "One")
    expect(page.locator(".bill")).to_have_count(1)
    page.evaluate("window.same = true")

    send(page, "Two")

    expect(page.locator(".bill")).to_have_count(2)
    assert page.evaluate("window.same")
    expect(page.locator("#chats [aria-current]")).to_have_text("One")


def test_shift_enter_makes_a_new_line_and_enter_waits_for_the_answer(app, page, demo):
    demo.will_say("Wait", demo.hold())
    page.locator("#text").fill("One")
    page.locator("#text").press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    expect(page.locator("#stop")).to_be_visible()

    send(page, "Too early")

    expect(page.locator(".bubble")).to_have_text("One\ntwo")
    expect(page.locator("#text")).to_have_value("Too early")
    assert turns(app) == 1


def test_a_reload_finds_the_answer_and_follows_it_on(app, page, demo):
    hold = demo.hold()
    demo.will_say("The first half", hold, " and the second.")
    send(page, "Tell me")
    expect(last_answer(page)).to_contain_text("The first half")

    page.reload()
    expect(last_answer(page)).to_contain_text("The first half")
    hold.set()

    expect(last_answer(page).locator(".prose")).to_have_text("The first half and the second.")
    expect(page.locator(".bill")).to_be_visible()
    assert turns(app) == 1


def test_two_tabs_show_the_same_answer(page, demo):
    hold = demo.hold()
    demo.will_say("Half", hold, " whole.")
    send(page, "Tell me")
    expect(page.locator("#stop")).to_be_visible()
    other = page.context.new_page()
    other.goto(page.url)
    expect(last_answer(other)).to_contain_text("Half")

    hold.set()

    for tab in (page, other):
        expect(last_answer(tab).locator(".prose")).to_have_text("Half whole.")
        expect(tab.locator("#stop")).to_have_count(0)


def test_escape_stops_and_keeps_what_was_said(page, demo):
    demo.will_say("As far as this", demo.hold(), " and no further")
    send(page, "Tell me")
    expect(last_answer(page)).to_contain_text("As far as this")

    page.keyboard.press("Escape")

    expect(last_answer(page)).to_contain_text("You stopped this answer.")
    expect(last_answer(page).locator(".prose")).to_have_text("As far as this")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_connection_that_breaks_off_goes_on_without_a_gap(app, site, open_page, demo, complaints):
    complaints.expect("net::ERR_")  # The wire that breaks.
    complaints.expect("network error")
    hold = demo.hold()
    demo.will_say("One.\n\nTwo.\n\n", hold, "Three.\n\nFour.")
    with Wire(site, [700]) as wire:
        page = open_page(wire.url)
        send(page, "Count")
        expect(last_answer(page)).to_contain_text("Two.")
        hold.set()

        expect(page.locator(".bill")).to_be_visible()
        assert last_answer(page).locator(".prose").inner_text().split() == ["One.", "Two.", "Three.", "Four."]
        assert (len(wire.exchanges), wire.exchanges[0].sent_bytes, turns(app)) == (2, 700, 1)


@pytest.mark.parametrize("trouble", ["refused", "no network"])
def test_a_first_connection_that_fails_is_tried_again(page, demo, complaints, trouble):
    complaints.expect("Failed to load resource")
    complaints.expect("htmx:error")
    tries = []

    def fail_once(route):
        tries.append(1)
        if len(tries) > 1:
            route.continue_()
        elif trouble == "refused":
            route.fulfill(status=503, body="<h1>Bad gateway</h1>", content_type="text/html")
        else:
            route.abort()

    page.route("**/stream", fail_once)
    send(page, "Hello")

    expect(page.locator("#connection")).to_be_visible()
    expect(last_answer(page)).to_contain_text("Hello.")
    expect(page.locator("#connection")).to_be_hidden()
    assert "Bad gateway" not in page.content()


def test_a_refusal_says_why_and_keeps_the_draft(page, demo, complaints, app):
    complaints.expect("Failed to load resource")
    send(page, "x" * 5001)

    expect(page.locator(".toast")).to_contain_text("between 1 and 5000 characters")
    expect(page.locator("#length")).to_have_text("1 characters too many")
    page.reload()
    expect(page.locator("#text")).to_have_value("x" * 5001)
    assert turns(app) == 0


def test_an_error_page_of_a_proxy_does_not_land_in_the_conversation(page, complaints):
    complaints.expect("Failed to load resource")
    page.route(
        "**/chats", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>", content_type="text/html")
    )

    send(page, "Hello")

    expect(page.locator(".toast")).to_contain_text("The server didn’t answer")
    expect(page.locator("#text")).to_have_value("Hello")
    assert "Bad gateway" not in page.content()


def test_without_budget_the_page_says_when_there_is_some_again(app, open_page, complaints):
    complaints.expect("Failed to load resource")
    page = open_page(person=make_user(app, "poor@example.org", limit=20))

    send(page, "Hello")

    expect(page.locator(".toast")).to_be_visible()
    expect(page.locator("#notice")).to_contain_text("It resets on")
    expect(page.locator("#text")).to_have_value("Hello")


def test_what_a_draft_costs_shows_when_the_meter_is_pointed_at(open_page, app):
    page = open_page(person=make_user(app, "frugal@example.org", limit=120))
    page.locator("#text").press_sequentially("Why is the sky blue?", delay=5)
    expect(page.locator("#draft")).to_contain_text("at most 120 of 120 reserved")
    expect(page.locator("#draft")).to_be_hidden()

    page.locator("#meter").hover()

    expect(page.locator("#draft")).to_be_visible()


def test_a_draft_that_does_not_fit_says_so_unasked(open_page, app):
    page = open_page(person=make_user(app, "frugal@example.org", limit=120))
    page.locator("#text").press_sequentially("And what is it made of? " * 9, delay=1)
    expect(page.locator("#draft .over")).to_contain_text("Needs")
    expect(page.locator("#draft")).to_be_visible()

    page.locator("#text").fill("")

    expect(page.locator("#draft")).to_be_hidden()


def test_a_failed_answer_can_be_asked_for_again(page, demo):
    from chatapp.kernel.errors import ProviderMisconfigured

    demo.will_raise(ProviderMisconfigured())
    demo.will_say("Here it is.")
    send(page, "Why?")

    page.get_by_role("button", name="Try again").click()

    expect(last_answer(page).locator(".prose")).to_have_text("Here it is.")
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_the_end_stays_in_sight_until_the_reader_scrolls_up(page, demo):
    hold = demo.hold()
    demo.will_say(LONG, hold, "\n\n" + LONG)
    send(page, "A long one")
    expect(last_answer(page)).to_contain_text("Paragraph 59")
    wait_until(page, FOLLOWED)

    page.locator("#scroll").hover()
    page.mouse.wheel(0, -600)
    expect(page.locator("#latest")).to_be_visible()
    top = page.evaluate("document.getElementById('scroll').scrollTop")
    hold.set()
    expect(page.locator(".bill")).to_be_attached()

    assert page.evaluate("document.getElementById('scroll').scrollTop") == top
    page.locator("#latest").press("Enter")
    wait_until(page, FOLLOWED)
    expect(page.locator("#latest")).to_be_hidden()
    expect(page.locator("#scroll")).to_be_focused()


def test_a_chat_is_renamed_pinned_deleted_and_taken_back(page, demo):
    send(page, "First title")
    expect(page.locator(".bill")).to_be_visible()
    options = page.get_by_role("link", name="Options for")

    show_chats(page)
    page.locator(".chat-row").hover()
    options.click()
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("textbox", name="Title").fill("Another title")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("Another title")
    expect(page).to_have_title("Another title · Tally")

    options.click()
    page.get_by_role("button", name="Pin").click()
    expect(page.locator("#chats h2")).to_have_text("Pinned")

    options.click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator(".chat-row")).to_have_count(0)

    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".chat-row")).to_contain_text("Another title")


def test_chats_are_found_while_one_types(page, api, demo):
    for title in ("Apples", "Pears"):
        api.new_chat(title=title)
    page.reload()

    page.keyboard.press("Control+k")
    page.keyboard.type("pea")

    expect(page.locator("#chats li")).to_have_count(1)
    expect(page.locator("#chats li")).to_contain_text("Pears")


def test_what_is_typed_before_the_first_timer_is_searched_for(page, api, demo):
    for title in ("Apples", "Pears"):
        api.new_chat(title=title)
    page.add_init_script("{ const late = setTimeout; setTimeout = (f, ms) => late(f, ms ?? 3000) }")
    page.reload()

    page.keyboard.press("Control+k")
    page.keyboard.type("pea")

    expect(page.locator("#chats li")).to_have_text(["Pears"])


def test_what_is_found_is_shown_although_another_list_came_meanwhile(page, api, demo):
    for title in ("Apples", "Pears"):
        api.new_chat(title=title)
    page.reload()
    held = []
    page.route("**/chats?q=*", lambda route: held.append(route))
    page.keyboard.press("Control+k")
    with page.expect_request("**/chats?q=*"):
        page.keyboard.type("pea")

    page.evaluate("htmx.ajax('GET', '/chats', { target: '#chats', swap: 'outerHTML' })")
    held[0].continue_()

    expect(page.locator("#chats li")).to_have_text(["Pears"])


def test_what_is_copied_is_the_source(page, demo):
    demo.will_say("Some *text*.\n\n```python\nx = 1\n```\n")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    send(page, "Code")
    expect(page.locator(".bill")).to_be_visible()

    copied = []
    for name in ("Copy", "Copy the answer", "Copy your message"):
        page.locator(".turn").hover()
        page.get_by_role("button", name=name, exact=True).or_(page.get_by_role("link", name=name, exact=True)).click()
        expect(page.locator("#status")).to_have_text("Copied")
        copied.append(page.evaluate("navigator.clipboard.readText()"))
        page.evaluate("document.getElementById('status').textContent = ''")

    assert copied == ["x = 1", "Some *text*.\n\n```python\nx = 1\n```\n", "Code"]


def test_a_copied_command_has_no_line_end_behind_it(page, demo):
    demo.will_say("```bash\necho one\n\n```\n\n```bash\necho one\necho two\n```\n\n```text\n  x\n\ny\n```\n")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    send(page, "Commands")
    expect(page.locator(".bill")).to_be_visible()

    copied = []
    for button in page.locator("figure.code button").all():
        button.click()
        expect(page.locator("#status")).to_have_text("Copied")
        copied.append(page.evaluate("navigator.clipboard.readText()"))
        page.evaluate("document.getElementById('status').textContent = ''")

    assert copied == ["echo one", "echo one\necho two", "  x\n\ny"]


def test_hostile_text_stays_text(page, demo, complaints):
    nasty = '<img src=x onerror="window.pwn=1"><script>window.pwn=1</script><b hx-get="/logout" hx-trigger="load">'
    demo.will_say(nasty + "\n\n<hx-partial hx-target='#side'>gone</hx-partial>\n\n</div></article>")

    send(page, nasty)
    expect(page.locator(".bill")).to_be_visible()
    page.reload()

    assert page.evaluate("window.pwn") is None
    assert page.locator(":is(.bubble, .prose) :is(img, script, [hx-get])").count() == 0
    expect(page.locator(".bubble")).to_have_text(nasty)
    expect(page.locator("#side")).to_be_attached()


def test_the_address_of_an_answer_is_in_the_history(page, demo):
    send(page, "Hello")
    expect(page.locator(".bill")).to_be_visible()
    page.go_back()
    expect(page.locator("#welcome")).to_be_visible()
    page.go_forward()
    expect(page.locator(".bubble")).to_have_text("Hello")
    assert re.search(r"/chats/[-0-9a-f]{36}$", page.url)


def test_who_stops_goes_on_writing(page, demo):
    demo.will_say("As far as this", demo.hold())
    send(page, "Tell me")
    expect(last_answer(page)).to_contain_text("As far as this")

    page.locator("#stop").focus()
    page.keyboard.press("Enter")

    expect(last_answer(page)).to_contain_text("You stopped this answer.")
    expect(page.locator("#text")).to_be_focused()


def test_escape_empties_the_search_first_and_a_toast_does_not_take_it(open_page, api, demo):
    api.new_chat(title="Bread")
    page = open_page()
    demo.will_say("Once", demo.hold())
    send(page, "Tell me")
    expect(last_answer(page)).to_contain_text("Once")
    page.locator("#search").press_sequentially("bre")
    expect(page.locator("#chats .hit")).to_have_count(1)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Options for Bread").click()
    page.locator("#chat-menu").get_by_role("button", name="Archive").click()
    expect(page.locator(".toast")).to_be_visible()
    expect(page.locator("#stop")).to_be_visible()

    page.keyboard.press("Escape")

    expect(last_answer(page)).to_contain_text("You stopped this answer.")


def test_a_second_click_takes_nothing_back(page, demo):
    demo.will_say("Once", demo.hold())
    page.locator("#text").fill("Tell me")
    place = page.locator("#action button").bounding_box()
    page.mouse.move(place["x"] + 10, place["y"] + 10)

    def press(count):
        page.mouse.down(click_count=count)
        page.mouse.up(click_count=count)

    press(1)
    expect(page.locator("#stop")).to_be_visible()
    press(2)
    expect(last_answer(page)).to_contain_text("Once")
    expect(page.locator("#stop")).to_be_visible()
    page.locator("#text").fill("Half a thought")
    place = page.locator("#stop").bounding_box()
    page.mouse.move(place["x"] + 10, place["y"] + 10)
    press(1)
    expect(page.locator("#stop")).to_have_count(0)
    press(2)

    expect(page.locator("#text")).to_have_value("Half a thought")


def test_a_draft_for_a_chat_that_is_gone_complains_once_when_it_is_sent(page, api, complaints):
    complaints.expect("404")
    complaints.expect("htmx:error")
    send(page, "One")
    expect(page.locator(".bill")).to_be_visible()
    api.call("DELETE", f"/chat/{page.url.rsplit('/')[-1]}")
    with page.expect_response("**/drafts*"):
        page.locator("#text").press_sequentially("A draft")

    expect(page.locator(".toast")).to_have_count(0)
    page.locator("#text").press("Enter")

    expect(page.locator(".toast")).to_have_count(1)
    expect(page.locator("#text")).to_have_value("A draft")


def come_back(page):
    page.evaluate("() => dispatchEvent(new Event('focus'))")


def test_a_link_that_is_opened_in_a_tab_of_its_own_opens_there(page, demo):
    send(page, "Hello")
    page.locator(".bill > summary").click()
    link = page.get_by_role("link", name="Why was I charged?")

    with page.context.expect_page() as tab:
        link.click(modifiers=["ControlOrMeta"])

    expect(tab.value.locator("h1")).to_have_text("Why was I charged?")
    expect(page.locator(".why-box")).to_be_empty()


def test_who_comes_back_to_a_tab_sees_what_was_said_in_another(page, api, demo):
    send(page, "One")
    expect(page.locator(".bill")).to_be_visible()
    page.locator("#text").fill("A draft")
    demo.will_say("From elsewhere.")
    api.send(page.url.rsplit("/")[-1], "Two")

    come_back(page)

    expect(page.locator(".bubble")).to_have_text(["One", "Two"])
    expect(last_answer(page)).to_contain_text("From elsewhere.")
    expect(page.locator("#status")).to_have_text("Conversation updated.")
    expect(page.locator("#text")).to_have_value("A draft")
    wait_until(page, FOLLOWED)


def test_who_goes_on_with_what_was_said_on_another_device_sees_it(page, api, demo):
    send(page, "One")
    expect(page.locator(".bill")).to_be_visible()
    api.send(page.url.rsplit("/")[-1], "Two")
    expect(page.locator(".bubble")).to_have_text(["One"])

    send(page, "Three")

    expect(page.locator(".bubble")).to_have_text(["One", "Two", "Three"])
    expect(page.locator(".bill")).to_have_count(3)
    expect(page.locator("#text")).to_have_value("")
    wait_until(page, FOLLOWED)


def test_who_comes_back_to_a_tab_sees_what_became_of_the_chats_in_another(page, api, demo, complaints):
    complaints.expect("404")
    send(page, "One")
    expect(page.locator(".bill")).to_be_visible()
    chat = page.url.rsplit("/")[-1]
    other = api.new_chat(title="From elsewhere")
    api.call("PATCH", f"/chat/{chat}", json={"title": "Another title"})

    come_back(page)

    expect(page.locator(".chat-row")).to_have_text(["From elsewhere", "Another title"])
    expect(page.locator("#title")).to_have_text("Another title")
    api.call("DELETE", f"/chat/{other}")
    api.call("DELETE", f"/chat/{chat}")
    come_back(page)
    expect(page.locator(".chat-row")).to_have_count(0)
    expect(page.locator(".toast")).to_contain_text("This chat was deleted.")


def test_who_reads_further_up_stays_there_when_the_tab_is_brought_up_to_date(page, api, demo):
    demo.will_say(LONG)
    send(page, "One")
    expect(page.locator(".bill")).to_be_visible()
    page.locator("#scroll").hover()
    page.mouse.wheel(0, -700)
    wait_until(page, "document.getElementById('latest').hidden === false")
    place = page.get_by_text("Paragraph 50 of")
    before = place.bounding_box()["y"]
    demo.will_say(LONG)
    api.send(page.url.rsplit("/")[-1], "Two")

    come_back(page)

    expect(page.locator(".bubble")).to_have_text(["One", "Two"])
    assert abs(place.first.bounding_box()["y"] - before) < 2


def test_what_is_being_changed_is_not_swept_away_by_news(page, api, demo):
    send(page, "One")
    expect(page.locator(".bill")).to_be_visible()
    api.send(page.url.rsplit("/")[-1], "Two")
    page.locator(".turn").hover()
    page.get_by_role("link", name="Edit your message").click()
    page.get_by_role("textbox", name="Your edited message").fill("Otherwise")

    come_back(page)

    page.get_by_role("button", name="Send", exact=True).first.click()
    expect(page.locator(".bubble")).to_have_text(["Otherwise"])


PRESS = (
    "(target, keys) => target.dispatchEvent(new KeyboardEvent('keydown', {bubbles: true, cancelable: true, ...keys}))"
)


@pytest.mark.parametrize(
    ("keys", "focused"),
    [
        ({"key": "л", "code": "KeyK", "ctrlKey": True}, "search"),
        ({"key": "κ", "code": "KeyK", "metaKey": True}, "search"),
        ({"key": "k", "code": "KeyV", "ctrlKey": True}, "search"),
        ({"key": "k", "code": "KeyK", "ctrlKey": True, "altKey": True}, ""),
        ({"key": "ж", "code": "Slash"}, "text"),
        ({"key": "/", "code": "Digit7", "shiftKey": True}, "text"),
        ({"key": "л", "code": "KeyK", "ctrlKey": True, "isComposing": True}, ""),
    ],
)
def test_shortcuts_work_on_every_layout(page, keys, focused):
    page.evaluate("document.activeElement.blur()")
    page.locator("body").evaluate(PRESS, keys)

    assert page.evaluate("document.activeElement.id") == focused


def test_on_a_touch_screen_enter_is_a_new_line_until_a_real_key_was_pressed(open_page, demo):
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 1024, "height": 768})
    box = page.locator("#text")
    box.fill("One")
    box.press("Enter")
    assert box.input_value() == "One\n"
    box.press("Shift")
    box.press("Enter")

    expect(last_answer(page)).to_contain_text("Hello.")
    expect(page.locator(".question")).to_have_count(1)
