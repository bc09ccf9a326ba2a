"""Chats and their messages. A message refers to the one before it, so a chat is a tree; pages show one branch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, bindparam, select, text, update
from sqlalchemy.orm import Mapped, aliased, mapped_column, relationship

from chatapp.auth.models import User
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import UtcDateTime, now
from chatapp.kernel.errors import ChatNotFound, ChatNotYours
from chatapp.kernel.extensions import db
from chatapp.kernel.text import MODEL_NAME_CHARS

# Messages are read a few at a time, until there are enough of them or they are long enough.
PAGE_STEP = 20
PAGE_CHARS = 1_000_000


class Chat(db.Model):
    __tablename__ = "chats"
    __table_args__ = (
        Index("ix_chats_user_updated", "user_id", "updated_at"),
        Index("ix_chats_export", "user_id", "created_at", "id"),
        Index(
            "ix_chats_deleted",
            "deleted_at",
            sqlite_where=text("deleted_at IS NOT NULL"),
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str | None] = mapped_column(String(200))
    model: Mapped[str] = mapped_column(String(MODEL_NAME_CHARS))
    system_prompt: Mapped[str] = mapped_column(default="")
    temperature: Mapped[float | None]
    thinking_tokens: Mapped[int | None]
    persona: Mapped[str | None] = mapped_column(String(60))
    """The name of the persona with which it began, as it was then."""
    pinned: Mapped[bool] = mapped_column(default=False)
    archived: Mapped[bool] = mapped_column(default=False)
    head_id: Mapped[UUID | None]
    """The last message of the shown branch. Not a foreign key: the two tables would depend on each other."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    @classmethod
    def for_user(cls, user: User, chat_id: UUID, *, or_deleted: bool = False) -> Chat:
        """Load a user's chat. Raises ChatNotFound, or ChatNotYours for another user's (pages show both as a 404)."""
        chat = db.session.get(cls, chat_id)
        if chat is None or (chat.deleted_at is not None and not or_deleted):
            raise ChatNotFound()
        if chat.user_id != user.id:
            raise ChatNotYours()
        return chat

    def change(self, values: Mapping[str, Any]) -> None:
        """Set fields as changes.checked returns them: rename, pin, archive, choose a model and the like."""
        for name, value in values.items():
            setattr(self, name, value)

    def delete(self) -> None:
        """Hide the chat. Its rows go when nobody can want it back (housekeeping.py)."""
        self.deleted_at = now()

    def restore(self) -> None:
        self.deleted_at = None

    def branch(self, limit: int | None = None, before: UUID | None = None) -> list[Message]:
        """Return the last `limit` messages of the shown branch, oldest first, or those before one of them.

        before: a message of this chat; any other gives an empty list.
        """
        if before and db.session.scalar(select(Message.chat_id).where(Message.id == before)) != self.id:
            return []
        return branch(self.head_id, limit, before)


class Message(db.Model):
    __tablename__ = "messages"
    # For reading a chat's messages by time, a page at a time.
    __table_args__ = (Index("ix_messages_chat_id_created_at_id", "chat_id", "created_at", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    chat_id: Mapped[UUID] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(10))
    content: Mapped[str] = mapped_column(default="")
    continues: Mapped[bool] = mapped_column(default=False)
    """A question that only asks for the rest of the answer above: shown as a line, not as the user's words."""
    thoughts: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(String(12), default="completed")
    model: Mapped[str | None] = mapped_column(String(MODEL_NAME_CHARS))
    exchange_id: Mapped[UUID | None]
    """An answer's exchange, which holds its cost; None if imported. Not a foreign key: the message is written first."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    exchange: Mapped[Exchange | None] = relationship(
        primaryjoin=lambda: Message.exchange_id == Exchange.id,
        foreign_keys=lambda: Message.exchange_id,
        lazy="joined",
        viewonly=True,
    )

    @property
    def usage(self) -> dict[str, Any] | None:
        """Return the figures of an answer that has ended (Exchange.usage)."""
        return self.exchange.usage if self.exchange else None

    @property
    def tokens_consumed(self) -> int:
        return self.exchange.charged_tokens if self.exchange else 0

    @property
    def can_go_on(self) -> bool:
        """Return whether this is an answer that ended early and has text to continue from."""
        is_cut = self.exchange is not None and self.exchange.finish_reason == "length"
        ended_early = self.status in ("stopped", "interrupted") or is_cut
        return self.role == "assistant" and bool(self.content) and self.status != "in_progress" and ended_early


# For the statements that every message needs: see database.execute_core.
CHATS, MESSAGES = (db.metadata.tables[name] for name in ("chats", "messages"))
CHANGE_CHAT = update(CHATS).where(CHATS.c.id == bindparam("chat"))
SAVE_MESSAGE = update(MESSAGES).where(MESSAGES.c.id == bindparam("message"))


class SearchPage(db.Model):
    __tablename__ = "search_pages"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    subjects: Mapped[bytes] = mapped_column(LargeBinary)
    """The ids of messages, and of chats for their titles: 16 bytes each, newest last."""
    signature: Mapped[bytes] = mapped_column(LargeBinary)


class SearchPending(db.Model):
    """New texts that are on no page yet. Database triggers from a migration add them, so no write is missed."""

    __tablename__ = "search_pending"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    subject_id: Mapped[UUID]
    chars: Mapped[int]


class SearchBacklog(db.Model):
    """Chats that predate the index, the most recently used with the highest id. after_*: the last message queued."""

    __tablename__ = "search_backlog"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    chat_id: Mapped[UUID]
    after_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    after_id: Mapped[UUID | None]


def page_upwards(chat: Chat, limit: int, before: UUID | None = None) -> tuple[list[Message], UUID | None]:
    """Return the last messages of the shown branch, or those before one of them, oldest first; and a cursor.

    At most `limit`, fewer if they are long (PAGE_CHARS). The cursor is None if nothing is above.
    """
    found: list[Message] = []
    while len(found) < limit:
        step = chat.branch(min(PAGE_STEP, limit - len(found)), before)
        found = [*step, *found]
        if not step or step[0].parent_id is None:
            return found, None
        before = step[0].id
        if sum(len(message.content) for message in found) > PAGE_CHARS:
            break
    return found, before


def last_below(message_id: UUID) -> UUID:
    """Return the end of the newest branch through a message; the message itself if nothing is below it."""
    line = (
        select(Message.id, db.literal(0).label("distance")).where(Message.id == message_id).cte("below", recursive=True)
    )
    child = aliased(Message)
    line = line.union_all(select(child.id, line.c.distance + 1).where(child.parent_id == line.c.id))
    newest = select(Message.id).join(line, Message.id == line.c.id)
    found = db.session.scalar(newest.order_by(Message.created_at.desc(), line.c.distance.desc()).limit(1))
    return found or message_id


def branch(head_id: UUID | None, limit: int | None = None, before: UUID | None = None) -> list[Message]:
    """Return the branch ending with head_id, oldest first: its last `limit` messages, or those just above `before`."""
    if head_id is None:
        return []
    start = select(Message.id, Message.parent_id).where(Message.id == (before or head_id))
    line = start.add_columns(db.literal(0).label("distance")).cte("line", recursive=True)
    parent = aliased(Message)
    line = line.union_all(
        select(parent.id, parent.parent_id, line.c.distance + 1).where(
            parent.id == line.c.parent_id, line.c.distance < (limit or 100_000) - (0 if before else 1)
        )
    )
    rows = db.session.scalars(select(Message).join(line, Message.id == line.c.id).order_by(line.c.distance.desc()))
    return [message for message in rows if message.id != before]
