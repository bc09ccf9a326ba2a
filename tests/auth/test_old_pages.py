"""Forms that are older than their cookie: another tab signed in, or the browser was closed meanwhile."""

import re
from html import unescape

import pytest

from chatapp.auth import invitations
from chatapp.auth.models import User
from chatapp.kernel.extensions import db
from tests.auth.browser import PASSWORD, TOKEN, Browser, make_account, signed_in

ANOTHER = "another horse entirely"
OURS = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://localhost"},
    {"Referer": "http://localhost/login"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost", "Referer": "http://localhost/login"},
]
ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.test"},
    {"Origin": "http://localhost:8001"},
    {"Origin": "null"},
    {"Referer": "http://evil.test/"},
    {"Referer": "http://["},
]
UNKNOWN = [{}, {"Sec-Fetch-Site": "none"}]


class OldTab:
    """A tab whose page was loaded before the cookie changed."""

    def __init__(self, browser, path="/login"):
        self.browser, self.page = browser, browser.get(path).text
        self.fields = {"csrf_token": TOKEN.search(self.page)[1]}
        if target := re.search(r'name="next"[^>]*value="([^"]*)"', self.page):
            self.fields["next"] = unescape(target[1])

    def send(self, path="/login", headers=OURS[0], **fields):
        sent = {"email": "grace@example.org", "password": PASSWORD} | self.fields | fields
        return self.browser.client.post(path, data=sent, headers=headers)


def close(browser):
    """Forget the cookies, as a browser does that is closed."""
    browser.client.delete_cookie(browser.cookie_name)


@pytest.mark.parametrize("headers", [*OURS, *UNKNOWN])
def test_a_second_tab_ends_where_its_own_sign_in_would_have_led(browser, grace, headers):
    second = OldTab(browser, "/login?next=/account")
    browser.sign_in()
    cookie = browser.cookie()

    assert second.send(headers=headers).location == "/account"
    assert browser.cookie() == cookie


def test_a_second_tab_may_sign_in_as_somebody_else(app, browser, grace):
    make_account(app, "eve@example.org")
    second = OldTab(browser)
    browser.sign_in()

    assert second.send(email="eve@example.org").status_code == 303
    assert "eve@example.org" in browser.get("/account").text


@pytest.mark.parametrize("headers", OURS)
def test_a_form_that_is_surely_ours_signs_in_without_its_cookie(browser, grace, headers):
    tab = OldTab(browser, "/login?next=/account")
    close(browser)

    assert tab.send(headers=headers).location == "/account"
    assert browser.is_signed_in()


@pytest.mark.parametrize("headers", UNKNOWN)
def test_a_form_from_who_knows_where_comes_back_filled_in_and_works(browser, grace, headers):
    tab = OldTab(browser, "/login?next=/account")
    close(browser)

    again = tab.send(headers=headers)

    assert again.status_code == 403
    assert 'value="grace@example.org"' in again.text
    assert "had expired" in again.text
    assert PASSWORD not in again.text
    tab.fields["csrf_token"] = TOKEN.search(again.text)[1]
    assert tab.send(headers=headers).location == "/account"


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_another_sites_form_signs_nobody_in_and_is_not_shown_again(browser, grace, headers):
    close(browser)

    refused = browser.client.post("/login", data={"email": "grace@example.org", "password": PASSWORD}, headers=headers)

    assert refused.status_code == 403
    assert "grace@example.org" not in refused.text
    assert not browser.is_signed_in()


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_another_sites_form_signs_nobody_out(signed_in_browser, headers):
    assert signed_in_browser.client.post("/logout", headers=headers).status_code == 403
    assert signed_in_browser.is_signed_in()


def test_a_wrong_password_is_wrong_on_an_old_page_too(browser, grace):
    tab = OldTab(browser)
    close(browser)

    assert tab.send(password="wrong").status_code == 401


def test_an_old_page_signs_out(app, browser, grace):
    browser.sign_in()
    fields = {"csrf_token": browser.token()}
    browser.take(signed_in(app, grace).cookie())

    assert browser.client.post("/logout", data=fields, headers=OURS[0]).location == "/login"
    assert not browser.is_signed_in()


