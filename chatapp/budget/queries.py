"""What is left of a budget, when it resets, and how long it lasts at the current pace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Row, Select, bindparam, func, select

from chatapp.auth.models import User
from chatapp.budget.models import LedgerEntry, UserUsage
from chatapp.budget.periods import due_start, next_period_start
from chatapp.kernel.config import settings
from chatapp.kernel.database import now
from chatapp.kernel.errors import BudgetExceeded, NotFound
from chatapp.kernel.extensions import db
from chatapp.kernel.i18n import format_day
from chatapp.kernel.zones import zone

AVERAGED_DAYS = 30
FIGURES: Select[Any] = (
    select(*UserUsage.__table__.columns, User.timezone)
    .join_from(UserUsage.__table__, User.__table__)
    .where(UserUsage.__table__.c.user_id == bindparam("user"))
)


@dataclass(frozen=True, slots=True)
class Budget:
    """A user's figures in tokens. A period that is over counts as reset even before the reset is stored."""

    user_id: UUID
    total_tokens_used: int
    reserved_tokens: int
    token_limit: int
    reset_period: str
    last_reset_at: datetime
    resets_at: datetime | None
    timezone: str

    @property
    def unspent_tokens(self) -> int:
        """What is left, including reservations for answers in progress: most of those come back."""
        return max(0, self.token_limit - self.total_tokens_used)

    @property
    def allows_answer(self) -> bool:
        return self.remaining_tokens >= settings().min_answer_tokens

    @property
    def remaining_tokens(self) -> int:
        return max(0, self.token_limit - self.total_tokens_used - self.reserved_tokens)


def load_figures(user_id: UUID) -> Row[Any]:
    """Return the current UserUsage columns and the user's time zone. Raises NotFound."""
    # Columns, not an object: the session may hold a stale one.
    found = db.session.execute(FIGURES, {"user": user_id}).one_or_none()
    if found is None:
        raise NotFound()
    return found


def usage_of(user_id: UUID, instant: datetime | None = None) -> Budget:
    instant = instant or now()
    usage = load_figures(user_id)
    start = due_start(usage.reset_period, usage.timezone, usage.last_reset_at, instant)
    return Budget(
        user_id=user_id,
        total_tokens_used=0 if start else usage.total_tokens_used,
        reserved_tokens=usage.reserved_tokens,
        token_limit=usage.token_limit,
        reset_period=usage.reset_period,
        last_reset_at=start or usage.last_reset_at,
        resets_at=next_period_start(usage.reset_period, usage.timezone, instant, start or usage.last_reset_at),
        timezone=usage.timezone,
    )


def budget_exceeded(budget: Budget, needed_tokens: int) -> BudgetExceeded:
    """Return the error for an exchange that needs at least this many tokens, with a hint for the user."""
    left = budget.remaining_tokens
    room = ngettext("%(num)s token is left", "%(num)s tokens are left", left)
    needs = _("This message needs at least %(needed)s and %(room)s.", needed=f"{needed_tokens:,}", room=room)
    return BudgetExceeded(hint=f"{needs} {_when(budget)}")


def _when(budget: Budget) -> str:
    if budget.resets_at is None:
        return _("Your budget doesn’t reset. Ask your administrator for more.")
    return _("Your budget resets on %(day)s.", day=format_day(budget.resets_at))


def estimated_days_until_limit(user_id: UUID, budget: Budget, instant: datetime | None = None) -> int | None:
    """Return floor(remaining / daily average), or None if nothing was used. The average covers the days from the first
    use in this period through today, at most 30."""
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
