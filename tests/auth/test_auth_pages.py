"""Signing in, coming in by a link, and the account page, as a person meets them."""

import re
import unicodedata
from types import SimpleNamespace

import gevent
import pytest
from sqlalchemy import func, select
from werkzeug.security import generate_password_hash

from chatapp.auth import accounts, invitations, passwords
from chatapp.auth.models import ApiKey, LoginSession, User
from chatapp.budget.models import LedgerEntry, UserUsage
from chatapp.budget.queries import usage_of
from chatapp.kernel.database import write
from chatapp.kernel.errors import NotFound, Unavailable
from chatapp.kernel.extensions import db, limiter
from tests.auth.browser import PASSWORD, Browser, error_of, make_account, signed_in

ANOTHER = "another horse entirely"
HOSTILE_TARGETS = [
    "//evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "https:evil.test",
    "https://evil.test",
    "http:///evil.test",
    "///evil.test",
    "javascript:alert(1)",
    "/\t/evil.test",
    "/\n/evil.test",
    "/ok\r\nSet-Cookie: a=b",
    "/\x00/evil.test",
    "evil.test",
    "/ünï",
    "/" + "x" * 600,
]


def shown(answer) -> str:
    """The text of a page, without what differs from one loading to the next."""
    return re.sub(r'value="[^"]*"|[Rr]eference: \w+|"X-CSRFToken": "[^"]+"', "", answer.text)


class TestSigningIn:
    def test_leads_back_to_where_one_wanted_to_go(self, browser, grace):
        asked = browser.get("/account?x=1")
        assert asked.location == "/login?next=/account?x%3D1"
        form = browser.get(asked.location)
        assert 'value="/account?x=1"' in form.text

        assert browser.sign_in(next="/account?x=1").location == "/account?x=1"

    @pytest.mark.parametrize("target", HOSTILE_TARGETS)
    def test_leads_nowhere_else(self, browser, grace, target):
        assert browser.sign_in(next=target).location == "/"
        assert browser.get("/login", query_string={"next": target}).location == "/"

    def test_says_the_same_of_a_wrong_password_an_unknown_and_a_disabled_user(self, app, browser, grace):
        make_account(app, "eve@example.org")
        with app.app_context():
            User.by_email("eve@example.org").disable()

        answers = [
            browser.sign_in("grace@example.org", "wrong"),
            browser.sign_in("bob@example.org", "wrong"),
            browser.sign_in("eve@example.org", PASSWORD),
        ]

        assert [answer.status_code for answer in answers] == [401] * 3
        assert len({shown(answer) for answer in answers}) == 1
        assert "Wrong email or password" in answers[0].text

    @pytest.mark.parametrize(
        "email", ["", "grace@example.org\0", "\ud800".encode("utf-8", "surrogatepass"), "x" * 5000]
    )
    def test_survives_any_email(self, browser, grace, email):
        assert browser.sign_in(email, "wrong").status_code in (401, 422)

    def test_takes_the_email_as_people_write_it(self, browser, grace):
        assert browser.sign_in(" Grace@Example.ORG ").status_code == 303

    @pytest.mark.parametrize("kept", ["zoë@example.org", "ελένη@example.org", "й@example.org", "i̇@example.org"])
    def test_takes_the_email_however_the_keyboard_composes_it(self, app, browser, cheap_hashes, kept):
        make_account(app, kept)

        for typed in (unicodedata.normalize("NFD", kept), unicodedata.normalize("NFC", kept), kept.upper()):
            assert Browser(app).sign_in(typed).status_code == 303

    def test_is_refused_when_the_password_changes_meanwhile(self, app, browser, grace, monkeypatch):
        real = passwords.matches

        def matches_late(known, typed):
            found = real(known, typed)
            with write():
                db.session.get(User, grace).password_hash = passwords.nobody()
            return found

        monkeypatch.setattr(passwords, "matches", matches_late)

        assert browser.sign_in().status_code == 401

    def test_makes_a_hash_of_an_earlier_edition_anew(self, app, browser, grace):
        old = generate_password_hash(PASSWORD, "scrypt:512:8:1")
        set_hash(app, grace, old)

        assert browser.sign_in(password="wrong").status_code == 401
        assert hash_of(app, grace) == old
        assert browser.sign_in().status_code == 303
        assert hash_of(app, grace).startswith("$argon2id$")
        assert Browser(app).sign_in().status_code == 303

    def test_works_while_another_tab_makes_the_hash_anew(self, app, browser, grace, monkeypatch):
        set_hash(app, grace, generate_password_hash(PASSWORD, "scrypt:512:8:1"))
        real = passwords.matches

        def matches_while_another_tab_signs_in(known, typed):
            monkeypatch.setattr(passwords, "matches", real)
            found = real(known, typed)
            assert Browser(app).sign_in().status_code == 303
            return found

        monkeypatch.setattr(passwords, "matches", matches_while_another_tab_signs_in)

        assert browser.sign_in().status_code == 303

    def test_works_while_too_many_wait_for_a_new_hash(self, app, browser, grace, monkeypatch):
        set_hash(app, grace, generate_password_hash(PASSWORD, "scrypt:512:8:1"))
        monkeypatch.setattr(passwords, "make_hash", is_busy)

        assert browser.sign_in().status_code == 303


