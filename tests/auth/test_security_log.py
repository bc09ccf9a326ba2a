"""A line for each event of security, without secrets; and errors without anybody's texts."""

import json
import logging
import re

import pytest
from sqlalchemy import text

from chatapp.auth.models import User
from chatapp.kernel.database import write
from chatapp.kernel.logs import JsonFormatter, TextFormatter
from tests.auth.browser import PASSWORD, Browser, make_account, signed_in


@pytest.fixture
def lines(app):
    """The lines of the security log so far, as programs read them."""
    written: list[dict] = []

    class Keeper(logging.Handler):
        def emit(self, record):
            written.append(json.loads(JsonFormatter().format(record)))

    keeper = Keeper()
    log = logging.getLogger("chatapp.security")
    log.addHandler(keeper)
    yield written
    log.removeHandler(keeper)


def events(lines):
    return [line["event"] for line in lines]


def test_signing_in_wrongly_rightly_and_out(app, browser, grace, lines):
    browser.sign_in(password="wrong")
    browser.sign_in()
    browser.post("/logout")

    assert events(lines) == ["sign-in failed", "sign-in", "sign-out"]
    assert [line["level"] for line in lines] == ["WARNING", "INFO", "INFO"]
    assert lines[1]["user"] == lines[2]["actor"] == str(grace)
    assert all(line["address"] == "127.0.0.1" and line["requestId"] for line in lines)


def test_passwords_and_keys(signed_in_browser, lines):
    signed_in_browser.post("/account/password", current_password="wrong", password="another horse entirely")
    signed_in_browser.post("/account/password", current_password=PASSWORD, password="another horse entirely")
    page = signed_in_browser.post("/account/keys", key_name="laptop").text
    signed_in_browser.post(re.search(r"/account/keys/[\w-]+/revoke", signed_in_browser.get("/account").text)[0])

    assert events(lines) == ["password change failed", "password changed", "key made", "key revoked"]
    written = json.dumps(lines)
    assert re.search(r"chat_[\w-]{43}", page)[0] not in written
    assert PASSWORD not in written
    assert "another horse" not in written


def test_what_administrators_do_and_who_comes_in(app, cheap_hashes, lines):
    root = signed_in(app, make_account(app, "root@example.org", is_admin=True))
    page = root.post("/admin/invitations", email="bob@example.org").text
    link = re.search(r">http://localhost(/invitations/[^<]+)<", page)[1]
    Browser(app).post(link, password=PASSWORD)
    with app.app_context():
        bob = User.by_email("bob@example.org").id
    root.post(f"/admin/users/{bob}/limit", limit="5")
    root.post(f"/admin/users/{bob}/disable")
    root.post(f"/admin/users/{bob}/enable")

    assert events(lines) == [
        "invitation made", "invitation used", "sign-in", "limit set", "account disabled", "account enabled"
    ]  # fmt: skip
    assert {line["user"] for line in lines[1:]} == {str(bob)}
    written = json.dumps(lines)
    assert link.rpartition("/")[2] not in written
    assert "bob@example.org" not in written


def test_what_is_refused(app, user, signed_in_browser, grace, lines):
    signed_in_browser.get("/admin")
    signed_in_browser.client.post("/account/password", data={})

    assert [(line["event"], line["code"]) for line in lines] == [("refused", "FORBIDDEN"), ("refused", "CSRF_FAILED")]
    assert lines[0]["actor"] == str(grace)


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_an_error_of_the_database_is_logged_without_the_values(both_app, formatter):
    typed = read_aloud("Wolper", "tinger\nHasenbock")
    said = []
    # A column that is missing, one that is too long for PostgreSQL, one that is no UUID.
    for values in ({"email": typed}, {"email": typed * 100}, {"id": typed, "email": "a@b"}):
        try:
            with both_app.app_context(), write() as session:
                session.execute(text("INSERT INTO users (id, email) VALUES (:id, :email)"), {"id": None} | values)
        except Exception as error:
            record = logging.makeLogRecord({"exc_info": (type(error), error, error.__traceback__)})
            said.append(formatter.format(record))

    assert len(said) == 3
    assert all("sqlalchemy.exc." in each and "Traceback" in each for each in said)
    assert not any("Wolpertinger" in each or "Hasenbock" in each for each in said)


def read_aloud(*parts):
    """Join what must not stand in a line of this file, which a trace quotes."""
    return "".join(parts)
