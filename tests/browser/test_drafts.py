"""What was typed is not lost, not sent twice, and nobody else's to read."""

# ruff: noqa: F811

import re

import pytest
from playwright.sync_api import expect

from chatapp.auth.models import LoginSession
from chatapp.kernel.database import write
from tests.auth.browser import PASSWORD, make_account
from tests.browser.looks import page  # noqa: F401
from tests.browser.steps import cookie, send, show_chats, turns
from tests.conftest import Person


@pytest.fixture
def user(app):
    return Person(make_account(app, "ada@example.org"), "ada@example.org", "")


def end_logins(app, user):
    with app.app_context(), write():
        LoginSession.end_all(user.id)


def sign_in(page, email="ada@example.org"):
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def open_chat(page):
    """Begin a chat and wait for its answer's end."""
    send(page, "Hello")
    expect(page.locator(".bill")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    return page.url


def test_a_draft_is_there_again_after_a_reload_in_the_chat_it_was_written_in(page, demo):
    address = open_chat(page)
    page.locator("#text").fill("A thought for later")
    page.goto("/")
    expect(page.locator("#text")).to_have_value("")
    page.goto(address)
    expect(page.locator("#text")).to_have_value("A thought for later")


def test_a_login_that_ended_costs_no_draft_and_the_message_goes_out_once(app, user, page, demo, complaints):
    complaints.expect("401")
    address = open_chat(page)
    end_logins(app, user)

    send(page, "A long thought")
    sign_in(page)

    expect(page).to_have_url(address)
    expect(page.locator("#text")).to_have_value("A long thought")
    assert turns(app) == 1
    page.locator("#text").press("Enter")
    expect(page.locator(".bubble")).to_have_text(["Hello", "A long thought"])
    expect(page.locator("#text")).to_have_value("")
    page.reload()
    expect(page.locator("#text")).to_have_value("")
    assert turns(app) == 2


@pytest.mark.parametrize("is_new", [True, False])
def test_an_answer_that_is_lost_on_the_way_does_not_double_the_message(app, page, demo, complaints, is_new):
    complaints.expect("ERR_FAILED")
    complaints.expect("htmx:error")
    if not is_new:
        open_chat(page)
    before = turns(app)

    def lose(route):
        route.fetch()
        route.abort()

    page.route(re.compile(r"/chats$|/messages$"), lose, times=1)
    send(page, "Only once")
    expect(page.locator(".toast")).to_contain_text("your text is still here")
    page.reload()
    expect(page.locator("#text")).to_have_value("Only once")
    page.locator("#text").press("Enter")

    expect(page.locator(".bubble").last).to_have_text("Only once")
    expect(page.locator("#text")).to_have_value("")
    assert turns(app) == before + 1


def test_what_is_typed_while_a_first_message_is_sent_stays(page, demo):
    held = []
    page.route("**/chats", lambda route: held.append(route))
    with page.expect_request("**/chats"):
        send(page, "One")
    page.locator("#text").press_sequentially(" two")
    held[0].continue_()

    expect(page.locator(".bubble")).to_have_text("One")
    expect(page.locator("#text")).to_have_value(" two")
    page.reload()
    expect(page.locator("#text")).to_have_value(" two")


def test_signing_out_forgets_every_draft(page, complaints):
    # What the draft would come to may be asked for in the very moment in which the login ends.
    complaints.expect("401 (UNAUTHORIZED)")
    complaints.expect("403 (FORBIDDEN)")  # With the token of the login that is over.
    page.locator("#text").fill("My secret")
    show_chats(page)
    page.locator(".account").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/login"))
    assert page.evaluate("Object.keys(localStorage)") == []


def test_a_draft_is_not_shown_to_the_next_person_in_the_same_browser(app, site, page, other_user):
    page.locator("#text").fill("My secret")
    page.context.add_cookies([cookie(app, site, other_user)])
    page.goto("/")
    expect(page.locator("#text")).to_have_value("")
    assert page.evaluate("Object.keys(localStorage)") == []
