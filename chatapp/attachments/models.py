"""Attachments: what is known of a file; its bytes are in the store. A row exists only if its bytes do.

So bytes are written first and removed last, and a backup of the database followed by one of the folder is whole.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, select, update
from sqlalchemy.orm import Mapped, mapped_column

from chatapp.attachments.kinds import NAME_CHARS
from chatapp.attachments.refusals import StorageLimitExceeded
from chatapp.auth.models import User
from chatapp.kernel.database import UtcDateTime, execute_core, now
from chatapp.kernel.errors import NotFound
from chatapp.kernel.extensions import db

ALT_CHARS = 300


class Attachment(db.Model):
    """bytes: the file as it is handed out. stored_bytes: all its parts, which count towards the user's space."""

    __tablename__ = "attachments"
    __table_args__ = (
        CheckConstraint("kind IN ('image', 'pdf', 'text', 'audio')", name="kind"),
        CheckConstraint("bytes >= 0 AND stored_bytes >= bytes", name="bytes"),
        Index("ix_attachments_user_created", "user_id", "created_at"),
        Index("ix_attachments_created_at", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    chat_id: Mapped[UUID] = mapped_column(ForeignKey("chats.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    alt: Mapped[str] = mapped_column(String(ALT_CHARS), default="")
    kind: Mapped[str] = mapped_column(String(10))
    media_type: Mapped[str] = mapped_column(String(100))
    bytes: Mapped[int] = mapped_column(BigInteger)
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    width: Mapped[int | None]
    height: Mapped[int | None]
    pages: Mapped[int | None]
    characters: Mapped[int | None]
    text_tokens: Mapped[int | None]
    """The estimate of a text file, made once."""
    has_thumb: Mapped[bool] = mapped_column(default=False)
    has_text: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    @classmethod
    def in_chat(cls, chat_id: UUID, attachment_id: UUID) -> Attachment:
        """Load one of a chat's attachments; the caller has checked whose chat it is. Raises NotFound."""
        found = db.session.get(cls, attachment_id)
        if found is None or found.chat_id != chat_id:
            raise NotFound()
        return found

    @classmethod
    def of_chat(cls, chat_id: UUID, limit: int = 200) -> list[Attachment]:
        """Return the first attachments of a chat, in the order in which they were added."""
        found = select(cls).where(cls.chat_id == chat_id).order_by(cls.created_at, cls.id).limit(limit)
        return list(db.session.scalars(found))

    def add(self, most_bytes: int) -> None:
        """Take the space and add the row. Call inside write(). Raises StorageLimitExceeded.

        One conditional update decides, so uploads that race never pass the limit together.
        """
        takes = User.attachment_bytes + self.stored_bytes
        taken = update(User).where(User.id == self.user_id, takes <= most_bytes).values(attachment_bytes=takes)
        if execute_core(taken).rowcount != 1:
            raise StorageLimitExceeded()
        db.session.add(self)


class RemovedAttachment(db.Model):
    """Bytes that are to be removed: their row is gone. No foreign key, since chat and user may be gone too."""

    __tablename__ = "removed_attachments"

    attachment_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    removed_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now, index=True)
