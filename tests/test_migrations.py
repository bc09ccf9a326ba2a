"""The database as the migrations make it is the one that the models know, and what an older one holds comes through."""

from flask_migrate import check, downgrade, upgrade
from sqlalchemy import select, text

from chatapp.auth.models import User
from chatapp.budget import ledger
from chatapp.kernel.extensions import db
from tests.conftest import make_user


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
