"""Deleting an account: disable it at once, stop its answers, remove its rows a few at a time, then the user.

Nothing of a deleted person remains; the entries of the ledger go with them. A turn that is being answered finds its
rows gone and ends (see settle.py). What a process that dies in between leaves, chats/housekeeping.py removes.
"""

from __future__ import annotations

from uuid import UUID

from flask_babel import gettext as _
from sqlalchemy import select, update

from chatapp.auth.models import LoginSession, User
from chatapp.chats import housekeeping
from chatapp.chats.models import Chat
from chatapp.kernel.database import now, release, write
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.extensions import db
from chatapp.turns import lifecycle
from chatapp.turns.models import Turn


def delete_user(user_id: UUID, password_hash: str) -> None:
    """Remove a user and all their data. Raises Forbidden for the last administrator if there are other users."""
    with write() as session:
        user = session.get(User, user_id)
        if user is None or user.password_hash != password_hash:
            raise InvalidRequest(_("The password was changed elsewhere. Try again"))
        _keep_an_administrator(user)
        user.is_enabled, user.deleted_at = False, now()
        LoginSession.end_all(user_id)
        session.execute(update(Chat).where(Chat.user_id == user_id).values(deleted_at=now()))
    for turn_id in _open_turns(user_id):
        lifecycle.stop(turn_id)
    housekeeping.remove_user(user_id)


def _keep_an_administrator(user: User) -> None:
    others = select(User.id).where(User.id != user.id, User.deleted_at.is_(None)).limit(1)
    if db.session.scalar(others) is not None:
        user.leave_an_administrator()


def _open_turns(user_id: UUID) -> list[UUID]:
    found = list(db.session.scalars(select(Turn.id).where(Turn.user_id == user_id, Turn.is_open)))
    release()
    return found
