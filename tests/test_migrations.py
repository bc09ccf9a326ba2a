"""The database as the migrations make it is the one that the models know."""

from flask_migrate import check


def test_models_and_migrations_agree(both_app):
    with both_app.app_context():
        check()