def is_busy(*_arguments):
    raise Unavailable()


def hash_of(app, user_id):
    with app.app_context():
        return db.session.get(User, user_id).password_hash


def set_hash(app, user_id, password_hash):
    with app.app_context(), write():
        db.session.get(User, user_id).password_hash = password_hash


class TestRequestLimits:
    @pytest.fixture
    def settings(self):
        return {"rate_limits": True, "sign_ins_per_minute": 3}

    def test_wrong_passwords_are_slowed_and_only_here(self, app, grace):
        here, elsewhere = Browser(app, REMOTE_ADDR="192.0.2.1"), Browser(app, REMOTE_ADDR="192.0.2.2")
        codes = [here.sign_in(password="wrong").status_code for _ in range(4)]

        assert codes == [401, 401, 401, 429]
        assert here.sign_in().status_code == 429
        assert int(here.sign_in().headers["Retry-After"]) > 0
        assert elsewhere.sign_in().status_code == 303

    def test_another_account_is_not_locked_out_at_this_address(self, app, browser, grace):
        make_account(app, "eve@example.org")
        for _ in range(4):
            browser.sign_in(password="wrong")

        assert browser.sign_in("eve@example.org").status_code == 303

    def test_signing_in_rightly_is_never_slowed(self, app, grace):
        for _ in range(6):
            assert Browser(app).sign_in().status_code == 303

    def test_one_address_cannot_try_many_accounts(self, browser, grace):
        codes = [browser.sign_in(f"user{number}@example.org", "wrong").status_code for number in range(31)]

        assert codes == [401] * 30 + [429]

    def test_many_addresses_cannot_try_one_account(self, app, grace):
        codes = [
            Browser(app, REMOTE_ADDR=f"192.0.2.{number}").sign_in(password="wrong").status_code for number in range(31)
        ]

        assert codes == [401] * 30 + [429]

    def test_a_household_is_one_address(self, app, grace):
        for number in range(4):
            code = Browser(app, REMOTE_ADDR=f"2001:db8::{number}").sign_in(password="wrong").status_code

        assert code == 429

    def test_callers_over_ipv4_stay_apart_where_the_server_listens_on_ipv6(self, app, grace):
        here, elsewhere = (Browser(app, REMOTE_ADDR=f"::ffff:192.0.2.{number}") for number in (5, 9))

        assert [here.sign_in(password="wrong").status_code for _ in range(4)] == [401] * 3 + [429]
        assert elsewhere.sign_in().status_code == 303

    def test_one_spelling_of_an_email_is_counted_with_the_others(self, app, cheap_hashes):
        make_account(app, "zoë@example.org")
        codes = [
            Browser(app).sign_in(email, "wrong").status_code
            for email in ("zoë@example.org", "zoe\u0308@example.org", "ZOË@example.org", " zoë@example.org")
        ]

        assert codes == [401] * 3 + [429]

    def test_a_right_password_takes_back_its_own_tries_and_not_those_of_its_address(self, app, grace, monkeypatch):
        equal = SimpleNamespace(sign_ins_per_minute=SameTimesTen(3))
        monkeypatch.setattr("chatapp.auth.limits.settings", lambda: equal)
        emails = ["user0@example.org", "user1@example.org", "grace@example.org", "user2@example.org"]
        for email in emails:
            Browser(app).sign_in(email, PASSWORD)

        assert Browser(app).sign_in("user3@example.org", "wrong").status_code == 429

    def test_tries_at_once_are_all_counted(self, app, grace):
        tries = [gevent.spawn(Browser(app).sign_in, password="wrong") for _ in range(8)]
        gevent.joinall(tries)

        assert sorted(each.value.status_code for each in tries) == [401] * 3 + [429] * 5


