"""Taking a file's chats in: check the whole file → write it hidden, a few rows at a time → show it all at once.

A chat that is being written carries the mark of a deleted one. If the process dies in between, housekeeping removes
what it wrote; nothing half-imported is ever seen. Ids are made from the user's and the file's: the same file finds
its chats there and leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import gevent
from flask_babel import gettext as _
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from chatapp.chats.models import Chat, Message
from chatapp.database import now, retry_write, write
from chatapp.errors import InvalidRequest
from chatapp.extensions import db
from chatapp.services import services, settings
from chatapp.transfers import reading
from chatapp.transfers.content import InvalidFile, ReadChat, ReadMessage

# What is written at once: SQLite's lock is held, and the loop waits, for some ten milliseconds.
ROWS_AT_ONCE = 50
CHARS_AT_ONCE = 100_000
MAX_CHATS = 20_000

_importing: set[UUID] = set()


@dataclass(frozen=True, slots=True)
class Imported:
    chats: int = 0
    messages: int = 0
    known: int = 0
    """Chats that were there already."""


def import_text(user_id: UUID, text: str) -> Imported:
    """Take the chats of a file in. Raises InvalidFile, naming what is wrong and where; then nothing was."""
    if user_id in _importing:
        raise InvalidRequest(_("Another file is still being imported"), status=409)
    _importing.add(user_id)
    try:
        _check(text)
        return _take_in(user_id, text)
    except IntegrityError:
        raise InvalidRequest(_("Another file is still being imported"), status=409) from None
    finally:
        _importing.discard(user_id)


def _check(text: str) -> None:
    """Read the file once to its end. Raises InvalidFile."""
    count = 0
    for chat in reading.chats(text):
        gevent.sleep(0)
        count += 1
        _values(chat, UUID(int=0), UUID(int=0), now())
        if count > MAX_CHATS:
            raise InvalidFile(_("The file holds more than %(limit)s chats", limit=MAX_CHATS))
    if not count:
        raise InvalidFile(_("The file holds no chat with a message"))


def _take_in(user_id: UUID, text: str) -> Imported:
    written: list[UUID] = []
    messages = known = 0
    for chat in reading.chats(text):
        gevent.sleep(0)
        chat_id = uuid5(user_id, f"chat {chat.key}")
        if chat_id in written or _is_there(user_id, chat.key, chat_id):
            known += 1
            continue
        _write(chat, user_id, chat_id)
        written.append(chat_id)
        messages += len(chat.messages)
    retry_write(lambda: _show(user_id, written))
    return Imported(len(written), messages, known)


def _is_there(user_id: UUID, key: str, chat_id: UUID) -> bool:
    """Say whether the user has the chat, as what it was exported from or as what was imported before."""
    ids = [chat_id]
    try:
        ids.append(UUID(key))
    except ValueError:
        pass
    mine = select(Chat.id).where(Chat.id.in_(ids), Chat.user_id == user_id, Chat.deleted_at.is_(None))
    found = db.session.scalar(mine) is not None
    db.session.rollback()
    return found


def _write(chat: ReadChat, user_id: UUID, chat_id: UUID) -> None:
    """Write a chat, hidden. One that was deleted, or left behind by an import that broke off, makes room."""
    values = _values(chat, user_id, chat_id, now())
    retry_write(lambda: _remove(chat_id))
    with write() as session:
        session.execute(insert(Chat), [values])
    for messages in _batches(chat.messages):
        rows = [_message_values(message, chat_id) for message in messages]
        with write() as session:
            session.execute(insert(Message), rows)
        gevent.sleep(0)


def _remove(chat_id: UUID) -> None:
    db.session.execute(update(Message).where(Message.chat_id == chat_id).values(parent_id=None))
    db.session.execute(delete(Chat).where(Chat.id == chat_id))


def _batches(messages: list[ReadMessage]) -> Iterator[list[ReadMessage]]:
    batch: list[ReadMessage] = []
    chars = 0
    for message in messages:
        size = len(message.content) + len(message.thoughts)
        if batch and (len(batch) == ROWS_AT_ONCE or chars + size > CHARS_AT_ONCE):
            yield batch
            batch, chars = [], 0
        batch.append(message)
        chars += size
    if batch:
        yield batch


def _show(user_id: UUID, chat_ids: list[UUID]) -> None:
    for start in range(0, len(chat_ids), 500):
        some = Chat.id.in_(chat_ids[start : start + 500])
        db.session.execute(update(Chat).where(some, Chat.user_id == user_id).values(deleted_at=None))


def _values(chat: ReadChat, user_id: UUID, chat_id: UUID, instant: datetime) -> dict[str, Any]:
    """Return a chat's columns. Raises InvalidFile for what is longer than it may be here."""
    if len(chat.system_prompt) > settings().system_prompt_chars:
        raise InvalidFile(
            _(
                "%(title)s: system_prompt is longer than %(limit)s characters",
                title=chat.title or chat.key[:40],
                limit=settings().system_prompt_chars,
            )
        )
    title = " ".join((chat.title or "").split())
    return {
        "id": chat_id,
        "user_id": user_id,
        "title": title[: settings().title_chars] or None,
        "model": services().providers.offered(chat.model),
        "system_prompt": chat.system_prompt,
        "temperature": chat.temperature,
        "thinking_tokens": chat.thinking_tokens,
        "pinned": chat.pinned,
        "archived": chat.archived,
        "head_id": _message_id(chat_id, chat.head_key),
        "created_at": chat.created_at,
        "updated_at": min(chat.updated_at, instant),
        "deleted_at": instant,
    }


def _message_values(message: ReadMessage, chat_id: UUID) -> dict[str, Any]:
    """Return a message's columns. What was said elsewhere cost nothing here: it has no usage."""
    return {
        "id": _message_id(chat_id, message.key),
        "chat_id": chat_id,
        "parent_id": _message_id(chat_id, message.parent_key),
        "role": message.role,
        "content": message.content,
        "thoughts": message.thoughts,
        "status": message.status,
        "model": message.model[:100] if message.model else None,
        "continues": message.continues,
        "tokens_consumed": 0,
        "usage": None,
        "created_at": message.created_at,
    }


def _message_id(chat_id: UUID, key: str | None) -> UUID | None:
    return None if key is None else uuid5(chat_id, key)
