"""Somebody can always administer the site, whoever shuts whom out at the same moment."""

import gevent
import pytest
from sqlalchemy import func, select

from chatapp.auth.models import User
from chatapp.kernel.errors import Forbidden
from chatapp.kernel.extensions import db
from chatapp.transfers import deletion
from tests.conftest import make_user


@pytest.fixture
def admins(both_app):
    return [make_user(both_app, f"root{number}@example.org", is_admin=True) for number in range(2)]


def race(app, *verbs):
    """Run all at once; return how many were refused."""
    refused = []

    def run(verb):
        with app.app_context():
            try:
                verb()
            except Forbidden:
                refused.append(verb)

    gevent.joinall([gevent.spawn(run, verb) for verb in verbs], raise_error=True)
    return len(refused)


def still_in(app):
    with app.app_context():
        return db.session.scalar(select(func.count(User.id)).where(User.is_admin, User.is_enabled))


def test_of_two_administrators_who_shut_each_other_out_one_is_too_late(both_app, admins):
    verbs = [lambda person=person: db.session.get(User, person.id).disable() for person in admins]

    assert (race(both_app, *verbs), still_in(both_app)) == (1, 1)


def test_of_two_administrators_who_delete_themselves_one_stays_for_the_others(both_app, admins):
    make_user(both_app, "ada@example.org")
    verbs = [lambda person=person: deletion.delete_user(person.id, "!") for person in admins]

    assert (race(both_app, *verbs), still_in(both_app)) == (1, 1)


def test_one_who_is_shut_out_while_deleting_the_other_leaves_one(both_app, admins):
    make_user(both_app, "ada@example.org")

    refused = race(
        both_app,
        lambda: db.session.get(User, admins[0].id).disable(),
        lambda: deletion.delete_user(admins[1].id, "!"),
    )

    assert (refused, still_in(both_app)) == (1, 1)


def test_the_command_line_keeps_the_last_one_too(both_app, admins):
    run = both_app.test_cli_runner().invoke
    assert run(args=["users", "disable", admins[0].email]).exit_code == 0

    result = run(args=["users", "disable", admins[1].email])

    assert (result.exit_code, "only administrator" in result.stderr) == (1, True)


def test_somebody_else_and_the_last_person_of_all_may_go(both_app, admins):
    ada = make_user(both_app, "ada@example.org")
    with both_app.app_context():
        db.session.get(User, ada.id).disable()
        deletion.delete_user(ada.id, "!")
        deletion.delete_user(admins[0].id, "!")
        deletion.delete_user(admins[1].id, "!")

    assert still_in(both_app) == 0
