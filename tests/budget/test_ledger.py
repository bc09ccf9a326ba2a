"""The budget: held before it is used, charged once, begun anew, and rebuilt from its entries."""

import itertools
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import gevent
import pytest
from sqlalchemy.exc import DatabaseError

from chatapp.auth.models import User
from chatapp.budget import ledger, notices
from chatapp.budget.models import BudgetNotice, LedgerEntry, UserUsage
from chatapp.budget.periods import next_period_start, period_start
from chatapp.budget.queries import estimated_days_until_limit, usage_of
from chatapp.kernel.database import write
from chatapp.kernel.errors import BudgetExceeded, InvalidRequest
from chatapp.kernel.extensions import db
from tests.conftest import make_user


@pytest.fixture
def account(both_app):
    """A user with 1,000 tokens, inside an application context."""
    with both_app.app_context():
        yield make_user(both_app, "ada@example.org", limit=1000).id


def reserve(user_id, tokens, max_answer=100, min_answer=64):
    with write():
        return ledger.reserve(user_id, uuid4(), tokens, max_answer, min_answer)


def entries(user_id):
    found = db.select(LedgerEntry.operation, LedgerEntry.delta).where(LedgerEntry.user_id == user_id)
    return [tuple(row) for row in db.session.execute(found.order_by(LedgerEntry.id))]


def set_usage(user_id, **fields):
    with write():
        usage = db.session.get(UserUsage, user_id)
        for name, value in fields.items():
            setattr(usage, name, value)


def test_a_reservation_is_held_until_it_is_settled(account):
    turn = uuid4()
    with write():
        held = ledger.reserve(account, turn, 50, 100, 64)
    assert (held.tokens, held.answer_tokens, held.is_clamped) == (150, 100, False)
    assert usage_of(account).remaining_tokens == 850

    with write():
        ledger.settle(account, turn, 150, 70)

    budget = usage_of(account)
    assert (budget.total_tokens_used, budget.reserved_tokens, budget.remaining_tokens) == (70, 0, 930)
    assert entries(account) == [("grant", 1000), ("reserve", -150), ("release", 150), ("charge", -70)]


def test_the_answer_is_clamped_to_what_is_left(account):
    held = reserve(account, 900, max_answer=8192)

    assert (held.tokens, held.answer_tokens, held.is_clamped) == (1000, 100, True)


def test_what_does_not_fit_is_refused_and_leaves_nothing_behind(account):
    with pytest.raises(BudgetExceeded):
        reserve(account, 937, max_answer=8192)

    assert usage_of(account).remaining_tokens == 1000
    assert entries(account) == [("grant", 1000)]


def test_a_limit_below_what_is_used_admits_nothing(account):
    reserve(account, 500)
    with write():
        ledger.set_limit(account, 100, "smaller plan")

    assert usage_of(account).remaining_tokens == 0
    with pytest.raises(BudgetExceeded):
        reserve(account, 1)
    assert entries(account)[-1] == ("grant", -900)


def test_racing_reservations_never_pass_the_limit(both_app, account):
    def race():
        with both_app.app_context():
            try:
                return reserve(account, 36, max_answer=64).tokens
            except BudgetExceeded:
                return 0

    held = [job.get() for job in gevent.joinall([gevent.spawn(race) for _ in range(40)])]

    assert sorted(held, reverse=True)[:11] == [100] * 10 + [0]
    assert usage_of(account).remaining_tokens == 0
    assert ledger.verify() == []


def test_a_turn_cannot_be_settled_twice(account):
    turn = uuid4()
    with write():
        ledger.reserve(account, turn, 50, 100, 64)
        ledger.settle(account, turn, 150, 70)
        ledger.reserve(account, uuid4(), 50, 100, 64)

    with pytest.raises(Exception, match="(?i)unique"), write():
        ledger.settle(account, turn, 150, 70)

    assert usage_of(account).total_tokens_used == 70


