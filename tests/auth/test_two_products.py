"""Two products on one host: cookies know no ports, so one browser sends each of them all that both have set."""

import shutil

import pytest

from tests import servers
from tests.auth.browser import Browser, make_account
from tests.conftest import application


@pytest.fixture
def other(demo, tmp_path):
    """Another product, with a key of its own: a browser that is nobody there yet."""
    shutil.copy(servers.migrated_sqlite(), tmp_path / "other.db")
    key = {"secret_key": "another product's key, of thirty and more letters"}
    for app in application(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other", demo, key):
        make_account(app, "grace@example.org")
        yield Browser(app)


def carry(source, target):
    """Have the other product's browser hold what this one holds: it is the same one."""
    for cookie in source.client._cookies.values():
        target.client.set_cookie(cookie.key, cookie.value)


def test_signing_in_to_one_leaves_the_login_at_the_other(signed_in_browser, other):
    carry(signed_in_browser, other)
    other.sign_in()
    carry(other, signed_in_browser)

    assert signed_in_browser.is_signed_in()
    assert other.is_signed_in()


def test_each_keeps_a_theme_of_its_own(signed_in_browser, other):
    signed_in_browser.post("/account/preferences", theme="dark")
    carry(signed_in_browser, other)

    assert 'data-theme="dark"' in signed_in_browser.get("/account").text
    assert 'data-theme="dark"' not in other.get("/login").text


def test_a_session_of_an_application_unlike_ours_is_left_alone(signed_in_browser):
    signed_in_browser.client.set_cookie("session", "eyJ1c2VyIjoxfQ.aaaa.bbbb")

    assert signed_in_browser.is_signed_in()
    assert signed_in_browser.client.get_cookie("session").value == "eyJ1c2VyIjoxfQ.aaaa.bbbb"


def test_a_login_of_an_earlier_edition_is_good(browser, signed_in_browser):
    browser.client.set_cookie("session", signed_in_browser.cookie())

    assert browser.is_signed_in()
