"""A turn: one question in a chat and its answer. Its exchange holds the cost and the process working on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String, bindparam, select, text, update
from sqlalchemy.orm import Mapped, mapped_column, relationship

from chatapp.auth.models import User
from chatapp.chats.models import Chat
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import UtcDateTime, now
from chatapp.kernel.errors import NotFound
from chatapp.kernel.extensions import db

# Exactly as SQLAlchemy renders it for each: SQLite uses a partial index only if the condition matches literally.
IS_OPEN: dict[str, Any] = {"sqlite_where": text("is_open = 1"), "postgresql_where": text("is_open")}


@dataclass(frozen=True, slots=True)
class Started:
    """A running turn, started or joined. Plain values that stay valid after the connection is released."""

    turn_id: UUID
    chat_id: UUID
    question_id: UUID
    answer_id: UUID
    joined: bool = False


class Turn(db.Model):
    """Has the same id as its exchange. It is deleted with its chat; the exchange stays."""

    __tablename__ = "turns"
    __table_args__ = (
        Index("uq_turns_chat_key", "chat_id", "key", unique=True),
        # One open turn per chat, however many processes compete.
        Index("uq_turns_chat_open", "chat_id", unique=True, **IS_OPEN),
        Index("ix_turns_user_open", "user_id", **IS_OPEN),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    chat_id: Mapped[UUID] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    question_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    answer_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    key: Mapped[str | None] = mapped_column(String(200))
    is_open: Mapped[bool] = mapped_column(default=True)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    # What the model was sent, oldest first: role, message, estimated tokens; the system prompt comes first.
    sent: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)

    exchange: Mapped[Exchange] = relationship(
        primaryjoin="Turn.id == Exchange.id", foreign_keys="Turn.id", lazy="joined", innerjoin=True, viewonly=True
    )

    @classmethod
    def for_user(cls, user: User, turn_id: UUID) -> Turn:
        """Load a turn of one of the user's chats. Raises NotFound."""
        turn = db.session.scalar(
            select(cls).join(Chat).where(cls.id == turn_id, Chat.user_id == user.id, Chat.deleted_at.is_(None))
        )
        if turn is None:
            raise NotFound()
        return turn

    @classmethod
    def open_in(cls, chat_id: UUID) -> Turn | None:
        return db.session.scalar(select(cls).where(cls.chat_id == chat_id, cls.is_open))


# For the statements that every message needs: see database.execute_core.
TURNS = Turn.metadata.tables["turns"]
CLOSE_TURN = update(TURNS).where(TURNS.c.id == bindparam("turn"))
