"""Spending: reserve before the model is asked, settle once at the end, grant and reset in between.

Every operation runs inside write(), changes user_usage with one conditional statement and adds its entries in the same
transaction. The database checks the condition against the current row, so concurrent processes cannot exceed the
limit together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flask_babel import format_decimal
from flask_babel import gettext as _
from sqlalchemy import CursorResult, bindparam, case, func, select, update

from chatapp.auth.models import User
from chatapp.budget import notices
from chatapp.budget.models import LedgerEntry, ResetPeriod, UserUsage
from chatapp.budget.periods import due_start
from chatapp.budget.queries import Budget, budget_exceeded, load_figures, usage_of
from chatapp.kernel.config import MAX_LIMIT_TOKENS, settings
from chatapp.kernel.database import execute_core, now
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.extensions import db

REASON_CHARS = 300

# Column of user_usage → the sign and the operations whose deltas add up to it.
REBUILT = {
    "token_limit": (1, ("grant",)),
    "reserved_tokens": (-1, ("reserve", "release")),
    "total_tokens_used": (-1, ("charge", "reset")),
}

# Statements that every message needs are built once, on the table: see database.execute_core.
ENTRIES = LedgerEntry.metadata.tables["ledger_entries"]
USAGE = UserUsage.metadata.tables["user_usage"]
RESERVE = (
    update(USAGE)
    .where(
        USAGE.c.user_id == bindparam("user"),
        USAGE.c.total_tokens_used + USAGE.c.reserved_tokens + bindparam("needed") <= USAGE.c.token_limit,
    )
    .values(reserved_tokens=USAGE.c.reserved_tokens + bindparam("needed"))
)
SPEND = (
    update(USAGE)
    .where(USAGE.c.user_id == bindparam("user"), USAGE.c.reserved_tokens >= bindparam("held"))
    .values(
        reserved_tokens=USAGE.c.reserved_tokens - bindparam("held"),
        total_tokens_used=USAGE.c.total_tokens_used + bindparam("charged"),
    )
)


@dataclass(frozen=True, slots=True)
class Reservation:
    """tokens is reserved in total; answer_tokens is the visible answer's share."""

    tokens: int
    answer_tokens: int
    is_clamped: bool
    timezone: str
    """The user's time zone."""


def open_account(user_id: UUID, limit: int | None = None) -> None:
    """Give a new user a budget: the usage row and the first grant."""
    limit = settings().token_limit if limit is None else limit
    db.session.add(UserUsage(user_id=user_id, token_limit=limit, reset_period=settings().reset_period))
    db.session.flush()
    _add_entries(user_id, reason="first limit", grant=limit)


def reserve(user_id: UUID, exchange_id: UUID, input_tokens: int, max_answer: int, min_answer: int) -> Reservation:
    """Reserve the input and as much of the answer as fits, at least min_answer.

    Raises BudgetExceeded and then reserves nothing. If the condition fails, a concurrent change has altered the
    balance, so it is read again.
    """
    while True:
        usage = load_figures(user_id)
        if due_start(usage.reset_period, usage.timezone, usage.last_reset_at, now()):
            reset_if_due(user_id)
            continue
        free = usage.token_limit - usage.total_tokens_used - usage.reserved_tokens
        answer = min(max_answer, free - input_tokens)
        if answer < min(min_answer, max_answer):
            raise budget_exceeded(usage_of(user_id), input_tokens + min(min_answer, max_answer))
        needed = input_tokens + answer
        if execute_core(RESERVE, {"user": user_id, "needed": needed}).rowcount == 1:
            _add_entries(user_id, exchange_id, reserve=-needed)
            return Reservation(needed, answer, answer < max_answer, usage.timezone)


def settle(user_id: UUID, exchange_id: UUID, reserved: int, charged: int) -> Budget:
    """Release the reservation and charge what was used, from 0 up to what was reserved. Returns the new budget.

    Call it only after closing the exchange's row in the same transaction; that guarantees it runs once.
    Raises RuntimeError if less is reserved than that, which only a manual change to the database can cause.
    """
    assert 0 <= charged <= reserved
    if execute_core(SPEND, {"user": user_id, "held": reserved, "charged": charged}).rowcount != 1:
        raise RuntimeError(
            f"user {user_id}: {reserved} tokens of exchange {exchange_id} are not reserved. Run `flask ledger verify`"
        )
    _add_entries(user_id, exchange_id, release=reserved, charge=-charged)
    notices.note(budget := usage_of(user_id))
    return budget