def test_verify_names_what_does_not_add_up(account):
    assert ledger.verify() == []
    set_usage(account, total_tokens_used=5)

    [difference] = ledger.verify()

    assert "total_tokens_used is 5, entries say 0" in difference


def test_a_new_period_begins_with_nothing_used_and_only_once(account):
    now = datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)
    set_usage(account, total_tokens_used=600, last_reset_at=now - timedelta(days=3))

    with write():
        assert [ledger.reset_if_due(account, now) for _ in range(3)] == [True, False, False]

    budget = usage_of(account, now)
    assert (budget.total_tokens_used, budget.last_reset_at) == (0, datetime(2026, 3, 1, tzinfo=UTC))
    assert entries(account)[-1] == ("reset", 600)


def test_a_period_that_is_over_is_shown_as_reset_before_it_is(account):
    now = datetime(2026, 3, 1, tzinfo=UTC)
    set_usage(account, total_tokens_used=600, last_reset_at=now - timedelta(seconds=1))

    assert usage_of(account, now).remaining_tokens == 1000
    assert usage_of(account, now - timedelta(seconds=1)).remaining_tokens == 400


def test_a_user_without_a_period_keeps_what_was_used(account):
    set_usage(account, reset_period="none", total_tokens_used=600)

    assert usage_of(account, datetime(2099, 1, 1, tzinfo=UTC)).remaining_tokens == 400


STARTS = [
    ("daily", "UTC", "2026-03-01T12:00+00:00", "2026-03-01T00:00+00:00", "2026-03-02T00:00+00:00"),
    ("daily", "Pacific/Auckland", "2026-03-01T12:00+00:00", "2026-03-01T11:00+00:00", "2026-03-02T11:00+00:00"),
    ("weekly", "Europe/Berlin", "2026-03-31T12:00+00:00", "2026-03-29T22:00+00:00", "2026-04-05T22:00+00:00"),
    ("monthly", "America/New_York", "2026-03-20T12:00+00:00", "2026-03-01T05:00+00:00", "2026-04-01T04:00+00:00"),
    ("monthly", "UTC", "2026-12-31T23:59+00:00", "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),
]


@pytest.mark.parametrize(("period", "zone", "instant", "start", "following"), STARTS)
def test_periods_begin_at_the_users_own_midnight(period, zone, instant, start, following):
    at = datetime.fromisoformat(instant)

    assert period_start(period, zone, at) == datetime.fromisoformat(start)
    assert next_period_start(period, zone, at) == datetime.fromisoformat(following)


def test_an_unknown_zone_counts_as_utc():
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)

    assert period_start("daily", "Mars/Olympus", at) == datetime(2026, 3, 1, tzinfo=UTC)
    assert period_start("none", "UTC", at) is None


def charge(user_id, tokens, at):
    with write():
        db.session.add(LedgerEntry(user_id=user_id, operation="charge", delta=-tokens, created_at=at))
        db.session.get(UserUsage, user_id).total_tokens_used += tokens


NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(("charges", "days"), [
    ([], None),
    ([(0, 2850)], 34),
    ([(4, 1000), (0, 1000)], 245),
    ([(10, 2000), (40, 1)], 539),
])  # fmt: skip
def test_days_until_the_limit_follow_the_average_since_the_first_use(account, charges, days):
    with write():
        ledger.set_limit(account, 100_000, "")
        db.session.get(User, account).timezone = "UTC"
    set_usage(account, last_reset_at=datetime(2026, 3, 1, tzinfo=UTC))
    for days_ago, tokens in charges:
        charge(account, tokens, NOW - timedelta(days=days_ago))
    if any(days_ago > 20 for days_ago, _ in charges):
        set_usage(account, total_tokens_used=2000)

    assert estimated_days_until_limit(account, usage_of(account, NOW), NOW) == days