@pytest.mark.parametrize("headers", [*OURS, *UNKNOWN])
def test_an_old_page_of_somebody_who_is_signed_out_already_leads_to_the_sign_in_page(browser, headers):
    assert browser.client.post("/logout", headers=headers).location == "/login"


class TestRequestLimits:
    @pytest.fixture
    def settings(self):
        return {"rate_limits": True, "sign_ins_per_minute": 3}

    def test_forms_that_are_shown_again_use_up_nobodys_tries(self, app, browser, grace):
        for _ in range(5):
            assert Browser(app).client.post("/login", data={"email": "grace@example.org"}).status_code == 403

        assert browser.sign_in().status_code == 303

    def test_wrong_passwords_on_old_pages_are_counted(self, browser, grace):
        tab = OldTab(browser)
        close(browser)

        assert [tab.send(password="wrong").status_code for _ in range(4)] == [401] * 3 + [429]


class TestComingIn:
    @pytest.fixture
    def settings(self):
        return {"signup": "open"}

    @pytest.fixture
    def doors(self, app, cheap_hashes):
        """The addresses at which an account is made, each with the email it makes it for."""
        setup = invitations.setup_link(app).removeprefix("http://127.0.0.1:8000")
        with app.test_request_context():
            link = invitations.Invitation("bob@example.org").issue().removeprefix("http://localhost")
        return {"setup": setup, "invitation": link, "register": "/register"}

    @pytest.mark.parametrize("door", ["setup", "invitation", "register"])
    def test_an_old_form_that_is_ours_makes_the_account(self, app, browser, doors, door):
        if door == "register":
            make_account(app, "root@example.org", is_admin=True)
        tab = OldTab(browser, doors[door])
        close(browser)

        assert tab.send(doors[door], email="bob@example.org", password=ANOTHER).status_code == 303
        with app.app_context():
            assert User.by_email("bob@example.org")

    @pytest.mark.parametrize("door", ["setup", "invitation", "register"])
    def test_an_old_form_from_who_knows_where_comes_back_with_its_email(self, app, browser, doors, door):
        if door == "register":
            make_account(app, "root@example.org", is_admin=True)
        tab = OldTab(browser, doors[door])
        close(browser)

        again = tab.send(doors[door], headers={}, email="bob@example.org", password=ANOTHER)

        assert (again.status_code, "had expired" in again.text) == (403, True)
        assert 'value="bob@example.org"' in again.text
        tab.fields["csrf_token"] = TOKEN.search(again.text)[1]
        assert tab.send(doors[door], headers={}, email="bob@example.org", password=ANOTHER).status_code == 303

    @pytest.mark.parametrize("door", ["setup", "invitation", "register"])
    @pytest.mark.parametrize("headers", ELSEWHERE[:3])
    def test_another_sites_form_makes_no_account(self, app, browser, doors, door, headers):
        sent = {"email": "bob@example.org", "password": ANOTHER}

        assert browser.client.post(doors[door], data=sent, headers=headers).status_code == 403
        with app.app_context():
            assert db.session.scalar(db.select(User.id)) is None

    @pytest.mark.parametrize("door", ["setup", "invitation"])
    def test_a_second_tab_goes_where_the_first_one_went(self, browser, doors, door):
        second = OldTab(browser, doors[door])
        browser.post(doors[door], email="bob@example.org", password=ANOTHER)

        assert second.send(doors[door], email="bob@example.org", password=ANOTHER).location == "/"


def test_a_referrer_that_is_no_address_is_survived(signed_in_browser):
    answer = signed_in_browser.post("/account/preferences", headers={"Referer": "http://["}, theme="dark")

    assert answer.status_code == 303


def test_an_address_of_htmx_that_is_none_is_survived(browser):
    answer = browser.get("/account", headers={"HX-Request": "true", "HX-Current-URL": "http://["})

    assert answer.headers["HX-Redirect"] == "/login"
