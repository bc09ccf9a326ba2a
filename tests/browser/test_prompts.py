""" "/" in the message box lists saved prompts."""

import pytest
from playwright.sync_api import expect

from chatapp.auth.models import User
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from chatapp.personas.models import Prompt

SIZES = {"wide": {"width": 1280, "height": 800}, "narrow": {"width": 390, "height": 844}}


@pytest.fixture
def prompts(app, user):
    with app.app_context(), write():
        person = db.session.get_one(User, user.id)
        Prompt.add(person, {"name": "Mail", "text": "Answer this mail:\n"})
        Prompt.add(person, {"name": "Summary", "text": "Summarise this:"})


@pytest.mark.parametrize("size", SIZES)
def test_a_slash_lists_the_prompts_and_letters_narrow_them(open_page, prompts, size):
    page = open_page("/", viewport=SIZES[size])
    page.locator("#text").press_sequentially("/")
    expect(page.locator("#prompts > li:visible")).to_have_count(2)

    page.locator("#text").press_sequentially("summ")
    expect(page.locator("#prompts > li:visible")).to_have_count(1)
    page.keyboard.press("Enter")

    expect(page.locator("#text")).to_have_value("Summarise this:")
    expect(page.locator("#prompts")).to_be_hidden()
    expect(page.locator(".turn")).to_have_count(0)


def test_arrows_choose_and_escape_closes(open_page, prompts):
    page = open_page("/")
    page.locator("#text").press_sequentially("/")
    expect(page.locator("#prompts > [aria-selected=true]")).to_contain_text("Mail")

    page.keyboard.press("ArrowDown")
    expect(page.locator("#prompts > [aria-selected=true]")).to_contain_text("Summary")
    page.keyboard.press("Escape")

    expect(page.locator("#prompts")).to_be_hidden()
    expect(page.locator("#text")).to_have_value("/")


def test_a_prompt_is_chosen_by_a_click(open_page, prompts):
    page = open_page("/")
    page.locator("#text").press_sequentially("/")

    page.locator("#prompts").get_by_text("Mail", exact=True).click()

    expect(page.locator("#text")).to_have_value("Answer this mail:\n")
    expect(page.locator("#text")).to_be_focused()


def test_a_slash_within_a_text_is_a_slash(open_page, prompts):
    page = open_page("/")

    page.locator("#text").press_sequentially("and/or")

    expect(page.locator("#prompts")).to_be_hidden()
