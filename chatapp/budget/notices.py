"""Notices of a budget that runs low: at 80 and at 100 percent, each once in a period, kept until they are put away."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, update

from chatapp.budget.models import BudgetNotice, UserUsage
from chatapp.budget.queries import Budget
from chatapp.kernel.config import settings
from chatapp.kernel.database import now
from chatapp.kernel.extensions import db

LEVELS = (80, 100)


def note(usage: Budget) -> None:
    """Make the notices that a budget has come to. Inside the transaction that changed it, whose lock on the row keeps
    two processes from making the same one."""
    for percent in LEVELS:
        key = (usage.user_id, usage.last_reset_at, percent)
        if has_come_to(usage, percent) and db.session.get(BudgetNotice, key) is None:
            db.session.add(BudgetNotice(user_id=usage.user_id, period_start=usage.last_reset_at, percent=percent))


def has_come_to(usage: Budget, percent: int) -> bool:
    if percent == 100:
        # Used up is where no answer fits any more: few budgets end on their last token.
        return usage.token_limit - usage.total_tokens_used < settings().min_answer_tokens
    return usage.total_tokens_used * 100 >= usage.token_limit * percent


def unseen(user_id: UUID) -> BudgetNotice | None:
    """Return the most urgent notice of the present period that was not put away."""
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


def put_away(user_id: UUID) -> None:
    """Put a user's notices away. Inside write()."""
    db.session.execute(
        update(BudgetNotice)
        .where(BudgetNotice.user_id == user_id, BudgetNotice.seen_at.is_(None))
        .values(seen_at=now())
        .execution_options(synchronize_session=False)
    )
