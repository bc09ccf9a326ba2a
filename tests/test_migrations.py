"""The database as the migrations make it is the one that the models know, and what an older one holds comes through."""

from flask_migrate import check, downgrade, upgrade

from chatapp.budget import ledger
from chatapp.extensions import db


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