class SameTimesTen(int):
    """A number of tries that makes the narrow limit and the wide ones equal."""

    def __mul__(self, other):
        return self


class TestRequestLimitsWithoutTheirRedis:
    @pytest.fixture
    def settings(self, monkeypatch):
        # The limiter is one for all applications of this process: put back what it learns here.
        for name in ("_storage_dead", "_in_memory_fallback_enabled"):
            monkeypatch.setattr(limiter, name, getattr(limiter, name))
        return {"rate_limits": True, "sign_ins_per_minute": 3, "redis_url": "redis://127.0.0.1:1/0"}

    def test_they_hold_all_the_same(self, app, grace):
        codes = [Browser(app).sign_in(password="wrong").status_code for _ in range(4)]

        assert codes == [401, 401, 401, 429]

    def test_signing_in_works(self, app, grace):
        assert Browser(app).sign_in().status_code == 303


class TestRegistering:
    @pytest.fixture
    def settings(self):
        return {"signup": "open"}

    @pytest.fixture(autouse=True)
    def _cheap(self, cheap_hashes, request):
        if "setup" not in request.node.name:
            request.getfixturevalue("user")

    def test_is_closed_until_the_setup_has_made_an_administrator(self, app, browser):
        assert browser.get("/register").status_code == 404
        assert browser.post("/register", email="bob@example.org", password=ANOTHER).status_code == 404
        assert b"/register" not in browser.get("/login").data

        with app.app_context():
            assert User.by_email("bob@example.org") is None

    def test_makes_an_account_with_its_budget(self, app, browser):
        browser.post("/register", email="Bob@example.org", password=ANOTHER)

        assert browser.sign_in("bob@example.org", ANOTHER).status_code == 303
        with app.app_context():
            bob = User.by_email("bob@example.org")
            assert usage_of(bob.id).remaining_tokens == 100_000
            assert not bob.is_admin

    def test_says_the_same_for_an_email_that_is_taken(self, app, grace):
        taken = Browser(app).post("/register", email="grace@example.org", password=ANOTHER)
        free = Browser(app).post("/register", email="bob@example.org", password=ANOTHER)

        assert (taken.status_code, taken.location) == (free.status_code, free.location) == (303, "/login")
        assert Browser(app).sign_in("grace@example.org", ANOTHER).status_code == 401

    def test_says_what_is_wrong_with_a_password(self, browser):
        answer = browser.post("/register", email="bob@example.org", password="bob12345")

        assert answer.status_code == 422
        assert "too common" in answer.text

    def test_ignores_fields_that_nobody_asked_for(self, app, browser):
        browser.post("/register", email="bob@example.org", password=ANOTHER, is_admin="1", limit="5")

        with app.app_context():
            assert not User.by_email("bob@example.org").is_admin


def test_nobody_registers_where_invitations_are_needed(browser):
    assert browser.get("/register").status_code == 404
    assert browser.post("/register", email="bob@example.org", password=ANOTHER).status_code == 404


class TestInvitations:
    @pytest.fixture
    def link(self, app, cheap_hashes):
        with app.test_request_context():
            invitation = invitations.Invitation("bob@example.org", is_admin=True, limit=500)
            return invitation.issue().removeprefix("http://localhost")

    def test_an_invitation_makes_the_account_it_names(self, app, browser, link):
        assert "bob@example.org" in browser.get(link).text

        browser.post(link, password=ANOTHER, email="eve@example.org")

        assert browser.is_signed_in()
        with app.app_context():
            bob = User.by_email("bob@example.org")
            assert bob.is_admin
            assert usage_of(bob.id).token_limit == 500
            assert User.by_email("eve@example.org") is None

    @pytest.mark.parametrize(("sent", "kept"), [("Europe/Berlin", "Europe/Berlin"), ("Mars/Base", "UTC"), ("", "UTC")])
    def test_a_new_account_lives_in_the_browsers_time_zone(self, app, browser, link, sent, kept):
        browser.post(link, password=ANOTHER, timezone=sent)

        with app.app_context():
            assert db.session.scalar(db.select(User.timezone).where(User.email == "bob@example.org")) == kept

    def test_an_invitation_serves_once(self, app, browser, link):
        browser.post(link, password=ANOTHER)

        assert Browser(app).get(link).status_code == 404
        assert Browser(app).post(link, password=ANOTHER).status_code == 404

    def test_an_invitation_expires_but_not_by_a_clock_that_steps_back(self, browser, link, monkeypatch):
        from datetime import timedelta

        real = invitations.now
        monkeypatch.setattr(invitations, "now", lambda: real() - timedelta(hours=2))
        assert browser.get(link).status_code == 200

        monkeypatch.setattr(invitations, "now", lambda: real() + timedelta(days=8))
        assert browser.get(link).status_code == 404

    def test_a_changed_link_is_nothing(self, browser, link):
        assert browser.get(link + "x").status_code == 404
        assert browser.get(link.replace("/invitations/", "/setup/")).status_code == 404


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "http://127.0.0.1:8000/setup/"),
        ({"host": "0.0.0.0", "port": 9000}, "http://localhost:9000/setup/"),
        ({"host": "::1"}, "http://[::1]:8000/setup/"),
        ({"public_url": "https://chat.example.org"}, "https://chat.example.org/setup/"),
    ],
)
def test_a_link_leads_to_where_the_site_is(app, settings, expected):
    assert invitations.setup_link(app).startswith(expected)


