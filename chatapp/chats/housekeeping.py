"""Removes deleted chats and deleted accounts in the background, a few rows at a time."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, update

from chatapp.attachments import removing
from chatapp.attachments.models import Attachment
from chatapp.auth.models import User
from chatapp.chats import indexing
from chatapp.chats.models import Chat, Message
from chatapp.kernel.breath import give_way
from chatapp.kernel.database import database_now, release, retry_write
from chatapp.kernel.extensions import db

PURGE_AFTER = timedelta(hours=1)
PURGED_AT_ONCE = 50
# Long enough for a live process to finish on its own. Two processes may do it at once.
FINISH_AFTER = timedelta(minutes=5)
ROWS_AT_ONCE = 200


def purge_deleted_chats() -> int:
    """Remove chats that were deleted long enough ago, a few at a time; return how many. Their ledger entries stay.
    A chat with an answer in progress waits until it ends."""
    answering = select(Message.id).where(Message.chat_id == Chat.id, Message.status == "in_progress").exists()
    found = select(Chat.id).where(Chat.deleted_at < database_now() - PURGE_AFTER, ~answering).limit(PURGED_AT_ONCE)
    ids = list(db.session.scalars(found))
    release()
    for chat_id in ids:
        _remove_messages(Message.chat_id == chat_id)
        removing.remove(Attachment.chat_id == chat_id)
        retry_write(partial(db.session.execute, delete(Chat).where(Chat.id == chat_id)))
    return len(ids)


def finish_deletions() -> int:
    """Remove users whose deletion was cut off when its process died; return how many."""
    ids = list(db.session.scalars(select(User.id).where(User.deleted_at < database_now() - FINISH_AFTER)))
    release()
    for user_id in ids:
        remove_user(user_id)
    return len(ids)


def remove_user(user_id: UUID) -> None:
    """Remove a user's messages and search index first, then the user; the chats go with the user."""
    _remove_messages(Message.chat_id.in_(select(Chat.id).where(Chat.user_id == user_id)))
    indexing.forget(user_id)
    retry_write(lambda: db.session.execute(delete(User).where(User.id == user_id)))
    removing.remove_bytes_of(user_id)


def _remove_messages(which: ColumnElement[bool]) -> None:
    """Remove messages a few at a time: one cascade would hold the lock for seconds."""
    while retry_write(lambda: _remove_some(which)):
        give_way()


def _remove_some(which: ColumnElement[bool]) -> int:
    """Remove some messages; return how many. Unlinks their replies first: databases limit the depth of a cascade."""
    ids = list(db.session.scalars(select(Message.id).where(which).limit(ROWS_AT_ONCE)))
    if ids:
        db.session.execute(update(Message).where(Message.parent_id.in_(ids)).values(parent_id=None))
        db.session.execute(delete(Message).where(Message.id.in_(ids)))
    return len(ids)
