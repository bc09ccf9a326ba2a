"""What an administrator has connected: one row for each kind of provider."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from chatapp.connections.seal import open_sealed, seal
from chatapp.kernel.database import UtcDateTime, now
from chatapp.kernel.extensions import db

Kind = Literal["gemini", "openai"]


class Connection(db.Model):
    __tablename__ = "connections"

    kind: Mapped[str] = mapped_column(String(10), primary_key=True)
    base_url: Mapped[str | None] = mapped_column(Text)
    sealed_key: Mapped[str | None] = mapped_column(Text)
    # As OPENAI_MODELS; "" asks the server.
    models: Mapped[str] = mapped_column(Text, default="")
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)

    @classmethod
    def of(cls, kind: Kind) -> Self:
        """Return the stored connection, or a new empty one that is not stored yet."""
        return db.session.get(cls, kind) or cls(kind=kind, models="")

    @property
    def key(self) -> str | None:
        """The key in clear; None if there is none or it can no longer be read."""
        return open_sealed(self.sealed_key) if self.sealed_key else None

    @property
    def has_lost_key(self) -> bool:
        return bool(self.sealed_key) and self.key is None

    def save(self, *, base_url: str | None, key: str | None, models: str = "") -> None:
        """Store these values. Call inside write()."""
        self.base_url, self.models, self.changed_at = base_url, models, now()
        self.sealed_key = seal(key) if key else None
        db.session.add(self)

    def as_settings(self) -> dict[str, Any]:
        return as_settings(self.kind, base_url=self.base_url, key=self.key, models=self.models)


def as_settings(kind: str, *, base_url: str | None, key: str | None, models: str = "") -> dict[str, Any]:
    """Return what a connection would be as settings of the environment."""
    if kind == "gemini":
        return {"gemini_api_key": key}
    return {"openai_base_url": base_url, "openai_api_key": key, "openai_models": models}
