"""Users, their logins (which the server can end) and their API keys."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

from flask_babel import gettext as _
from flask_login import UserMixin
from sqlalchemy import BigInteger, ColumnElement, ForeignKey, Index, String, delete, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column, relationship

from chatapp.kernel.database import UtcDateTime, execute_core, now, write
from chatapp.kernel.errors import Forbidden, InvalidRequest, NotFound
from chatapp.kernel.extensions import db
from chatapp.kernel.text import MODEL_NAME_CHARS

# How a request authenticated, as plain values that outlive a database session.
Identity = tuple[Literal["login", "key"], UUID]

KEY_PREFIX = "chat_"
# A login or key seen this recently is not updated, so reading a page costs no write.
SEEN_EVERY = timedelta(minutes=5)
NAMES = {"Edg": "Edge", "OPR": "Opera", "Mac OS": "macOS"}


def digest(token: str) -> str:
    """Return the stored form of a random token. The token has 256 bits, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def canonical_email(text: str) -> str:
    """Return the canonical form of an email, for storage, lookup and counting.

    Composed before and after lowering: some keyboards send é as two characters, and lowering İ produces two.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).strip().lower())


class User(db.Model, UserMixin):
    __tablename__ = "users"
    __table_args__ = (
        Index(
            "ix_users_deleted",
            "deleted_at",
            sqlite_where=text("deleted_at IS NOT NULL"),
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(300))
    is_admin: Mapped[bool] = mapped_column(default=False)
    is_enabled: Mapped[bool] = mapped_column(default=True)
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    locale: Mapped[str | None] = mapped_column(String(8))
    default_model: Mapped[str | None] = mapped_column(String(MODEL_NAME_CHARS))
    default_system_prompt: Mapped[str | None]
    default_temperature: Mapped[float | None]
    default_thinking_tokens: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    attachment_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """The space that the user's files take."""
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When deletion of the account began. It is disabled from then on; its data is removed within minutes."""

    # Not columns: how the current request authenticated.
    __allow_unmapped__ = True
    login: LoginSession | None = None
    """The login; None for a personal key."""
    identity: Identity | None = None
    """The login or the key, as plain values."""

    @property
    def is_active(self) -> bool:
        return self.is_enabled

    @classmethod
    def by_email(cls, email: str) -> User | None:
        """Find a user by the email typed in. Unprintable text finds nobody; PostgreSQL rejects NUL."""
        email = canonical_email(email)
        return db.session.scalar(select(cls).where(cls.email == email)) if email.isprintable() else None

    def disable(self) -> None:
        """Disable the account: logins end now, keys and open streams at their next check.

        Raises Forbidden for the last administrator.
        """
        with write():
            self.leave_an_administrator()
            self.is_enabled = False
            LoginSession.end_all(self.id)

    def leave_an_administrator(self) -> None:
        """Raise Forbidden if this is the last administrator. Call inside write(), before disabling the account.

        The rows are locked in a fixed order: if two administrators disable each other at once, only one succeeds.
        """
        found = select(User.id).where(User.is_admin, User.is_enabled).order_by(User.id).with_for_update()
        if set(db.session.scalars(found)) == {self.id}:
            raise Forbidden(_("You are the only administrator. Make someone else an administrator first"))

    def enable(self) -> None:
        """Re-enable the account. Raises InvalidRequest if it is being deleted."""
        with write():
            if self.deleted_at is not None:
                raise InvalidRequest(_("This account is being deleted"))
            self.is_enabled = True


class LoginSession(db.Model):
    """One signed-in browser. The cookie holds a token, this row its digest: ending the row ends the login."""

    __tablename__ = "login_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_digest: Mapped[str] = mapped_column(String(64), unique=True)
    user_agent: Mapped[str] = mapped_column(String(200), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failed_before: Mapped[int] = mapped_column(default=0, server_default="0")
    """Failed sign-in attempts since the previous login."""
    user: Mapped[User] = relationship(lazy="joined")

    @classmethod
    def begin(cls, user: User, user_agent: str = "", failed_before: int = 0) -> str:
        """Record a login and return the token for its cookie. Call inside write()."""
        token = secrets.token_urlsafe(32)
        agent = "".join(filter(str.isprintable, user_agent))[:200]
        row = cls(user_id=user.id, token_digest=digest(token), user_agent=agent, failed_before=failed_before)
        db.session.add(row)
        return token

    @classmethod
    def forget_old(cls, user_id: UUID, lifetime: timedelta, idle: timedelta) -> None:
        """Delete a user's ended and expired logins. Call inside write()."""
        is_over = or_(cls.ended_at.is_not(None), cls.created_at < now() - lifetime, cls.seen_at < now() - idle)
        db.session.execute(delete(cls).where(cls.user_id == user_id, is_over))

    @classmethod
    def open_of(cls, user_id: UUID, lifetime: timedelta, idle: timedelta) -> list[LoginSession]:
        """Return up to 100 of a user's valid logins, most recently seen first."""
        is_good = (cls.ended_at.is_(None), cls.created_at >= now() - lifetime, cls.seen_at >= now() - idle)
        found = select(cls).where(cls.user_id == user_id, *is_good).order_by(cls.seen_at.desc()).limit(100)
        return list(db.session.scalars(found))

    @classmethod
    def for_user(cls, user: User, login_id: UUID) -> LoginSession:
        """Load one of a user's logins. Raises NotFound."""
        login = db.session.get(cls, login_id)
        if login is None or login.user_id != user.id:
            raise NotFound()
        return login

    @classmethod
    def by_token(cls, token: str, lifetime: timedelta, idle: timedelta) -> LoginSession | None:
        """Return the login if it is still valid: not ended, not too old, not idle for too long, user enabled."""
        login = db.session.scalar(select(cls).where(cls.token_digest == digest(token), cls.ended_at.is_(None)))
        if login is None or not login.user.is_enabled:
            return None
        instant = now()
        if instant - login.created_at > lifetime or instant - login.seen_at > idle:
            return None
        return login

    @classmethod
    def end_all(cls, user_id: UUID, but: UUID | None = None) -> None:
        """End all of a user's logins except `but`. Call inside write()."""
        db.session.execute(
            update(cls).where(cls.user_id == user_id, cls.ended_at.is_(None), cls.id != but).values(ended_at=now())
        )

    @property
    def device(self) -> str:
        """Return browser and system for display, such as "Firefox, Linux"; the raw user agent if neither is known."""
        browser = re.search(r"Edg|OPR|Firefox|Chrome|Safari", self.user_agent)
        system = re.search(r"Android|iPhone|iPad|Windows|Mac OS|Linux", self.user_agent)
        names = [NAMES.get(found[0], found[0]) for found in (browser, system) if found]
        return ", ".join(names) or self.user_agent[:60]

    def end(self) -> None:
        with write():
            db.session.execute(update(LoginSession).where(LoginSession.id == self.id).values(ended_at=now()))

    def touch(self) -> None:
        """Record that the login is in use, at most every few minutes."""
        if now() - self.seen_at > SEEN_EVERY:
            login_id = self.id
            with write():
                db.session.execute(update(LoginSession).where(LoginSession.id == login_id).values(seen_at=now()))


