"""The only place where accounts are created."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

from flask_babel import gettext as _
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from chatapp.auth.models import Link, User, canonical_email
from chatapp.kernel.database import is_sqlite, write
from chatapp.kernel.errors import InvalidRequest, NotFound
from chatapp.kernel.extensions import db

EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
EMAIL_CHARS = 254

# Called with (user id, limit or None) in the transaction that creates an account. This lets the budget package open
# the user's budget without auth depending on it.
on_created: list[Callable[[UUID, int | None], None]] = []


class EmailTaken(InvalidRequest):
    default_message = "An account with this email already exists"


def clean_email(text: str) -> str:
    """Return an email as stored: NFC-composed, lower case. Raises InvalidRequest.

    It only identifies a user and nothing is sent to it, so any domain is fine, including internal ones.
    """
    email = canonical_email(text)
    if not EMAIL.fullmatch(email) or not email.isprintable() or len(email) > EMAIL_CHARS:
        raise InvalidRequest(_("Enter a valid email address"))
    return email


def create(
    email: str, password_hash: str, *, is_admin: bool = False, limit: int | None = None, timezone: str = "UTC"
) -> User:
    """Create an account and everything that belongs to it. Call inside write(). Raises InvalidRequest, EmailTaken.

    limit: tokens; None means the default. timezone: an IANA name.
    """
    user = User(email=clean_email(email), password_hash=password_hash, is_admin=is_admin, timezone=timezone)
    if User.by_email(user.email):
        raise EmailTaken(_("An account with this email already exists"))
    db.session.add(user)
    try:
        db.session.flush()
    except IntegrityError:
        raise EmailTaken(_("An account with this email already exists")) from None
    # Close its other invitations too: none may recreate the account after it is deleted.
    Link.close_all(user.email)
    # Call each hook once, even if this process created several applications.
    for opened in dict.fromkeys(on_created):
        opened(user.id, limit)
    return user


def create_first(email: str, password_hash: str, timezone: str = "UTC") -> User:
    """Create the administrator if there are no accounts. Otherwise raises NotFound; concurrent calls are safe."""
    with write() as session:
        if not is_sqlite():
            session.execute(text("LOCK TABLE users IN EXCLUSIVE MODE"))
        if exist():
            raise NotFound(_("This site is already set up. Sign in"))
        return create(email, password_hash, is_admin=True, timezone=timezone)


def exist() -> bool:
    return db.session.scalar(select(User.id).limit(1)) is not None
