"""Nobody is left out: everything fits on a small phone, is heard by a screen reader and done by keyboard alone."""

# ruff: noqa: F811

import re

import pytest
from playwright.sync_api import expect

from tests.auth.browser import PASSWORD, make_account
from tests.browser.looks import page  # noqa: F401
from tests.browser.steps import send, show_chats
from tests.conftest import make_user


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize(
    "path", ["/", "chat", "/usage", "/chats", "/account", "/account/data", "/admin", "settings", "why"]
)
def test_nothing_is_wider_than_a_phone(app, open_page, api, demo, path, width):
    boss = make_user(app, "boss@example.org", is_admin=True)
    chat_id = api.new_chat(title="w" * 150)
    demo.will_say(
        "| "
        + " | ".join(["A wide column"] * 12)
        + " |\n|"
        + "--|" * 12
        + "\n\n`"
        + "x" * 200
        + "`\n\n$$"
        + "x + " * 60
        + "y$$"
    )
    api.send(chat_id, "y" * 300)
    paths = {"chat": f"/chats/{chat_id}", "settings": f"/chats/{chat_id}/settings"}
    paths["why"] = f"/usage/exchanges/{api.messages(chat_id)[-1]['id']}"
    options = {"viewport": {"width": width, "height": 700}, "has_touch": True, "is_mobile": True}
    page = open_page(paths.get(path, path), **options | ({"person": boss} if path == "/admin" else {}))

    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_on_a_phone_the_list_is_a_drawer(open_page, demo, api):
    api.new_chat(title="An old chat")
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)

    expect(page.locator("#side")).to_be_hidden()
    page.get_by_role("button", name="Show chats").click()
    expect(page.get_by_role("link", name="An old chat", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#side")).to_be_hidden()


def test_a_reader_hears_the_start_and_the_end_of_an_answer_and_nothing_between(page, demo):
    hold = demo.hold()
    demo.will_say("One.\n\n", "Two.\n\n", hold, "Three.")
    page.evaluate("""() => {
      window.heard = [];
      const live = '[aria-live], [role=status], [role=alert], [role=log], output';
      new MutationObserver(changes => changes.forEach(({target}) => {
        const region = (target.nodeType === 1 ? target : target.parentElement)?.closest(live);
        if (region && region.getAttribute('aria-live') !== 'off') window.heard.push(region.textContent.trim());
      })).observe(document, {subtree: true, childList: true, characterData: true});
    }""")
    send(page, "Count")
    expect(page.locator(".answer")).to_contain_text("Two.")
    assert page.locator(".answer").get_attribute("aria-busy") == "true"
    hold.set()
    expect(page.locator("#status")).to_have_text("The answer is complete.")

    assert page.locator(".answer").get_attribute("aria-busy") is None
    assert page.evaluate("window.heard.filter(Boolean)") == ["The answer is being written.", "The answer is complete."]


def tab_to(page, name, key="Tab"):
    """Press Tab until the element with that name has the focus, as somebody without a mouse does."""
    for _ in range(60):
        page.keyboard.press(key)
        label = page.evaluate(
            "(e => e === document.body ? '' : e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent)(document.activeElement)"
        )
        if name in label.strip():
            return
    raise AssertionError(f"{name} is not reached by {key}")


def test_everything_is_done_by_keyboard_alone(app, site, new_context, demo):
    make_account(app, "ada@example.org")
    page = new_context(base_url=site).new_page()
    page.goto("/")
    keys = page.keyboard
    keys.type("ada@example.org")
    tab_to(page, "Password")
    keys.type(PASSWORD)
    keys.press("Enter")
    expect(page.locator("#text")).to_be_focused()
    demo.will_say("As far as this", demo.hold())
    keys.type("Tell me")
    keys.press("Enter")
    expect(page.locator(".answer")).to_contain_text("As far as this")
    keys.press("Escape")
    expect(page.locator(".answer")).to_contain_text("You stopped this answer.")

    tab_to(page, "Options for", "Shift+Tab")
    keys.press("Enter")
    expect(page.get_by_role("button", name="Rename")).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_role("textbox", name="Title")).to_be_focused()
    keys.press("Control+a")
    keys.type("A better title")
    keys.press("Enter")
    expect(page.locator("#title")).to_have_text("A better title")

    tab_to(page, "Options for", "Shift+Tab")
    keys.press("Enter")
    expect(page.locator("#chat-menu .danger")).to_be_visible()
    keys.press("ArrowUp")
    keys.press("Enter")
    expect(page.locator("#welcome")).to_be_visible()
    tab_to(page, "Undo", "Shift+Tab")
    keys.press("Enter")
    expect(page.locator(".chat-row")).to_contain_text("A better title")

    tab_to(page, "tokens left")
    keys.press("Enter")
    expect(page).to_have_url(re.compile("/usage"))


def test_what_a_chat_is_to_be_like_is_chosen_by_keyboard_alone(page, api):
    keys = page.keyboard
    tab_to(page, "No persona")
    keys.type("Tutor")
    tab_to(page, "Message", "Shift+Tab")
    keys.type("Teach me")
    keys.press("Enter")
    expect(page.locator(".bill")).to_be_visible()
    (listed,) = api.call("GET", "/chat").json()["chats"]
    chat = api.call("GET", f"/chat/{listed['id']}").json()
    assert chat["system_prompt"].startswith("You are a patient tutor.")

    tab_to(page, "Chat settings", "Shift+Tab")
    keys.press("Enter")
    expect(page).to_have_url(re.compile("/settings"))
    tab_to(page, "Instructions for the model")
    keys.press("Control+a")
    keys.type("Be brief.")
    tab_to(page, "Temperature")
    keys.press("Control+a")
    keys.type("0.5")
    keys.press("Enter")
    expect(page.locator(".toast")).to_be_visible()
    chat = api.call("GET", f"/chat/{listed['id']}").json()
    assert (chat["system_prompt"], chat["temperature"]) == ("Be brief.", 0.5)


def test_the_sheet_of_shortcuts_opens_with_a_question_mark_unless_one_is_typing(page):
    page.keyboard.type("?")
    expect(page.locator("#text")).to_have_value("?")
    page.locator("#text").blur()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_chromium_would_install_it(page):
    problems = page.context.new_cdp_session(page).send("Page.getInstallabilityErrors")["installabilityErrors"]
    # A test's browser keeps nothing; that is the one thing it has against it.
    assert [problem["errorId"] for problem in problems if problem["errorId"] != "in-incognito"] == []


def test_a_chosen_appearance_also_colours_the_browser_s_frame(page):
    show_chats(page)
    page.locator(".account").click()
    page.get_by_role("button", name="Dark").click()
    media = "[...document.querySelectorAll('[data-scheme]')].map(meta => meta.media)"
    assert page.evaluate(media) == ["not all", "all"]
    page.reload()
    assert page.evaluate(media) == ["not all", "all"]
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_offline_says_so_and_keeps_what_is_written(page, complaints):
    complaints.expect("ERR_INTERNET_DISCONNECTED")
    complaints.expect("htmx:error")
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_contain_text("You are offline")
    send(page, "Hello")
    expect(page.locator(".toast")).to_contain_text("your text is still here")
    page.context.set_offline(False)
    expect(page.locator("#connection")).to_be_hidden()
    expect(page.locator("#text")).to_have_value("Hello")