class ApiKey(db.Model):
    """A personal key for programs. It is shown once; only its digest is kept."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100), default="")
    hint: Mapped[str] = mapped_column(String(16))
    key_digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    user: Mapped[User] = relationship(lazy="joined")

    @classmethod
    def issue(cls, user: User, name: str = "") -> str:
        """Create a key and return it; it cannot be read again. Call inside write()."""
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        db.session.add(cls(user_id=user.id, name=name[:100], hint=key[:9] + "…", key_digest=digest(key)))
        return key

    @classmethod
    def in_force_of(cls, user_id: UUID) -> list[ApiKey]:
        """Return a user's keys that are not revoked, newest first."""
        found = select(cls).where(cls.user_id == user_id, cls.revoked_at.is_(None)).order_by(cls.created_at.desc())
        return list(db.session.scalars(found))

    @classmethod
    def for_user(cls, user: User, key_id: UUID) -> ApiKey:
        """Load one of a user's keys. Raises NotFound."""
        key = db.session.get(cls, key_id)
        if key is None or key.user_id != user.id:
            raise NotFound()
        return key

    @classmethod
    def by_key(cls, key: str) -> ApiKey | None:
        """Return the key if it is not revoked and its user is enabled."""
        found = db.session.scalar(select(cls).where(cls.key_digest == digest(key), cls.revoked_at.is_(None)))
        return found if found is not None and found.user.is_enabled else None

    def revoke(self) -> None:
        with write():
            self.revoked_at = self.revoked_at or now()

    def touch(self) -> None:
        if self.used_at is None or now() - self.used_at > SEEN_EVERY:
            key_id = self.id
            with write():
                db.session.execute(update(ApiKey).where(ApiKey.id == key_id).values(used_at=now()))


class Link(db.Model):
    """A signed link, identified by its digest and kept until it expires.

    Links made by earlier versions have no row until they are closed.
    """

    __tablename__ = "links"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    email: Mapped[str] = mapped_column(String(254), default="", index=True)
    """The invited person; empty once the link is closed, and for the setup link."""
    is_admin: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was used or revoked."""

    @classmethod
    def is_closed(cls, token_digest: str) -> bool:
        found = select(cls.digest).where(cls.digest == token_digest, cls.closed_at.is_not(None))
        return db.session.scalar(found) is not None

    @classmethod
    def invitations(cls) -> list[Link]:
        """Return up to 500 invitations that can still be used, ordered by email."""
        found = select(cls).where(cls.email != "", cls.closed_at.is_(None), cls.expires_at > now())
        return list(db.session.scalars(found.order_by(cls.email, cls.created_at).limit(500)))

    @classmethod
    def note(cls, token_digest: str, email: str, is_admin: bool, expires_at: datetime) -> None:
        """Record a new invitation and delete expired links. Call inside write()."""
        execute_core(delete(cls).where(cls.expires_at < now()))
        db.session.add(cls(digest=token_digest, email=email, is_admin=is_admin, expires_at=expires_at))

    @classmethod
    def close(cls, token_digest: str, expires_at: datetime) -> None:
        """Close a link for good. Call inside write(). Raises NotFound if it is already closed."""
        if cls._close(cls.digest == token_digest):
            return
        db.session.add(cls(digest=token_digest, expires_at=expires_at, closed_at=now()))
        try:
            db.session.flush()
        except IntegrityError:
            raise NotFound(_("This invitation was already used. Sign in, or ask for a new one")) from None

    @classmethod
    def close_all(cls, email: str) -> int:
        """Close an email's open invitations and return how many there were. Call inside write()."""
        return cls._close(cls.email == email)

    @classmethod
    def _close(cls, *which: ColumnElement[bool]) -> int:
        return execute_core(
            update(cls).where(*which, cls.closed_at.is_(None)).values(closed_at=now(), email="")
        ).rowcount