def set_limit(user_id: UUID, limit: int, reason: str) -> None:
    """Set a user's limit. The difference is recorded as a grant with the reason."""
    while True:
        old = load_figures(user_id).token_limit
        changed = _change(
            update(UserUsage)
            .where(UserUsage.user_id == user_id, UserUsage.token_limit == old)
            .values(token_limit=limit)
        )
        if changed:
            if limit != old:
                _add_entries(user_id, reason=reason, grant=limit - old)
                notices.note(usage_of(user_id))
            return


def grant(user_id: UUID, tokens: int, reason: str) -> None:
    """Raise a user's limit by `tokens`, or lower it if negative.

    Raises InvalidRequest if tokens is 0, the reason is missing, or the limit would fall outside 0–MAX_LIMIT_TOKENS.
    """
    reason = " ".join(reason.split())
    if not tokens or not 1 <= len(reason) <= REASON_CHARS:
        text = _("A grant needs tokens and a reason of 1 to %(count)s characters", count=REASON_CHARS)
        raise InvalidRequest(text)
    changed = _change(
        update(UserUsage)
        .where(UserUsage.user_id == user_id, (UserUsage.token_limit + tokens).between(0, MAX_LIMIT_TOKENS))
        .values(token_limit=UserUsage.token_limit + tokens)
    )
    if not changed:
        highest = format_decimal(MAX_LIMIT_TOKENS)
        raise InvalidRequest(_("The limit must be from 0 to %(highest)s tokens", highest=highest))
    _add_entries(user_id, reason=reason, grant=tokens)
    notices.note(usage_of(user_id))


def set_period(user_id: UUID, period: ResetPeriod) -> None:
    """Change how often a user's budget resets. If the new rule ends the current period, the next send resets it."""
    _change(update(UserUsage).where(UserUsage.user_id == user_id).values(reset_period=period))


def reset_if_due(user_id: UUID, instant: datetime | None = None) -> bool:
    """Start a new period if the old one is over. If several processes try at midnight, exactly one resets."""
    while True:
        usage = load_figures(user_id)
        start = due_start(usage.reset_period, usage.timezone, usage.last_reset_at, instant or now())
        if start is None:
            return False
        used = usage.total_tokens_used
        changed = _change(
            update(UserUsage)
            .where(
                UserUsage.user_id == user_id,
                UserUsage.last_reset_at == usage.last_reset_at,
                UserUsage.total_tokens_used == used,
            )
            .values(total_tokens_used=0, last_reset_at=start)
        )
        if changed:
            _add_entries(user_id, reason=f"{usage.reset_period} reset", reset=used)
            return True


def verify() -> list[str]:
    """Rebuild every balance from the entries and return the differences, one sentence each.

    A single statement, so it sees a consistent snapshot while others write.
    """
    sums = (
        select(
            LedgerEntry.user_id,
            *(
                func.coalesce(
                    func.sum(case((LedgerEntry.operation.in_(operations), sign * LedgerEntry.delta))), 0
                ).label(field)
                for field, (sign, operations) in REBUILT.items()
            ),
        )
        .group_by(LedgerEntry.user_id)
        .subquery()
    )
    rows = db.session.execute(
        select(User.email, UserUsage, sums)
        .join(UserUsage, UserUsage.user_id == User.id, isouter=True)
        .join(sums, sums.c.user_id == User.id, isouter=True)
        .order_by(User.email)
        .execution_options(populate_existing=True)
    ).all()
    differences = []
    for row in rows:
        if row.UserUsage is None:
            differences.append(f"{row.email}: has no budget")
            continue
        for field in REBUILT:
            stored, rebuilt = getattr(row.UserUsage, field), int(getattr(row, field) or 0)
            if stored != rebuilt:
                differences.append(f"{row.email}: {field} is {stored}, entries say {rebuilt}")
    return differences


def _change(statement: Any) -> bool:
    result = db.session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


def _add_entries(user_id: UUID, exchange_id: UUID | None = None, reason: str = "", **deltas: int) -> None:
    """Add the entries of one change, given as operation=delta."""
    entry = {"user_id": user_id, "exchange_id": exchange_id, "reason": reason[:REASON_CHARS]}
    execute_core(ENTRIES.insert(), [entry | {"operation": name, "delta": delta} for name, delta in deltas.items()])
