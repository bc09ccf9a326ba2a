"""Low-budget notices at 80 and 100 percent, each once per period, kept until dismissed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from chatapp.budget.models import BudgetNotice, UserUsage
from chatapp.budget.queries import Budget, usage_of
from chatapp.kernel.config import settings
from chatapp.kernel.database import now
from chatapp.kernel.extensions import db

LEVELS = (80, 100)


def note(usage: Budget) -> None:
    """Create the notices for the levels a budget has reached. Call in the transaction that changed it: its row lock
    keeps two processes from creating the same notice."""
    for percent in LEVELS:
        key = (usage.user_id, usage.last_reset_at, percent)
        if has_come_to(usage, percent) and db.session.get(BudgetNotice, key) is None:
            db.session.add(BudgetNotice(user_id=usage.user_id, period_start=usage.last_reset_at, percent=percent))


def has_come_to(usage: Budget, percent: int) -> bool:
    if percent == 100:
        # Used up means that no answer fits any more; few budgets end exactly on their last token.
        return usage.token_limit - usage.total_tokens_used < settings().min_answer_tokens
    return usage.total_tokens_used * 100 >= usage.token_limit * percent


def unseen(user_id: UUID) -> BudgetNotice | None:
    """Return the most urgent notice of the current period that was not dismissed."""
    found = (
        select(BudgetNotice)
        .join(UserUsage, UserUsage.user_id == BudgetNotice.user_id)
        .where(
            BudgetNotice.user_id == user_id,
            BudgetNotice.period_start == UserUsage.last_reset_at,
            BudgetNotice.seen_at.is_(None),
        )
        .order_by(BudgetNotice.percent.desc())
    )
    return db.session.scalars(found.limit(1)).first()


def shown(user_id: UUID) -> dict[str, Any]:
    """Return what conversation/_notice.html shows: the budget, and whether a notice of it is unseen."""
    budget = usage_of(user_id)
    return {"budget": budget, "has_notice": budget.allows_answer and unseen(user_id) is not None}


def put_away(user_id: UUID) -> None:
    """Dismiss a user's notices. Call inside write()."""
    db.session.execute(
        update(BudgetNotice)
        .where(BudgetNotice.user_id == user_id, BudgetNotice.seen_at.is_(None))
        .values(seen_at=now())
        .execution_options(synchronize_session=False)
    )
