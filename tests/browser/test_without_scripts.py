"""Everything that matters works in a browser that runs no scripts."""

import re

import pytest
from playwright.sync_api import expect

from tests.auth.browser import PASSWORD, make_account
from tests.browser.looks import LOOKS
from tests.browser.steps import turns
from tests.conftest import Person

pytestmark = pytest.mark.parametrize("look", LOOKS)


@pytest.fixture
def user(app):
    return Person(make_account(app, "ada@example.org"), "ada@example.org", "")


@pytest.fixture
def plain(site, user, new_context, look):
    """A browser without scripts, at the sign-in page."""
    page = new_context(base_url=site, java_script_enabled=False, **LOOKS[look]).new_page()
    page.goto("/")
    page.get_by_label("Email").fill(user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    return page


def ask(page, text):
    page.locator("#text").fill(text)
    page.locator("#action button").click()


def test_one_signs_in_sends_and_reads(app, plain, demo):
    hold = demo.hold()
    demo.will_say("Slowly", hold, " done.")

    ask(plain, "Hello")
    expect(plain.get_by_role("button", name="Stop")).to_be_visible()
    expect(plain.locator("#text")).to_be_hidden()
    hold.set()

    expect(plain.locator(".prose")).to_have_text("Slowly done.")
    expect(plain.get_by_role("button", name="Send")).to_be_visible()
    expect(plain.locator("#text")).to_be_visible()
    assert turns(app) == 1


def test_one_stops_an_answer(plain, demo):
    demo.will_say("As far as this", demo.hold())
    ask(plain, "Tell me")
    expect(plain.locator(".prose")).to_have_text("As far as this")

    plain.get_by_role("button", name="Stop").click()

    expect(plain.locator(".answer")).to_contain_text("You stopped this answer.")


def test_one_renames_deletes_and_takes_back(plain, demo):
    ask(plain, "First title")
    expect(plain.locator(".bill")).to_be_visible()
    plain.get_by_role("link", name="Chat settings").click()
    plain.get_by_role("textbox", name="Title").fill("Another title")
    plain.get_by_role("button", name="Save").click()
    plain.get_by_role("button", name="Delete").click()
    expect(plain.locator("#welcome")).to_be_visible()

    plain.get_by_role("button", name="Undo").click()

    expect(plain.locator("#title")).to_have_text("Another title")


def test_one_chooses_a_persona_and_what_this_chat_and_new_ones_are_like(app, user, plain, demo):
    plain.get_by_label("Persona").select_option("tutor")
    ask(plain, "Teach me")
    expect(plain.locator(".bill")).to_be_visible()
    plain.get_by_role("link", name="Chat settings").click()
    expect(plain.get_by_label("Instructions")).to_have_value(re.compile("patient tutor"))
    plain.get_by_label("Temperature").fill("0.5")
    plain.get_by_role("button", name="Save").click()
    expect(plain.get_by_label("Temperature")).to_have_value("0.5")

    plain.goto("/account")
    plain.locator("#defaults").get_by_label("Instructions").fill("Be brief.")
    plain.locator("#defaults").get_by_role("button", name="Save").click()
    plain.goto("/")
    ask(plain, "Hello")
    plain.get_by_role("link", name="Chat settings").click()

    expect(plain.get_by_label("Instructions")).to_have_value("Be brief.")


def test_one_finds_chats_usage_and_the_way_out(plain, demo, look):
    ask(plain, "Hello")
    expect(plain.locator(".bill")).to_be_visible()
    if look == "narrow":
        plain.get_by_role("button", name="Show chats").click()
    expect(plain.locator("#chats")).to_contain_text("Hello")
    plain.locator("#meter").click()
    expect(plain.locator("main")).to_contain_text("tokens left")
    if look == "narrow":
        plain.get_by_role("button", name="Show chats").click()
    plain.locator(".account").click()
    plain.get_by_role("button", name="Sign out").click()
    expect(plain).to_have_url(re.compile("/login"))
