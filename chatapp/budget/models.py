"""A user's limit, reserved and used tokens, and the ledger that explains them.

balance = limit − used − reserved = Σ delta over the user's entries. A change to a figure and its entry happen in
one transaction. used and reserved can be rebuilt from the entries: see verify in ledger.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from chatapp.kernel.database import UtcDateTime, now
from chatapp.kernel.extensions import db

ResetPeriod = Literal["none", "daily", "weekly", "monthly"]


class UserUsage(db.Model):
    """Tokens, whole numbers. last_reset_at is when the current period began."""

    __tablename__ = "user_usage"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    total_tokens_used: Mapped[int] = mapped_column(BigInteger, default=0)
    reserved_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    token_limit: Mapped[int] = mapped_column(BigInteger)
    reset_period: Mapped[str] = mapped_column(String(10), default="monthly")
    last_reset_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    @property
    def remaining_tokens(self) -> int:
        return max(0, self.token_limit - self.total_tokens_used - self.reserved_tokens)


class LedgerEntry(db.Model):
    """One change to a balance, never modified. exchange_id is not a foreign key: old entries may have no exchange."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Index("uq_ledger_entries_exchange_operation", "exchange_id", "operation", unique=True),
        Index("ix_ledger_entries_user_created", "user_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    exchange_id: Mapped[UUID | None]
    operation: Mapped[str] = mapped_column(String(10))
    delta: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(300), default="", server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class BudgetNotice(db.Model):
    """A warning, once per period, that this much of the budget is used. seen_at: when the user dismissed it."""

    __tablename__ = "budget_notices"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    period_start: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    percent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
