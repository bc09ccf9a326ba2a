"""What a user may spend, what is held and what is spent, the ledger that says why, and what each exchange came to.

balance = limit − used − reserved = Σ delta over the user's entries. Every change of a figure here and its entry are
one transaction. used and reserved can be rebuilt from the entries: see verify in ledger.py.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from chatapp.kernel.database import UtcDateTime, now
from chatapp.kernel.extensions import db
from chatapp.kernel.text import MODEL_NAME_CHARS

Operation = Literal["grant", "reserve", "release", "charge", "reset"]
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
    """One change of a balance, never altered. turn_id is no foreign key: the entry outlives its chat."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Index("uq_ledger_entries_turn_operation", "turn_id", "operation", unique=True),
        Index("ix_ledger_entries_user_created", "user_id", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    turn_id: Mapped[UUID | None]
    operation: Mapped[str] = mapped_column(String(10))
    delta: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(300), default="", server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class UsageRecord(db.Model):
    """What one exchange came to, in tokens. No foreign key to turn and chat: what was spent outlives them.

    day is the user's own when it ended. counted_tokens is the formula's sum, whatever was charged; the reported ones
    are None where the provider said nothing, cost_microusd where the price is unknown.
    """

    __tablename__ = "usage_records"
    # With what an export is read in order by.
    __table_args__ = (Index("ix_usage_records_export", "user_id", "day", "ended_at", "turn_id"),)

    turn_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    chat_id: Mapped[UUID]
    model: Mapped[str] = mapped_column(String(MODEL_NAME_CHARS))
    day: Mapped[date]
    ended_at: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[str] = mapped_column(String(12))
    metering: Mapped[str] = mapped_column(String(10))
    method: Mapped[str] = mapped_column(String(10))
    user_tokens: Mapped[int] = mapped_column(BigInteger)
    answer_tokens: Mapped[int] = mapped_column(BigInteger)
    system_tokens: Mapped[int] = mapped_column(BigInteger)
    overhead_tokens: Mapped[int] = mapped_column(BigInteger)
    counted_tokens: Mapped[int] = mapped_column(BigInteger)
    charged_tokens: Mapped[int] = mapped_column(BigInteger)
    reported_input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_thoughts_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost_microusd: Mapped[int | None] = mapped_column(BigInteger)


class BudgetNotice(db.Model):
    """Said once in a period: so much of the budget is used. seen_at: when its reader put it away."""

    __tablename__ = "budget_notices"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    period_start: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    percent: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
