"""The sidebar folds away on a wide screen and stays folded; on a phone it is a drawer."""

import pytest
from playwright.sync_api import expect


def test_the_sidebar_folds_and_stays_folded_over_a_reload(page):
    page.get_by_role("button", name="Hide chats").click()
    expect(page.locator("#side")).to_be_hidden()
    expect(page.get_by_role("button", name="Show chats")).to_be_focused()

    page.reload()
    expect(page.locator("#side")).to_be_hidden()
    page.get_by_role("button", name="Show chats").click()

    expect(page.locator("#side")).to_be_visible()
    expect(page.get_by_role("button", name="Hide chats")).to_be_focused()


def test_ctrl_b_folds_it_while_one_writes(page):
    page.locator("#text").fill("Half a thought")

    page.keyboard.press("Control+b")

    expect(page.locator("#side")).to_be_hidden()
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("Control+b")
    expect(page.locator("#side")).to_be_visible()


def test_the_search_key_unfolds_it(page):
    page.keyboard.press("Control+b")
    expect(page.locator("#side")).to_be_hidden()

    page.keyboard.press("Control+k")

    expect(page.locator("#search")).to_be_focused()
    expect(page.locator("#side")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_on_a_phone_it_is_a_drawer_whatever_is_folded(open_page, scripts):
    page = open_page("/", viewport={"width": 390, "height": 844}, java_script_enabled=scripts)
    expect(page.locator("#side")).to_be_hidden()

    page.get_by_role("button", name="Show chats").click()

    expect(page.locator("#side")).to_be_visible()
    expect(page.locator("#side .fold")).to_be_hidden()
