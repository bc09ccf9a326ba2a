"""What is left, until when, and how long it lasts at this pace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select

from chatapp.auth.models import User
from chatapp.budget.models import LedgerEntry, UserUsage
from chatapp.budget.periods import next_period_start, period_start, zone
from chatapp.database import now
from chatapp.errors import NotFound
from chatapp.extensions import db

AVERAGED_DAYS = 30


@dataclass(frozen=True, slots=True)
class Budget:
    """A user's figures in tokens. A period that is over but was not yet reset is shown as reset."""

    total_tokens_used: int
    reserved_tokens: int
    token_limit: int
    reset_period: str
    last_reset_at: datetime
    resets_at: datetime | None
    timezone: str

    @property
    def remaining_tokens(self) -> int:
        return max(0, self.token_limit - self.total_tokens_used - self.reserved_tokens)


def usage_of(user_id: UUID, instant: datetime | None = None) -> Budget:
    instant = instant or now()
    row = db.session.execute(
        select(UserUsage, User.timezone).join(User, User.id == UserUsage.user_id).where(UserUsage.user_id == user_id)
    ).one_or_none()
    if row is None:
        raise NotFound()
    usage, zone_name = row
    start = period_start(usage.reset_period, zone_name, instant)
    is_over = start is not None and usage.last_reset_at < start
    return Budget(
        total_tokens_used=0 if is_over else usage.total_tokens_used,
        reserved_tokens=usage.reserved_tokens,
        token_limit=usage.token_limit,
        reset_period=usage.reset_period,
        last_reset_at=start if is_over and start else usage.last_reset_at,
        resets_at=next_period_start(usage.reset_period, zone_name, instant),
        timezone=zone_name,
    )


def estimated_days_until_limit(user_id: UUID, budget: Budget, instant: datetime | None = None) -> int | None:
    """Return floor(remaining / average per day); the average is over the days from the first use in this period
    to today, today included, 30 at most. None before any use."""
    instant = instant or now()
    local = zone(budget.timezone)
    since = max(budget.last_reset_at, instant - timedelta(days=AVERAGED_DAYS - 1))
    if since > budget.last_reset_at:
        since = since.astimezone(local).replace(hour=0, minute=0, second=0, microsecond=0)
    first, total = db.session.execute(
        select(func.min(LedgerEntry.created_at), func.sum(-LedgerEntry.delta)).where(
            LedgerEntry.user_id == user_id,
            LedgerEntry.operation == "charge",
            LedgerEntry.delta < 0,
            LedgerEntry.created_at >= since,
        )
    ).one()
    if not total:
        return None
    days = (instant.astimezone(local).date() - first.astimezone(local).date()).days + 1
    return budget.remaining_tokens * days // int(total)
