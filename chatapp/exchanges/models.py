"""An exchange: one call to a model, what it was allowed to cost, what it cost, and which process is working on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, bindparam, text, update
from sqlalchemy.orm import Mapped, mapped_column

from chatapp.kernel.database import UtcDateTime, now
from chatapp.kernel.extensions import db
from chatapp.kernel.text import MODEL_NAME_CHARS

Purpose = Literal["answer", "title", "api"]
Status = Literal["in_progress", "completed", "stopped", "interrupted", "failed"]
Kind = Literal["question", "answer", "system", "overhead"]
Modality = Literal["text"]

IS_OPEN = text("status = 'in_progress'")
IS_TITLE = text("purpose = 'title'")
# The names of the parts in the API, in exports and in the settled message.
NAMES = {"question": "user"}


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an exchange, in tokens. method: api, local, estimate or fixed."""

    kind: str
    tokens: int
    method: str
    modality: str = "text"

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "modality": self.modality, "tokens": self.tokens, "method": self.method}


class Exchange(db.Model):
    """Whole tokens. chat_id is not a foreign key: spending outlives its chat. There are no texts in here.

    parts: until it is settled, the estimates it was admitted with; then the counts, empty if nothing is charged.
    counted_tokens is their sum, whatever was charged. reported_* are None if the provider reported nothing,
    cost_microusd if the price is unknown. day is the user's date when it ended.
    """

    __tablename__ = "exchanges"
    __table_args__ = (
        Index("ix_exchanges_open", "owner", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
        Index("ix_exchanges_user_open", "user_id", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
        Index("ix_exchanges_title", "chat_id", sqlite_where=IS_TITLE, postgresql_where=IS_TITLE),
        Index("ix_exchanges_user_started", "user_id", "started_at"),
        # Includes the columns that an export is ordered by.
        Index("ix_exchanges_export", "user_id", "day", "ended_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    purpose: Mapped[str] = mapped_column(String(10))
    chat_id: Mapped[UUID | None]
    model: Mapped[str] = mapped_column(String(MODEL_NAME_CHARS))
    status: Mapped[str] = mapped_column(String(12), default="in_progress")
    error_code: Mapped[str | None] = mapped_column(String(30))
    error_message: Mapped[str | None] = mapped_column(String(300))
    finish_reason: Mapped[str | None] = mapped_column(String(20))

    # The process working on it: host, boot, process. See owner.py.
    owner: Mapped[str] = mapped_column(String(200))
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    stop_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    day: Mapped[date | None]

    # The rules in force when it was admitted, and what was reserved.
    metering: Mapped[str] = mapped_column(String(10))
    price: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    overhead_tokens: Mapped[int]
    reserved_tokens: Mapped[int] = mapped_column(BigInteger)
    max_answer_tokens: Mapped[int]
    clamped_by_budget: Mapped[bool] = mapped_column(default=False)

    # What it used.
    parts: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    counted_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    charged_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    method: Mapped[str | None] = mapped_column(String(10))
    reported_input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_thoughts_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_tool_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reported_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost_microusd: Mapped[int | None] = mapped_column(BigInteger)

    @property
    def is_open(self) -> bool:
        return self.status == "in_progress"

    @property
    def total_tokens(self) -> int:
        """What it used, by its metering rule; the charge is at most what was reserved."""
        return self.reported_tokens or 0 if self.method == "reported" else self.counted_tokens

    @property
    def excess_tokens(self) -> int:
        return self.total_tokens - self.charged_tokens

    @property
    def reported(self) -> dict[str, int] | None:
        """Return the provider's own figures; None if it gave none."""
        if self.reported_tokens is None:
            return None
        names = ("input", "output", "cached", "thoughts", "tool")
        figures = {f"{name}_tokens": getattr(self, f"reported_{name}_tokens") or 0 for name in names}
        return {**figures, "total_tokens": self.reported_tokens}

    @property
    def usage(self) -> dict[str, Any] | None:
        """Return the figures as the API and exports show them; None while it is open."""
        if self.is_open:
            return None
        named = {NAMES.get(part["kind"], part["kind"]): part for part in self.parts}
        return {
            **{f"{name}_tokens": part["tokens"] for name, part in named.items() if name != "overhead"},
            "overhead_tokens": named["overhead"]["tokens"] if "overhead" in named else 0,
            "total_tokens": self.total_tokens,
            "charged_tokens": self.charged_tokens,
            "excess_tokens": self.excess_tokens,
            "method": self.method,
            "methods": {name: part["method"] for name, part in named.items() if part["tokens"] and name != "overhead"},
            "metering": self.metering,
            "finish_reason": self.finish_reason,
            "error_code": self.error_code,
            "error_message": self.error_message,
            "cost_microusd": self.cost_microusd,
            "reported": self.reported,
        }


EXCHANGES = Exchange.metadata.tables["exchanges"]
# Closing the row is what makes settling happen once.
CLOSE = update(EXCHANGES).where(EXCHANGES.c.id == bindparam("exchange"), EXCHANGES.c.status == "in_progress")