class TestSettingUp:
    @pytest.fixture
    def link(self, app, cheap_hashes):
        return invitations.setup_link(app).removeprefix("http://127.0.0.1:8000")

    def test_makes_the_administrator_once(self, app, browser, link):
        browser.post(link, email="grace@example.org", password=PASSWORD)

        assert browser.is_signed_in()
        assert invitations.setup_link(app) is None
        assert Browser(app).get(link).status_code == 404
        with app.app_context():
            assert User.by_email("grace@example.org").is_admin

    def test_the_sign_in_page_says_that_there_is_nobody_yet(self, browser, grace, app):
        assert "no account yet" not in browser.get("/login").text


def test_the_sign_in_page_of_a_new_site_says_so(browser):
    assert "no account yet" in browser.get("/login").text


def test_however_many_race_to_set_up_one_becomes_administrator(both_app):
    app = both_app
    refused = []

    def race(number):
        with app.app_context():
            try:
                accounts.create_first(f"user{number}@example.org", "!")
            except NotFound:
                refused.append(number)

    gevent.joinall([gevent.spawn(race, number) for number in range(8)], raise_error=True)

    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(User)) == 1
    assert len(refused) == 7


def test_an_email_becomes_one_account_however_many_race_for_it(both_app):
    app = both_app

    def race():
        with app.app_context(), write():
            accounts.create("grace@example.org", "!")

    racing = [gevent.spawn(race) for _ in range(8)]
    gevent.joinall(racing)

    assert [type(each.exception) for each in racing].count(accounts.EmailTaken) == 7
    with app.app_context():
        for table in (User, UserUsage, LedgerEntry):
            assert db.session.scalar(select(func.count()).select_from(table)) == 1


