"""The administration, and that nobody else gets in."""

import re

import pytest

from chatapp.auth.models import User
from chatapp.budget import ledger
from chatapp.budget.queries import usage_of
from chatapp.kernel.extensions import db
from chatapp.tokens.count import counter
from tests.auth.browser import Browser, error_of, signed_in
from tests.conftest import make_user

WRITES = [
    "/users/{id}/limit",
    "/users/{id}/grants",
    "/users/{id}/period",
    "/users/{id}/disable",
    "/users/{id}/enable",
    "/invitations",
    "/invitations/0/revoke",
    "/token-cache/clear",
]


@pytest.fixture
def admin(app):
    return make_user(app, "root@example.org", is_admin=True)


@pytest.fixture
def browser(app, admin):
    return signed_in(app, admin.id)


def test_an_administrator_sees_everybody(browser, user):
    page = browser.get("/admin")

    assert page.status_code == 200
    assert "ada@example.org" in page.text
    assert "100,000" in page.text


@pytest.mark.parametrize("path", WRITES)
def test_nobody_else_changes_anything(app, user, admin, path):
    path = "/admin" + path.format(id=admin.id)

    assert signed_in(app, user.id).post(path).status_code == 403
    assert Browser(app).post(path).location == "/login"


def test_nobody_else_sees_the_page(app, user):
    assert signed_in(app, user.id).get("/admin").status_code == 403
    assert Browser(app).get("/admin").location == "/login?next=/admin"


def test_an_administrators_key_is_not_enough(client, admin):
    assert client.get("/admin", headers=admin.headers).status_code == 403


def test_a_limit_is_set_and_stands_in_the_ledger(app, browser, user):
    browser.post(f"/admin/users/{user.id}/limit", limit="5000")

    with app.app_context():
        assert usage_of(user.id).token_limit == 5000
        assert ledger.verify() == []


@pytest.mark.parametrize("limit", ["", "-1", "many", "1e3", str(10**20)])
def test_a_limit_that_is_none_is_refused_in_its_row(app, browser, user, limit):
    page = browser.post(f"/admin/users/{user.id}/limit", limit=limit)

    assert page.status_code == 422
    assert "a whole number from 0 to 1000000000000000" in error_of(page.text, "limit")
    assert f'name="limit" type="number" min="0" value="{limit}"' in page.text

    with app.app_context():
        assert usage_of(user.id).token_limit == 100_000


def test_a_user_who_is_shut_out_is_out_at_once_and_may_come_back(app, browser, user):
    ada = signed_in(app, user.id)
    assert ada.is_signed_in()

    browser.post(f"/admin/users/{user.id}/disable")
    assert not ada.is_signed_in()
    assert app.test_client().get("/api/chat", headers=user.headers).status_code == 401

    browser.post(f"/admin/users/{user.id}/enable")
    assert app.test_client().get("/api/chat", headers=user.headers).status_code == 200
    assert not ada.is_signed_in()


def test_administrators_do_not_shut_themselves_out(browser, admin):
    assert browser.post(f"/admin/users/{admin.id}/disable").status_code == 403
    assert browser.is_signed_in()


@pytest.mark.parametrize("user_id", ["nonsense", "00000000-0000-4000-8000-000000000000"])
def test_a_user_who_does_not_exist_is_not_there(browser, user_id):
    assert browser.post(f"/admin/users/{user_id}/enable").status_code == 404


def test_an_invitation_is_shown_once_and_works(app, browser):
    page = browser.post("/admin/invitations", email="Bob@example.org", limit="7000", is_admin="y")
    link = re.search(r">http://localhost(/invitations/[^<]+)<", page.text)[1]

    assert link not in browser.get("/admin").text
    Browser(app).post(link, password="another horse entirely")

    with app.app_context():
        bob = User.by_email("bob@example.org")
        assert bob.is_admin
        assert usage_of(bob.id).token_limit == 7000


@pytest.mark.parametrize("fields", [{"email": "nobody"}, {"email": "ada@example.org"}, {"email": "b@c", "limit": "-1"}])
def test_an_invitation_that_cannot_work_is_refused(browser, user, fields):
    answer = browser.post("/admin/invitations", **fields)

    assert answer.status_code == 422
    assert "/invitations/ey" not in answer.text


def test_the_count_cache_is_shown_and_cleared(app, browser):
    with app.app_context():
        counter().count("demo", "a text")
    assert stats(app)["total_cache_entries"] == 1

    browser.post("/admin/token-cache/clear")

    assert stats(app)["total_cache_entries"] == 0
    assert "LRU" in browser.get("/admin").text or "memory" in browser.get("/admin").text


