"""Who a request comes from, and what ends that."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from chatapp.auth import models, sessions
from chatapp.auth.models import ApiKey, LoginSession, User
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db
from tests.auth.browser import PASSWORD, Browser, make_account, signed_in

CALL = "/api/chat/token-stats"


def logins(app, user_id):
    with app.app_context():
        return [login.id for login in LoginSession.open_of(user_id, timedelta(days=30), timedelta(days=14))]


def test_a_browser_that_signs_in_is_signed_in(browser, grace):
    assert not browser.is_signed_in()

    answer = browser.sign_in()

    assert (answer.status_code, answer.location) == (303, "/")
    assert browser.is_signed_in()


def test_signing_in_changes_the_cookie_and_its_csrf_token(browser, grace):
    token, cookie = browser.token(), browser.cookie()

    browser.sign_in()

    assert browser.cookie() != cookie
    refused = browser.client.post("/logout", data={"csrf_token": token})
    assert refused.status_code == 403
    assert browser.is_signed_in()


def test_signing_in_ends_the_login_that_this_browser_had(app, browser, grace):
    eve = make_account(app, "eve@example.org")
    planted = signed_in(app, eve).cookie()
    browser.take(planted)
    assert "eve@example.org" in browser.get("/account").text

    browser.sign_in()

    assert "eve@example.org" not in browser.get("/account").text
    assert logins(app, eve) == []


def test_a_cookie_copied_before_signing_out_is_worth_nothing(app, signed_in_browser):
    copy = signed_in_browser.cookie()
    thief = Browser(app)
    thief.take(copy)
    assert thief.get(CALL).status_code == 200

    signed_in_browser.post("/logout")

    assert thief.get(CALL).status_code == 401
    assert not thief.is_signed_in()


def test_a_disabled_user_is_out_with_every_login_and_key(app, signed_in_browser, grace):
    with app.app_context():
        with write():
            key = ApiKey.issue(db.session.get(User, grace))
        by_key = {"Authorization": f"Bearer {key}"}
        assert app.test_client().get(CALL, headers=by_key).status_code == 200
        db.session.get(User, grace).disable()

    assert app.test_client().get(CALL, headers=by_key).status_code == 401
    assert signed_in_browser.get(CALL).status_code == 401


def test_a_login_that_began_while_its_user_was_shut_out_opens_nothing(app, signed_in_browser, grace):
    with app.app_context(), write():
        db.session.get(User, grace).is_enabled = False

    assert signed_in_browser.get(CALL).status_code == 401


def session_cookie(answer, name):
    return next(each for each in answer.headers.getlist("Set-Cookie") if each.startswith(f"{name}="))


def test_the_cookies_attributes_are_all_there(browser, grace):
    cookie = session_cookie(browser.sign_in(), browser.cookie_name)

    assert "; HttpOnly; Path=/; SameSite=Lax" in cookie
    assert "; Expires=" in cookie
    assert "Domain=" not in cookie


class TestHttps:
    @pytest.fixture
    def settings(self):
        return {"public_url": "https://localhost"}

    def test_the_cookie_is_secure_and_bound_to_the_host(self, app, grace):
        answer = Browser(app, "https://localhost").sign_in()

        assert answer.status_code == 303
        cookie = session_cookie(answer, "__Host-session")
        assert "; Secure; HttpOnly; Path=/; SameSite=Lax" in cookie

    def test_a_post_from_another_site_is_refused_even_with_a_token(self, app, grace):
        browser = Browser(app, "https://localhost")
        assert browser.post("/login", headers={"Referer": "https://evil.test/"}).status_code == 403


def test_an_answer_that_changes_nothing_sets_no_cookie(signed_in_browser):
    signed_in_browser.get("/account")

    assert "Set-Cookie" not in signed_in_browser.get("/account").headers


def test_a_clock_that_steps_back_signs_nobody_out(app, monkeypatch, signed_in_browser, grace):
    the_past = now() - timedelta(hours=2)
    monkeypatch.setattr("itsdangerous.timed.TimestampSigner.get_timestamp", lambda self: int(the_past.timestamp()))
    monkeypatch.setattr(models, "now", lambda: the_past)

    assert signed_in_browser.is_signed_in()
    assert signed_in_browser.post("/account/keys").status_code == 200


@pytest.mark.parametrize(("days", "is_in"), [(13, True), (15, False)])
def test_a_login_ends_when_it_lies_idle(app, monkeypatch, signed_in_browser, days, is_in):
    monkeypatch.setattr(models, "now", lambda: now() + timedelta(days=days))

    assert signed_in_browser.is_signed_in() is is_in


def test_a_login_that_is_used_every_day_ends_at_its_age(app, monkeypatch, signed_in_browser, grace):
    start = now()
    for day in range(1, 31):
        monkeypatch.setattr(models, "now", lambda day=day: start + timedelta(days=day, seconds=-60))
        assert signed_in_browser.is_signed_in(), day

    monkeypatch.setattr(models, "now", lambda: start + timedelta(days=30, seconds=60))
    assert not signed_in_browser.is_signed_in()


def test_signing_in_again_removes_logins_that_are_over(app, browser, grace):
    browser.sign_in()
    browser.post("/logout")
    browser.sign_in()

    with app.app_context():
        assert db.session.query(LoginSession).count() == 1


class TestKeyRotation:
    @pytest.fixture
    def settings(self):
        return {"secret_key": "n" * 32, "secret_key_fallbacks": "o" * 32}

    def test_a_cookie_signed_with_the_key_before_still_counts(self, app, grace):
        app.config["SECRET_KEY"], app.config["SECRET_KEY_FALLBACKS"] = "o" * 32, None
        browser = signed_in(app, grace)
        app.config["SECRET_KEY"] = "n" * 32
        assert not browser.is_signed_in()

        app.config["SECRET_KEY_FALLBACKS"] = ["o" * 32]

        assert browser.is_signed_in()


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "bearer  ", "Bearer \xff"])
def test_a_wrong_key_is_nobody_even_with_a_good_cookie(signed_in_browser, header):
    assert signed_in_browser.get(CALL).status_code == 200

    assert signed_in_browser.get(CALL, headers={"Authorization": header}).status_code == 401


def test_another_scheme_before_the_site_leaves_the_cookie_alone(signed_in_browser):
    assert signed_in_browser.get(CALL, headers={"Authorization": "Basic YTpi"}).status_code == 200


def test_another_applications_remember_cookie_does_not_matter(app, signed_in_browser, user):
    signed_in_browser.client.set_cookie("remember_token", "1|abc")

    assert signed_in_browser.is_signed_in()
    assert signed_in_browser.get(CALL, headers=user.headers).status_code == 200


def test_a_key_does_not_open_the_account_page(client, user):
    assert client.get(CALL, headers=user.headers).status_code == 200

    answer = client.get("/account", headers=user.headers)

    assert answer.status_code == 403
    assert client.post("/account/keys", headers=user.headers).status_code == 403


class TestWhatEveryWriteNeeds:
    def test_the_api_asks_who_it_is_before_the_csrf_token(self, client):
        answer = client.post("/api/chat", json={})

        assert (answer.status_code, answer.json["code"]) == (401, "UNAUTHENTICATED")

    def test_the_api_refuses_a_cookie_without_its_token(self, signed_in_browser):
        answer = signed_in_browser.client.post("/api/chat", json={})

        assert (answer.status_code, answer.json["code"]) == (403, "CSRF_FAILED")

    def test_the_token_may_come_in_a_header(self, signed_in_browser):
        headers = {"X-CSRFToken": signed_in_browser.token()}

        assert signed_in_browser.client.post("/api/chat", json={}, headers=headers).status_code == 201

    def test_the_token_of_another_login_does_not_serve(self, app, signed_in_browser, grace):
        headers = {"X-CSRFToken": signed_in(app, grace).token()}

        assert signed_in_browser.client.post("/api/chat", json={}, headers=headers).status_code == 403

    def test_a_key_needs_none(self, client, user):
        assert client.post("/api/chat", json={}, headers=user.headers).status_code == 201

    @pytest.mark.parametrize("path", ["/login", "/logout", "/register", "/account/password", "/admin/invitations"])
    def test_pages_refuse_a_form_without_it(self, signed_in_browser, path):
        assert signed_in_browser.client.post(path, data={}).status_code == 403

    def test_a_token_is_as_good_after_a_night(self, monkeypatch, signed_in_browser):
        headers = {"X-CSRFToken": signed_in_browser.token()}
        tomorrow = int(now().timestamp()) + 86_400
        monkeypatch.setattr("itsdangerous.timed.TimestampSigner.get_timestamp", lambda self: tomorrow)

        assert signed_in_browser.client.post("/api/chat", json={}, headers=headers).status_code == 201


class TestOpenStreams:
    """What a stream asks at every heartbeat."""

    @pytest.fixture
    def came_with(self, app, signed_in_browser):
        token = signed_in_browser.cookie()
        with app.test_request_context(headers={"Cookie": f"{signed_in_browser.cookie_name}={token}"}):
            yield sessions.identity()

    def test_a_login_is_good_until_it_ends(self, came_with):
        assert sessions.is_good(came_with)

        db.session.get(LoginSession, came_with[1]).end()

        assert not sessions.is_good(came_with)

    def test_a_login_is_not_good_for_a_user_who_is_shut_out(self, came_with, grace):
        db.session.get(User, grace).disable()

        assert not sessions.is_good(came_with)

    def test_a_login_that_grows_old_keeps_its_streams(self, came_with, monkeypatch):
        monkeypatch.setattr(models, "now", lambda: now() + timedelta(days=60))

        assert sessions.is_good(came_with)

    def test_a_key_is_good_until_it_is_revoked(self, app, user):
        with app.test_request_context(headers=user.headers):
            came_with = sessions.identity()
            assert came_with[0] == "key"
            assert sessions.is_good(came_with)

            db.session.get(ApiKey, came_with[1]).revoke()

            assert not sessions.is_good(came_with)

    def test_asking_keeps_no_connection(self, came_with):
        db.session.remove()
        before = db.engine.pool.checkedout()

        sessions.is_good(came_with)

        assert db.engine.pool.checkedout() == before

    def test_a_stream_goes_on_while_the_database_is_down(self, came_with, monkeypatch):
        monkeypatch.setattr(type(db.engine), "connect", fails)

        assert sessions.is_good(came_with)


def fails(*_arguments, **_values):
    raise OperationalError("statement", {}, Exception("the database is down"))


def test_a_use_that_cannot_be_noted_keeps_nobody_from_reading(monkeypatch, signed_in_browser):
    monkeypatch.setattr(LoginSession, "touch", fails)

    assert signed_in_browser.is_signed_in()


def test_a_database_that_is_down_gives_503_and_a_page(monkeypatch, signed_in_browser):
    monkeypatch.setattr(LoginSession, "by_token", fails)

    answer = signed_in_browser.get("/account")

    assert answer.status_code == 503
    assert "<h1>" in answer.text


class TestWhatABrowserKeeps:
    """Drafts are kept in the browser, for the person who wrote them."""

    def test_it_is_told_to_forget_them_at_sign_out(self, signed_in_browser):
        assert signed_in_browser.post("/logout").headers["Clear-Site-Data"] == '"storage"'

    def test_it_is_told_to_forget_them_when_the_account_is_deleted(self, signed_in_browser):
        answer = signed_in_browser.post("/account/data/deletion", current_password=PASSWORD)

        assert (answer.status_code, answer.headers["Clear-Site-Data"]) == (303, '"storage"')

    def test_it_keeps_them_for_a_person_whose_login_ended_and_who_signs_in_again(self, app, browser, grace):
        browser.sign_in()
        with app.app_context(), write():
            LoginSession.end_all(grace)

        answers = [browser.get("/account"), browser.get("/login"), browser.sign_in()]

        assert answers[2].status_code == 303
        assert not any("Clear-Site-Data" in answer.headers for answer in answers)

    def test_it_is_told_to_forget_them_when_somebody_else_signs_in(self, app, browser, grace):
        make_account(app, "eve@example.org")
        browser.sign_in()
        with app.app_context(), write():
            LoginSession.end_all(grace)

        assert browser.sign_in("eve@example.org").headers["Clear-Site-Data"] == '"storage"'
