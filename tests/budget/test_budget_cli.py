"""Grants, periods and the check of the ledger, on the command line."""

import pytest

from chatapp.budget.models import LedgerEntry, UserUsage
from chatapp.budget.queries import usage_of
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db


@pytest.fixture
def flask(app, user):
    """Run a command: flask("users", "list")."""
    return lambda *arguments: app.test_cli_runner().invoke(args=arguments)


@pytest.mark.parametrize(("tokens", "limit"), [("5000", 105_000), ("-5000", 95_000)])
def test_a_grant_needs_a_reason_and_changes_the_limit(app, flask, user, tokens, limit):
    assert flask("users", "grant", user.email, tokens).exit_code == 2

    assert flask("users", "grant", user.email, tokens, "--reason", "workshop").exit_code == 0

    with app.app_context():
        assert usage_of(user.id).token_limit == limit
        reasons = db.session.scalars(db.select(LedgerEntry.reason).order_by(LedgerEntry.id)).all()
        assert reasons == ["first limit", "workshop"]


def test_a_grant_that_makes_no_sense_is_refused_in_a_sentence(flask, user):
    result = flask("users", "grant", user.email, "-100001", "--reason", "all of it")

    assert (result.exit_code, "limit must be from 0" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("command", "tokens"),
    [("set-limit", "-5"), ("set-limit", "9" * 30), ("grant", "9" * 30), ("grant", "-" + "9" * 30)],
)
def test_a_figure_beyond_all_limits_is_refused_with_the_limits(flask, user, command, tokens):
    reason = ["--reason", "why"] if command == "grant" else []

    result = flask("users", command, user.email, tokens, *reason)

    assert (result.exit_code, f"{tokens} is not in the range" in result.stderr) == (2, True)


def test_the_period_is_set(app, flask, user):
    assert flask("users", "set-period", user.email, "yearly").exit_code == 2
    assert flask("users", "set-period", user.email, "daily").exit_code == 0

    with app.app_context():
        assert usage_of(user.id).reset_period == "daily"


def test_verify_says_that_all_is_well_or_what_is_not_and_exits_with_1(app, flask, user):
    well = flask("ledger", "verify")
    with app.app_context(), write():
        db.session.execute(db.update(UserUsage).values(reserved_tokens=7))
    wrong = flask("ledger", "verify")

    assert (well.exit_code, well.stdout) == (0, "All balances agree with their entries\n")
    assert (wrong.exit_code, wrong.stdout) == (1, "ada@example.org: reserved_tokens is 7, entries say 0\n")
