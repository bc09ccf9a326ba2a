"""A turn: one question, its answer and its cost, and who is working on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, bindparam, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from chatapp.auth.models import User
from chatapp.chats.models import Chat
from chatapp.kernel.database import UtcDateTime, now
from chatapp.kernel.errors import NotFound
from chatapp.kernel.extensions import db
from chatapp.kernel.text import MODEL_NAME_CHARS

Status = Literal["in_progress", "completed", "stopped", "interrupted", "failed"]


class Turn(db.Model):
    __tablename__ = "turns"
    __table_args__ = (
        Index("uq_turns_chat_key", "chat_id", "key", unique=True),
        # One open turn a chat, however many processes race for it.
        Index(
            "uq_turns_chat_open",
            "chat_id",
            unique=True,
            sqlite_where=text("status = 'in_progress'"),
            postgresql_where=text("status = 'in_progress'"),
        ),
        Index(
            "ix_turns_open",
            "owner",
            sqlite_where=text("status = 'in_progress'"),
            postgresql_where=text("status = 'in_progress'"),
        ),
        Index(
            "ix_turns_user_open",
            "user_id",
            sqlite_where=text("status = 'in_progress'"),
            postgresql_where=text("status = 'in_progress'"),
        ),
        Index("ix_turns_user_started", "user_id", "started_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    chat_id: Mapped[UUID] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    question_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    answer_id: Mapped[UUID] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    key: Mapped[str | None] = mapped_column(String(200))
    model: Mapped[str] = mapped_column(String(MODEL_NAME_CHARS))
    status: Mapped[str] = mapped_column(String(12), default="in_progress")
    error_code: Mapped[str | None] = mapped_column(String(30))
    finish_reason: Mapped[str | None] = mapped_column(String(20))

    # Who works on it: host, boot, process. See owner.py.
    owner: Mapped[str] = mapped_column(String(200))
    heartbeat_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    stop_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    # The rule in force when it was admitted, and what was held.
    metering: Mapped[str] = mapped_column(String(10))
    reserved_tokens: Mapped[int] = mapped_column(BigInteger)
    max_answer_tokens: Mapped[int]
    clamped_by_budget: Mapped[bool] = mapped_column(default=False)
    charged_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    # What the model was shown, oldest first: role, message, estimated tokens; the system prompt comes first.
    sent: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)

    # What it cost: our count of each part with its method, and the provider's own figures.
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    reported: Mapped[dict[str, int] | None] = mapped_column(JSON)
    reported_tokens: Mapped[int | None] = mapped_column(BigInteger)
    price: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    cost_microusd: Mapped[int | None] = mapped_column(BigInteger)

    @property
    def is_open(self) -> bool:
        return self.status == "in_progress"

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
        return db.session.scalar(select(cls).where(cls.chat_id == chat_id, cls.status == "in_progress"))


class TitleTurn(db.Model):
    """One title that a model was asked for. It outlives its chat; its id is the turn_id of its ledger entries."""

    __tablename__ = "title_turns"
    __table_args__ = (
        Index(
            "ix_title_turns_open",
            "started_at",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    chat_id: Mapped[UUID] = mapped_column(index=True)
    model: Mapped[str] = mapped_column(String(MODEL_NAME_CHARS))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reserved_tokens: Mapped[int] = mapped_column(BigInteger)
    answer_tokens: Mapped[int]
    """What of it was held for the answer."""
    charged_tokens: Mapped[int] = mapped_column(BigInteger, default=0)

    @classmethod
    def of_chat(cls, chat_id: UUID) -> TitleTurn | None:
        return db.session.scalar(select(cls).where(cls.chat_id == chat_id).limit(1))


# For the statements that every message needs: see database.execute.
CHATS, MESSAGES, TURNS = (db.metadata.tables[name] for name in ("chats", "messages", "turns"))
CHANGE_CHAT = update(CHATS).where(CHATS.c.id == bindparam("chat"))
