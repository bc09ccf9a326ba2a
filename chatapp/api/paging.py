"""Pagination. A cursor points at the last chat of the previous page, so new chats don't shift the pages."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from uuid import UUID

from flask_babel import gettext as _
from sqlalchemy import select, tuple_

from chatapp.chats.models import Chat
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.extensions import db


def page(user_id: UUID, limit: int, cursor: str | None) -> tuple[list[Chat], str | None]:
    """Return up to `limit` of a user's chats, most recently used first, and the next page's cursor or None."""
    wanted = select(Chat).where(Chat.user_id == user_id, Chat.deleted_at.is_(None))
    if cursor is not None:
        wanted = wanted.where(tuple_(Chat.updated_at, Chat.id) < tuple_(*map(db.literal, _read(cursor))))
    found = list(db.session.scalars(wanted.order_by(Chat.updated_at.desc(), Chat.id.desc()).limit(limit + 1)))
    return found[:limit], _write(found[limit - 1]) if len(found) > limit else None


def _write(chat: Chat) -> str:
    return base64.urlsafe_b64encode(f"{chat.updated_at.isoformat()} {chat.id}".encode()).decode()


def _read(cursor: str) -> tuple[datetime, UUID]:
    try:
        updated_at, _space, chat_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        return datetime.fromisoformat(updated_at), UUID(chat_id)
    except (ValueError, binascii.Error):
        raise InvalidRequest(_("cursor is not valid for this list")) from None
