"""The command line, as scripts use it."""

import subprocess
import sys

import pytest
from sqlalchemy import update

from chatapp.auth.models import ApiKey, User
from chatapp.budget.models import UserUsage
from chatapp.budget.queries import usage_of
from chatapp.kernel import config
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db

PASSWORD = "a horse called battery\n"


@pytest.fixture
def flask(app, cheap_hashes):
    """Run a command: flask("users", "list")."""

    def run(*arguments, stdin=""):
        return app.test_cli_runner().invoke(args=arguments, input=stdin)

    return run


def test_a_user_is_created_and_nothing_but_a_note_is_said(app, flask):
    result = flask(
        "users", "create", "Ada@example.org", "--password-stdin", "--admin", "--limit", "500", stdin=PASSWORD
    )

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Created ada@example.org\n")
    with app.app_context():
        ada = User.by_email("ada@example.org")
        assert ada.is_admin
        assert usage_of(ada.id).token_limit == 500


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("ada@example.org", "short", "Use at least 8 characters; 15 or more are better"),
        ("ada@example.org", "password", "This password is too common"),
        ("nobody", "a horse called battery", "Enter a valid email address"),
        ("eve@example.org", "a horse called battery", "An account with this email already exists"),
    ],
)
def test_what_cannot_be_created_is_said_in_a_sentence(flask, other_user, email, password, sentence):
    result = flask("users", "create", email, "--password-stdin", stdin=password)

    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {sentence}\n")


def test_a_password_keeps_its_blanks(app, flask, browser):
    flask("users", "create", "ada@example.org", "--password-stdin", stdin="  a horse called battery  \r\n")

    assert browser.sign_in("ada@example.org", "  a horse called battery  ").status_code == 303


def test_who_forgot_a_password_is_given_another_and_signed_out_everywhere(app, flask, browser, user):
    flask("users", "set-password", user.email, "--password-stdin", stdin=PASSWORD)
    browser.sign_in(user.email, PASSWORD.strip())
    assert browser.get("/account").status_code == 200

    result = flask("users", "set-password", user.email, "--password-stdin", stdin="another horse altogether")

    assert (result.exit_code, result.stdout) == (0, "")
    assert browser.get("/account").status_code == 303
    assert browser.sign_in(user.email, "another horse altogether").status_code == 303


def test_a_key_is_all_that_is_printed_and_it_works(client, flask, user):
    result = flask("keys", "create", user.email, "--name", "script")

    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    headers = {"Authorization": f"Bearer {result.stdout.strip()}"}
    assert client.get("/api/chat", headers=headers).status_code == 200


def test_a_key_is_revoked_by_its_id(app, client, flask, user):
    key_id = flask("keys", "list", user.email).stdout.split("\t")[0]

    assert flask("keys", "revoke", key_id).exit_code == 0

    assert client.get("/api/chat", headers=user.headers).status_code == 401
    with app.app_context():
        assert ApiKey.in_force_of(user.id) == []


def test_a_limit_is_set(app, flask, user):
    assert flask("users", "set-limit", user.email, "7").exit_code == 0

    with app.app_context():
        assert usage_of(user.id).token_limit == 7
    assert flask("users", "set-limit", user.email, "-7").exit_code == 2


def test_an_invitation_is_a_link_and_nothing_else(client, flask):
    result = flask("users", "invite", "bob@example.org")

    link = result.stdout.removesuffix("\n")
    assert link.startswith("http://127.0.0.1:8000/invitations/")
    assert client.get(link.removeprefix("http://127.0.0.1:8000")).status_code == 200


def test_a_user_is_shut_out_and_let_in(client, flask, user):
    flask("users", "disable", user.email)
    assert client.get("/api/chat", headers=user.headers).status_code == 401
    assert "disabled" in flask("users", "list").stdout

    flask("users", "enable", user.email)
    assert client.get("/api/chat", headers=user.headers).status_code == 200


@pytest.mark.parametrize("command", [("users", "disable"), ("keys", "create"), ("keys", "list")])
def test_somebody_who_does_not_exist_is_named(flask, command):
    result = flask(*command, "nobody@example.org")

    assert result.exit_code == 1
    assert result.stderr == "Error: There is no account with the email nobody@example.org\n"


def test_the_ledger_is_verified(app, flask, user):
    assert flask("ledger", "verify").exit_code == 0

    with app.app_context(), write():
        db.session.execute(update(UserUsage).values(total_tokens_used=1))

    result = flask("ledger", "verify")
    assert result.exit_code == 1
    assert "total_tokens_used is 1" in result.stdout


def test_a_database_without_tables_is_named(tmp_path, demo):
    from chatapp import create_app
    from chatapp.providers.registry import Providers

    app = create_app(Providers([demo]), database_url=None, instance_dir=tmp_path)
    result = app.test_cli_runner().invoke(args=["users", "list"])

    assert result.exit_code == 1
    assert "Run `make run` once" in result.stderr


@pytest.mark.slow
def test_the_installed_command_finds_the_application(sqlite_url, tmp_path):
    """From the project's folder, with nothing set but where the data is."""
    command = [sys.executable, "-m", "flask", "users", "create", "ada@example.org", "--password-stdin"]
    env = {"DATABASE_URL": sqlite_url, "INSTANCE_DIR": str(tmp_path), "PATH": "/usr/bin"}
    result = subprocess.run(
        command, cwd=config.FILES, env=env, input=PASSWORD, text=True, capture_output=True, timeout=60
    )

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "Created ada@example.org\n")
