"""Spending: reserve before the model is asked, settle once at the end, grant and reset in between.

Every verb runs inside write(), changes user_usage by one conditional statement and adds its entries in the same
transaction. The condition is checked by the database against the row as it is at that moment, so no number of
processes can pass the limit together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, func, select, update

from chatapp.auth.models import User
from chatapp.budget.models import LedgerEntry, Operation, UserUsage
from chatapp.budget.periods import period_start
from chatapp.database import now
from chatapp.errors import BudgetExceeded, NotFound
from chatapp.extensions import db
from chatapp.services import settings


@dataclass(frozen=True, slots=True)
class Reservation:
    """tokens is held in all; answer_tokens of it is what the visible answer may use."""

    tokens: int
    answer_tokens: int
    is_clamped: bool


def open_account(user_id: UUID, limit: int | None = None) -> None:
    """Give a new user a budget: the usage row and the first grant."""
    limit = settings().token_limit if limit is None else limit
    db.session.add(UserUsage(user_id=user_id, token_limit=limit, reset_period=settings().reset_period))
    _enter(user_id, "grant", limit, reason="first limit")


def reserve(user_id: UUID, turn_id: UUID, input_tokens: int, max_answer: int, min_answer: int) -> Reservation:
    """Hold the input and as much of the answer as fits, at least min_answer.

    Raises BudgetExceeded, leaving nothing behind. A failed condition means that somebody else got in between and
    that the balance is another now: it is read again.
    """
    reset_if_due(user_id)
    while True:
        usage = _usage(user_id)
        free = usage.token_limit - usage.total_tokens_used - usage.reserved_tokens
        answer = min(max_answer, free - input_tokens)
        if answer < min(min_answer, max_answer):
            raise BudgetExceeded()
        needed = input_tokens + answer
        changed = _change(
            update(UserUsage)
            .where(
                UserUsage.user_id == user_id,
                UserUsage.total_tokens_used + UserUsage.reserved_tokens + needed <= UserUsage.token_limit,
            )
            .values(reserved_tokens=UserUsage.reserved_tokens + needed)
        )
        if changed:
            _enter(user_id, "reserve", -needed, turn_id)
            return Reservation(needed, answer, answer < max_answer)


def settle(user_id: UUID, turn_id: UUID, reserved: int, charged: int) -> None:
    """Release what was held and charge what was used (0 allowed), at most what was held.

    Call it only after the turn's own row was closed in the same transaction: that is what makes it once.
    """
    assert 0 <= charged <= reserved
    _change(
        update(UserUsage)
        .where(UserUsage.user_id == user_id, UserUsage.reserved_tokens >= reserved)
        .values(
            reserved_tokens=UserUsage.reserved_tokens - reserved,
            total_tokens_used=UserUsage.total_tokens_used + charged,
        )
    )
    _enter(user_id, "release", reserved, turn_id)
    _enter(user_id, "charge", -charged, turn_id)


def set_limit(user_id: UUID, limit: int, reason: str) -> None:
    """Change a user's limit. The difference is a grant with its reason."""
    while True:
        old = _usage(user_id).token_limit
        changed = _change(
            update(UserUsage)
            .where(UserUsage.user_id == user_id, UserUsage.token_limit == old)
            .values(token_limit=limit)
        )
        if changed:
            if limit != old:
                _enter(user_id, "grant", limit - old, reason=reason)
            return


def reset_if_due(user_id: UUID, instant: datetime | None = None) -> bool:
    """Begin a new period where the old one is over. However many processes see midnight, one of them resets."""
    while True:
        usage = _usage(user_id)
        start = period_start(usage.reset_period, _zone_of(user_id), instant or now())
        if start is None or usage.last_reset_at >= start:
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
            _enter(user_id, "reset", used, reason=f"{usage.reset_period} reset")
            return True


def verify() -> list[str]:
    """Rebuild every balance from the entries; return the differences, one sentence each, empty when all agree."""
    sums: dict[UUID, dict[str, int]] = {}
    entries = select(LedgerEntry.user_id, LedgerEntry.operation, func.sum(LedgerEntry.delta))
    for user_id, operation, total in db.session.execute(entries.group_by(LedgerEntry.user_id, LedgerEntry.operation)):
        sums.setdefault(user_id, {})[operation] = int(total)
    differences = []
    for usage in db.session.scalars(select(UserUsage)):
        of = sums.get(usage.user_id, {})
        rebuilt = {
            "token_limit": of.get("grant", 0),
            "reserved_tokens": -of.get("reserve", 0) - of.get("release", 0),
            "total_tokens_used": -of.get("charge", 0) - of.get("reset", 0),
        }
        for field, figure in rebuilt.items():
            if getattr(usage, field) != figure:
                differences.append(f"user {usage.user_id}: {field} is {getattr(usage, field)}, entries say {figure}")
    return differences


def _usage(user_id: UUID) -> UserUsage:
    """Read the row as it is now, not as this session may remember it."""
    usage = db.session.scalar(
        select(UserUsage).where(UserUsage.user_id == user_id).execution_options(populate_existing=True)
    )
    if usage is None:
        raise NotFound()
    return usage


def _zone_of(user_id: UUID) -> str:
    return db.session.scalar(select(User.timezone).where(User.id == user_id)) or "UTC"


def _change(statement: Any) -> bool:
    result = db.session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


def _enter(user_id: UUID, operation: Operation, delta: int, turn_id: UUID | None = None, reason: str = "") -> None:
    db.session.add(LedgerEntry(user_id=user_id, operation=operation, delta=delta, turn_id=turn_id, reason=reason[:300]))
