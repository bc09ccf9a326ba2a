"""Personas and prompts that people wrote. A shared one can be chosen by everybody and is changed by administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, ForeignKey, String, func, or_, select
from sqlalchemy.orm import Mapped, mapped_column

from chatapp.auth.models import User
from chatapp.kernel.database import UtcDateTime, now
from chatapp.kernel.errors import InvalidRequest, NotFound
from chatapp.kernel.extensions import db
from chatapp.kernel.text import MODEL_NAME_CHARS, N_

NAME_CHARS = 60
MOST_OWN = 100


class Own:
    """What personas and prompts have in common."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_CHARS))
    is_shared: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    @classmethod
    def for_user(cls, user: User) -> list[Self]:
        """Return a user's own and the shared ones, by name."""
        found = select(cls).where(cls._can_be_seen_by(user)).order_by(func.lower(cls.name), cls.id)
        return list(db.session.scalars(found))

    @classmethod
    def seen_by(cls, user: User, id: UUID) -> Self | None:
        return db.session.scalar(select(cls).where(cls.id == id, cls._can_be_seen_by(user)))

    @classmethod
    def _can_be_seen_by(cls, user: User) -> ColumnElement[bool]:
        return or_(cls.user_id == user.id, cls.is_shared)

    @classmethod
    def to_change(cls, user: User, id: UUID) -> Self:
        """Raises NotFound unless the user may change it."""
        found = cls.seen_by(user, id)
        if found is None or not found.can_be_changed_by(user):
            raise NotFound()
        return found

    def can_be_changed_by(self, user: User) -> bool:
        return self.user_id == user.id or (self.is_shared and user.is_admin)

    @classmethod
    def add(cls, user: User, values: dict[str, Any]) -> Self:
        """Add one of the user's. Call inside write(). Raises InvalidRequest at MOST_OWN."""
        own = select(func.count()).select_from(cls).where(cls.user_id == user.id)
        if (db.session.scalar(own) or 0) >= MOST_OWN:
            raise InvalidRequest(N_("You have as many as are allowed. Delete one first"))
        added = cls()
        added.change({"user_id": user.id, **values})
        db.session.add(added)
        return added

    def change(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)


class Persona(Own, db.Model):
    """model and temperature None: the user's defaults."""

    __tablename__ = "personas"

    instructions: Mapped[str]
    model: Mapped[str | None] = mapped_column(String(MODEL_NAME_CHARS))
    temperature: Mapped[float | None]


class Prompt(Own, db.Model):
    __tablename__ = "prompts"

    text: Mapped[str]