def stats(app):
    with app.app_context():
        return counter().stats()


def test_people_come_a_page_at_a_time(app, browser, monkeypatch):
    monkeypatch.setattr("chatapp.admin.views.PAGE_SIZE", 2)
    for name in "abc":
        make_user(app, f"{name}@example.org")

    first = browser.get("/admin").text
    second = browser.get(re.search(r"/admin\?after=[^\"]+", first)[0]).text

    assert re.findall(r"<bdi>(\w)@", first) == ["a", "b"]
    assert re.findall(r"<bdi>(\w+)@", second) == ["c", "root"]
    assert browser.get("/admin?after=%00").status_code == 200


def test_an_email_of_markup_is_shown_as_text(app, browser):
    make_user(app, "<img/src=x>@example.org")

    assert "<img/src" not in browser.get("/admin").text


def test_a_user_disabled_in_the_page_of_another_stays_in_the_database(app, browser, user):
    browser.post(f"/admin/users/{user.id}/disable")

    with app.app_context():
        assert db.session.get(User, user.id).is_enabled is False


def test_a_grant_stands_in_the_ledger_with_its_reason_and_who_gave_it(app, browser, user):
    page = browser.post(f"/admin/users/{user.id}/grants", tokens="2500", reason="Workshop on Friday")

    assert page.status_code == 303
    with app.app_context():
        assert usage_of(user.id).token_limit == 102_500
    shown = browser.get(f"/admin/users/{user.id}").text
    assert "Workshop on Friday (root@example.org)" in shown
    assert "+2,500" in shown


@pytest.mark.parametrize("fields", [
    {"tokens": "0", "reason": "x"}, {"tokens": "5", "reason": " "}, {"tokens": "5"}, {"tokens": "x", "reason": "x"},
    {"tokens": "5", "reason": "x" * 201}, {"tokens": str(10**16), "reason": "x"}, {"tokens": "5", "reason": "a\0b"},
])  # fmt: skip
def test_a_grant_that_makes_no_sense_is_refused_beside_its_field(app, browser, user, fields):
    page = browser.post(f"/admin/users/{user.id}/grants", **fields)

    assert (page.status_code, 'role="alert"' in page.text) == (422, True)
    with app.app_context():
        assert usage_of(user.id).token_limit == 100_000


def test_a_correction_below_nought_is_refused(browser, user):
    page = browser.post(f"/admin/users/{user.id}/grants", tokens="-100001", reason="x")

    assert (page.status_code, "limit must be from 0" in error_of(page.text, "tokens")) == (422, True)
    assert 'value="-100001"' in page.text


def test_the_period_is_set(app, browser, user):
    assert browser.post(f"/admin/users/{user.id}/period", period="yearly").status_code == 422
    browser.post(f"/admin/users/{user.id}/period", period="weekly")

    with app.app_context():
        assert usage_of(user.id).reset_period == "weekly"
    assert "every week" in browser.get(f"/admin/users/{user.id}").text


def test_a_long_ledger_has_pages(app, browser, user, monkeypatch):
    monkeypatch.setattr("chatapp.admin.views.PAGE_SIZE", 2)
    for number in range(3):
        browser.post(f"/admin/users/{user.id}/grants", tokens="1", reason=f"gift {number}")

    first = browser.get(f"/admin/users/{user.id}").text
    older = browser.get(f"/admin/users/{user.id}?before={re.search('before=([0-9]+)', first)[1]}").text
    assert ("gift 2" in first, "gift 1" in first, "gift 0" in first) == (True, True, False)
    assert ("gift 0" in older, "first limit" in older, "gift 1" in older) == (True, True, False)


@pytest.mark.parametrize("before", [str(2**63 - 1), str(2**63), "9" * 23, "9" * 5000, "-" + "9" * 23, "x", "", "²"])
def test_any_number_in_the_address_of_a_ledger_is_survived(browser, user, before):
    assert browser.get(f"/admin/users/{user.id}?before={before}").status_code == 200


def test_a_refusal_of_the_ledger_is_in_the_language_of_the_page(browser, user):
    browser.post("/account/preferences", timezone="UTC", locale="de", theme="light")

    page = browser.post(f"/admin/users/{user.id}/grants", tokens="-100001", reason="x")

    assert "Die Grenze muss zwischen 0 und 1.000.000.000.000.000 Token liegen" in error_of(page.text, "tokens")