def test_who_moves_to_another_time_zone_and_back_has_no_second_period_a_day(account):
    set_usage(account, reset_period="daily", last_reset_at=datetime(2040, 5, 1, tzinfo=UTC))
    resets = []
    for hour in range(72):
        at = datetime(2040, 5, 2, tzinfo=UTC) + timedelta(hours=hour)
        with write():
            db.session.get(User, account).timezone = ("UTC", "Pacific/Kiritimati")[hour % 2]
            if ledger.reset_if_due(account, at):
                resets.append(at)

    assert len(resets) == 3
    assert all(later - earlier >= timedelta(hours=20) for earlier, later in itertools.pairwise(resets))


def test_the_next_reset_that_is_shown_is_the_one_that_comes(account):
    set_usage(account, reset_period="daily", last_reset_at=datetime(2040, 5, 2, tzinfo=UTC))
    with write():
        db.session.get(User, account).timezone = "Pacific/Kiritimati"
    shown = usage_of(account, datetime(2040, 5, 2, 9, tzinfo=UTC)).resets_at

    with write():
        assert not ledger.reset_if_due(account, shown - timedelta(seconds=1))
        assert ledger.reset_if_due(account, shown)


def test_a_grant_and_a_correction_change_the_limit_and_say_why(account):
    with write():
        ledger.grant(account, 500, "  for the\nworkshop ")
        ledger.grant(account, -200, "typed one nought too many")

    assert usage_of(account).token_limit == 1300
    found = db.select(LedgerEntry.delta, LedgerEntry.reason).where(LedgerEntry.user_id == account)
    assert [tuple(row) for row in db.session.execute(found.order_by(LedgerEntry.id))][1:] == [
        (500, "for the workshop"), (-200, "typed one nought too many"),
    ]  # fmt: skip
    assert ledger.verify() == []


@pytest.mark.parametrize(
    ("tokens", "reason"), [(0, "nothing"), (5, " \n "), (5, "x" * 301), (-1001, "too much"), (10**15, "too much")]
)
def test_a_grant_that_makes_no_sense_is_refused(account, tokens, reason):
    with pytest.raises(InvalidRequest), write():
        ledger.grant(account, tokens, reason)

    assert entries(account) == [("grant", 1000)]


def test_an_entry_cannot_be_altered_by_anybody(account):
    with pytest.raises(DatabaseError, match="never altered"), write():
        db.session.execute(db.update(LedgerEntry).values(delta=1))


def test_settling_more_than_is_held_is_an_error_and_changes_nothing(account):
    with pytest.raises(RuntimeError, match="not reserved"), write():
        ledger.settle(account, uuid4(), 150, 70)

    assert entries(account) == [("grant", 1000)]


def spend(account, tokens):
    turn = uuid4()
    with write():
        held = ledger.reserve(account, turn, tokens, 64, 0).tokens
        ledger.settle(account, turn, held, tokens)


def notices_of(account):
    found = db.select(BudgetNotice.percent).where(BudgetNotice.user_id == account).order_by(BudgetNotice.created_at)
    return list(db.session.scalars(found))


def test_notices_come_at_80_and_100_percent_once_in_a_period(account):
    spend(account, 799)
    assert notices.unseen(account) is None
    spend(account, 1)
    assert notices.unseen(account).percent == 80
    with write():
        notices.put_away(account)
    spend(account, 100)
    assert notices.unseen(account) is None
    spend(account, 40)
    assert notices.unseen(account).percent == 100
    with write():
        ledger.grant(account, 1000, "a gift")
        ledger.set_limit(account, 500, "and taken back")

    assert notices_of(account) == [80, 100]


def test_a_new_period_has_notices_of_its_own(account):
    set_usage(account, reset_period="monthly", last_reset_at=datetime(2026, 1, 1, tzinfo=UTC))
    spend(account, 850)
    first = notices.unseen(account).period_start
    with write():
        ledger.reset_if_due(account, datetime(2090, 1, 1, tzinfo=UTC))
    assert notices.unseen(account) is None
    set_usage(account, reset_period="none")
    spend(account, 900)

    assert notices.unseen(account).period_start > first
    assert notices_of(account) == [80, 80]
