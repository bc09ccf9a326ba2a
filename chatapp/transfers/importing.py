"""Importing a file's chats: check the whole file → write them hidden, a few rows at a time → show them at once.

A chat that is being written carries the mark of a deleted one. If the process dies in between, housekeeping removes
what it wrote; nothing half-imported is ever seen. Ids are made from the user's and the file's: the same file finds
its chats there and leaves them as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from flask_babel import gettext as _
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from chatapp.chats.models import Chat, Message
from chatapp.kernel.breath import give_way
from chatapp.kernel.config import settings
from chatapp.kernel.database import now, retry_write, write
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.extensions import db
from chatapp.personas.models import NAME_CHARS
from chatapp.providers.registry import providers
from chatapp.transfers import reading
from chatapp.transfers.bounds import Intake, InvalidFile
from chatapp.transfers.content import ReadChat, ReadMessage
from chatapp.transfers.unpacking import Text

# How much is written at once: holds SQLite's lock and blocks the loop for about ten milliseconds.
ROWS_AT_ONCE = 50
CHARS_AT_ONCE = 100_000
SHOWN_AT_ONCE = 500

logger = logging.getLogger(__name__)
_importing: set[UUID] = set()


@dataclass(frozen=True, slots=True)
class Imported:
    """What was imported; intake says what could not be."""

    intake: Intake
    chats: int = 0
    messages: int = 0
    known: int = 0
    """Chats that already existed."""


def import_texts(user_id: UUID, texts: list[Text], intake: Intake) -> Imported:
    """Import the readable chats of a file. Raises InvalidFile, naming what is wrong, if there are none."""
    if user_id in _importing:
        raise InvalidRequest(_("Another import is still running"), status=409)
    _importing.add(user_id)
    try:
        _check(texts, intake)
        return _take_in(user_id, texts, intake)
    except IntegrityError:
        raise InvalidRequest(_("Another import is still running"), status=409) from None
    finally:
        _importing.discard(user_id)


def _check(texts: list[Text], intake: Intake) -> None:
    """Read the whole file once and count in intake what cannot be kept. Raises InvalidFile if nothing can."""
    count = sum(1 for _chat in _chats(texts, intake))
    if intake.left_out:
        logger.warning(
            "An imported file holds kinds of content that are not known", extra={"kinds": dict(intake.left_out)}
        )
    if not count and intake.unreadable:
        raise InvalidFile(_("No chat could be read: %(reasons)s", reasons="; ".join(intake.reasons)))
    if not count:
        raise InvalidFile(_("The file holds no chat with a message"))


def _chats(texts: list[Text], intake: Intake) -> Iterator[ReadChat]:
    for chat in reading.chats(texts, intake):
        intake.breathe()
        try:
            _check_fit(chat)
        except InvalidFile as error:
            intake.leave_out(error)
            continue
        yield chat


def _check_fit(chat: ReadChat) -> None:
    """Raise InvalidFile for anything longer than this site allows."""
    limit = settings().system_prompt_chars
    if len(chat.system_prompt) > limit:
        title = chat.title or chat.key[:40]
        raise InvalidFile(_("%(title)s: system_prompt is longer than %(limit)s characters", title=title, limit=limit))


def _take_in(user_id: UUID, texts: list[Text], intake: Intake) -> Imported:
    written: dict[UUID, None] = {}
    messages = known = 0
    # Don't count everything twice.
    again = Intake(intake.bounds, intake.now)
    for chat in _chats(texts, again):
        give_way()
        chat_id = _id(user_id, f"chat {chat.key}")
        if chat_id in written or _is_there(user_id, chat.key, chat_id):
            known += 1
            continue
        _write(chat, user_id, chat_id, again.now)
        written[chat_id] = None
        messages += len(chat.messages)
    _show(user_id, list(written))
    return Imported(intake, len(written), messages, known)


def add(user_id: UUID, chat: ReadChat) -> UUID:
    """Import one chat that is known to be valid; return its id."""
    chat_id = _id(user_id, f"chat {chat.key}")
    _write(chat, user_id, chat_id, now())
    _show(user_id, [chat_id])
    return chat_id


def _is_there(user_id: UUID, key: str, chat_id: UUID) -> bool:
    """Return whether the user already has the chat: the one it was exported from, or an earlier import."""
    ids = [chat_id]
    try:
        ids.append(UUID(key))
    except ValueError:
        pass
    mine = select(Chat.id).where(Chat.id.in_(ids), Chat.user_id == user_id, Chat.deleted_at.is_(None))
    found = db.session.scalar(mine) is not None
    db.session.rollback()
    return found


def _write(chat: ReadChat, user_id: UUID, chat_id: UUID, instant: datetime) -> None:
    """Write a chat, hidden. Replaces one that was deleted or left behind by an interrupted import."""
    _remove(chat_id)
    with write() as session:
        session.execute(insert(Chat), [_values(chat, user_id, chat_id, instant)])
    for messages in _batches(chat.messages):
        rows = [_message_values(message, chat_id) for message in messages]
        with write() as session:
            session.execute(insert(Message), rows)
        give_way()


def _remove(chat_id: UUID) -> None:
    while retry_write(lambda: _remove_some(chat_id)):
        give_way()
    retry_write(lambda: db.session.execute(delete(Chat).where(Chat.id == chat_id)))


def _remove_some(chat_id: UUID) -> int:
    """Remove some messages; return how many. Unlinks their replies first: databases limit the depth of a cascade."""
    ids = list(db.session.scalars(select(Message.id).where(Message.chat_id == chat_id).limit(ROWS_AT_ONCE)))
    if ids:
        db.session.execute(update(Message).where(Message.parent_id.in_(ids)).values(parent_id=None))
        db.session.execute(delete(Message).where(Message.id.in_(ids)))
    return len(ids)


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
    """Show what was written. If the process dies meanwhile, importing the same file again completes it."""
    for start in range(0, len(chat_ids), SHOWN_AT_ONCE):
        some = Chat.id.in_(chat_ids[start : start + SHOWN_AT_ONCE])
        shown = update(Chat).where(some, Chat.user_id == user_id).values(deleted_at=None)
        retry_write(lambda shown=shown: db.session.execute(shown))  # type: ignore[misc]
        give_way()


def _values(chat: ReadChat, user_id: UUID, chat_id: UUID, instant: datetime) -> dict[str, Any]:
    """Return a chat's columns."""
    title = " ".join((chat.title or "").split())
    return {
        "id": chat_id,
        "user_id": user_id,
        "title": title[: settings().title_chars] or None,
        "model": providers().offered(chat.model),
        "system_prompt": chat.system_prompt,
        "temperature": chat.temperature,
        "thinking_tokens": chat.thinking_tokens,
        "persona": chat.persona[:NAME_CHARS] if chat.persona else None,
        "pinned": chat.pinned,
        "archived": chat.archived,
        "head_id": _message_id(chat_id, chat.head_key),
        "created_at": chat.created_at,
        "updated_at": min(chat.updated_at, instant),
        "deleted_at": instant,
    }


def _message_values(message: ReadMessage, chat_id: UUID) -> dict[str, Any]:
    """Return a message's columns. It cost nothing here, so it has no exchange."""
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
        "created_at": message.created_at,
    }


def _message_id(chat_id: UUID, key: str | None) -> UUID | None:
    return None if key is None else _id(chat_id, key)


def _id(of: UUID, key: str) -> UUID:
    """Derive an id from another id and a key in the file, which may contain a lone surrogate."""
    return uuid5(of, key.encode("utf-8", "backslashreplace").decode())