class TestAccountPage:
    def test_changing_the_password_ends_all_other_logins(self, app, signed_in_browser, grace):
        other = signed_in(app, grace)
        assert other.is_signed_in()

        answer = signed_in_browser.post("/account/password", current_password=PASSWORD, password=ANOTHER)

        assert answer.location == "/account"
        assert signed_in_browser.is_signed_in()
        assert not other.is_signed_in()
        assert other.sign_in(password=PASSWORD).status_code == 401
        assert other.sign_in(password=ANOTHER).status_code == 303

    def test_the_password_is_changed_only_by_who_knows_it(self, app, signed_in_browser, grace):
        answer = signed_in_browser.post("/account/password", current_password="wrong", password=ANOTHER)

        assert answer.status_code == 422
        assert "Wrong password" in answer.text
        assert Browser(app).sign_in().status_code == 303

    def test_a_weak_new_password_is_refused(self, signed_in_browser):
        answer = signed_in_browser.post("/account/password", current_password=PASSWORD, password="password1")

        assert answer.status_code == 422
        assert "too common" in answer.text

    def test_one_other_login_can_be_ended(self, app, signed_in_browser, grace):
        others = [signed_in(app, grace), signed_in(app, grace)]
        login_id = _login_of(app, others[0])

        signed_in_browser.post(f"/account/sessions/{login_id}/end")

        assert [browser.is_signed_in() for browser in [signed_in_browser, *others]] == [True, False, True]

    def test_all_other_logins_can_be_ended(self, app, signed_in_browser, grace):
        other = signed_in(app, grace)

        signed_in_browser.post("/account/sessions/end-others")

        assert signed_in_browser.is_signed_in()
        assert not other.is_signed_in()

    def test_a_key_is_shown_once_and_works_until_revoked(self, app, signed_in_browser, client):
        answer = signed_in_browser.post("/account/keys", key_name="laptop")
        key = re.search(r"chat_[\w-]{43}", answer.text)[0]
        by_key = {"Authorization": f"Bearer {key}"}
        assert client.get("/api/chat", headers=by_key).status_code == 200
        page = signed_in_browser.get("/account").text
        assert key not in page
        assert "laptop" in page

        signed_in_browser.post(re.search(r"/account/keys/[\w-]+/revoke", page)[0])

        assert client.get("/api/chat", headers=by_key).status_code == 401

    def test_a_key_too_many_is_refused_beside_its_name(self, signed_in_browser, monkeypatch):
        monkeypatch.setattr("chatapp.auth.account_views.MAX_KEYS", 0)

        page = signed_in_browser.post("/account/keys", key_name="laptop")

        assert page.status_code == 422
        assert "You have 0 keys" in error_of(page.text, "key_name")
        assert 'value="laptop"' in page.text

    @pytest.mark.parametrize("path", ["sessions/{login}/end", "keys/{key}/revoke"])
    def test_what_belongs_to_another_is_not_there(self, app, signed_in_browser, user, other_user, path):
        eve = signed_in(app, other_user.id)
        with app.app_context():
            key_id = ApiKey.in_force_of(other_user.id)[0].id
        path = path.format(login=_login_of(app, eve), key=key_id)

        assert signed_in_browser.post(f"/account/{path}").status_code == 404
        assert eve.is_signed_in()
        assert app.test_client().get("/api/chat", headers=other_user.headers).status_code == 200

    @pytest.mark.parametrize("part", ["sessions/nonsense/end", "keys/nonsense/revoke"])
    def test_an_id_that_is_none_is_not_there(self, signed_in_browser, part):
        assert signed_in_browser.post(f"/account/{part}").status_code == 404

    def test_preferences_are_kept(self, app, signed_in_browser, grace):
        signed_in_browser.post("/account/preferences", timezone="Europe/Berlin", locale="de", theme="dark")

        page = signed_in_browser.get("/account").text
        assert '<html lang="de"' in page
        assert 'data-theme="dark"' in page
        assert '<option selected value="Europe/Berlin">' in page

    def test_the_theme_may_come_alone_from_any_page(self, app, signed_in_browser, grace):
        signed_in_browser.post("/account/preferences", timezone="Europe/Berlin", locale="de", theme="light")
        answer = signed_in_browser.post(
            "/account/preferences", headers={"Referer": "http://localhost/account?x=1"}, theme="dark"
        )

        assert answer.location == "/account?x=1"
        assert re.match("theme-[0-9a-f]{8}=dark; ", answer.headers["Set-Cookie"])
        assert answer.headers["Set-Cookie"].endswith("; Path=/; SameSite=Lax")
        with app.app_context():
            assert db.session.get(User, grace).timezone == "Europe/Berlin"

    @pytest.mark.parametrize(("name", "value"), [("timezone", "Mars/Base"), ("theme", "x; Path=/y"), ("locale", "xx")])
    def test_preferences_that_do_not_exist_are_refused(self, signed_in_browser, name, value):
        answer = signed_in_browser.post("/account/preferences", **{name: value})

        assert answer.status_code == 422
        assert "Set-Cookie" not in answer.headers

    def test_names_the_browsers_for_people(self, app, grace):
        firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        browser = Browser(app, HTTP_USER_AGENT=firefox)
        browser.sign_in()

        assert "Firefox, Linux" in browser.get("/account").text


@pytest.mark.parametrize(
    ("language", "expected"), [("de-AT,de;q=0.9", "de-AT"), ("fr", "en"), ("en-GB,de;q=0.5", "en-GB"), ("", "en")]
)
def test_a_page_speaks_the_browsers_language_where_it_can(browser, language, expected):
    page = browser.get("/login", headers={"Accept-Language": language}).text

    assert f'<html lang="{expected}"' in page


def _login_of(app, browser):
    with app.app_context(), browser.client.session_transaction() as session:
        from chatapp.auth.models import digest

        return db.session.scalar(select(LoginSession.id).where(LoginSession.token_digest == digest(session["login"])))
