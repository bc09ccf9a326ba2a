"""The database as the migrations make it is the one that the models know, and what an older one holds comes through."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from flask_migrate import check, downgrade, upgrade
from sqlalchemy import select, text

from chatapp import create_app
from chatapp.auth.models import ApiKey, User
from chatapp.budget import ledger
from chatapp.budget.models import UserUsage
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers
from tests.auth.browser import signed_in
from tests.conftest import make_user
from tests.providers.scripted import ScriptedProvider


def test_models_and_migrations_agree(both_app):
    with both_app.app_context():
        check()


def test_what_a_database_of_the_first_version_holds_comes_through(both_app, both_api):
    chat_id = both_api.new_chat(title="Bread", system_prompt="Be brief.")
    both_api.send(chat_id, "How long do I knead it?")
    asked = (f"/chat/{chat_id}", "/chat?q=knead", "/user/token-stats", "/user/token-usage")
    before = [both_api.call("GET", path).get_json() for path in asked]

    with both_app.app_context():
        try:
            downgrade(revision="0001")
        finally:
            db.engine.dispose()
            upgrade()
        assert ledger.verify() == []

    assert [both_api.call("GET", path).get_json() for path in asked] == before
    assert both_api.send(chat_id, "And then?").text == "Hello."


def test_emails_of_earlier_editions_are_written_in_the_form_in_which_they_are_looked_up(both_app):
    decomposed, twice = "zoe\u0308@example.org", "Eve@example.org"
    for email in (decomposed, "other@example.org", "eve@example.org"):
        make_user(both_app, email)
    with both_app.app_context():
        downgrade(revision="0008")
        with db.engine.begin() as connection:
            for email, old in (("zoë@example.org", decomposed), ("other@example.org", twice)):
                connection.execute(
                    text("UPDATE users SET email = :old WHERE email = :email"), {"old": old, "email": email}
                )
        upgrade()

        # Two that would become one stay as they are.
        assert set(db.session.scalars(select(User.email))) == {"zoë@example.org", twice, "eve@example.org"}
        assert User.by_email(decomposed)


RELEASES = Path(__file__).parent / "releases"


@pytest.fixture
def of_release(tmp_path, scripted):
    """The application on a database that an earlier release made, and what that release said of it."""
    told = json.loads((RELEASES / "0011.json").read_text())
    path = tmp_path / "chat.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((RELEASES / "0011.sql").read_text())
    app = create_app(
        Providers([scripted]), database_url=f"sqlite:///{path}", instance_dir=tmp_path, secret_key="x" * 32
    )
    with app.app_context():
        upgrade()
    yield app, told
    app.extensions["live_turns"].close()


@pytest.fixture
def scripted():
    return ScriptedProvider()


def test_chats_bills_and_exports_of_an_earlier_release_are_the_same_to_the_figure(of_release):
    app, told = of_release
    with app.app_context():
        person_id = db.session.scalars(select(User.id)).one()
        with write():
            key = ApiKey.issue(db.session.get(User, person_id))
        assert ledger.verify() == []
        assert db.session.scalars(select(UserUsage.total_tokens_used)).one() == told["total_tokens_used"]
    browser, client = signed_in(app, person_id), app.test_client()

    for chat, shown in told["chats"].items():
        assert client.get(f"/api/chat/{chat}", headers={"Authorization": f"Bearer {key}"}).get_json() == shown
    for answer, figures in told["bills"].items():
        page = browser.get(f"/usage/exchanges/{answer}").text
        assert re.findall(r'class="number">([^<]*)<', page) == figures
    assert browser.get("/usage/export.csv?from=2026-01-01&to=2026-12-31").text == told["export"]
