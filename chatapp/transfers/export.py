"""Chats as files: JSON with everything, which can be imported again, and Markdown for reading.

The JSON, version 1:

    {"format": "chat-export", "version": 1, "exported_at": instant, "chats": [chat, …]}
    chat = {"id", "title", "model", "system_prompt", "temperature", "thinking_tokens", "persona", "pinned", "archived",
            "created_at", "updated_at", "head_id", "messages": [message, …]}
    message = {"id", "parent_id", "role", "content", "thoughts", "status", "model", "tokens_consumed", "usage",
               "continues", "created_at"}

Messages stand oldest first, those of all branches; parent_id says what a message follows, head_id which branch is
shown. Everything is written piece by piece: a few messages are in memory, no connection is held while a client reads.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any, cast
from urllib.parse import quote
from uuid import UUID

from flask_babel import gettext as _
from sqlalchemy import Row, select

from chatapp.chats.models import Chat, Message
from chatapp.exchanges.models import Exchange
from chatapp.kernel.breath import give_way
from chatapp.kernel.database import now, release
from chatapp.kernel.extensions import db

FORMAT = "chat-export"
VERSION = 1
BATCH = 50
STEPS_UPWARDS = 500
CHAT_FIELDS = (
    "id",
    "title",
    "model",
    "system_prompt",
    "temperature",
    "thinking_tokens",
    "persona",
    "pinned",
    "archived",
    "created_at",
    "updated_at",
    "head_id",
)
MESSAGE_FIELDS = (
    "id",
    "parent_id",
    "role",
    "content",
    "thoughts",
    "status",
    "model",
    "continues",
    "created_at",
)
# Characters that some system rejects in file names, and those that would end the header's line.
NOT_IN_A_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"*/:<>?\\|]+')


def as_json(user_id: UUID, chat_id: UUID | None = None) -> Iterator[str]:
    """Yield a user's chats as one JSON document: all that are not deleted, or one."""
    head = {"format": FORMAT, "version": VERSION, "exported_at": _plain(now())}
    yield json.dumps(head)[:-1] + ', "chats": ['
    for number, chat in enumerate(_chats(user_id, chat_id)):
        yield (",\n" if number else "\n") + json.dumps(_fields(chat), ensure_ascii=False)[:-1] + ', "messages": ['
        for place, message in enumerate(_messages(chat.id)):
            yield (",\n  " if place else "\n  ") + json.dumps(message, ensure_ascii=False)
        yield "]}"
    yield "\n]}\n"


def as_markdown(user_id: UUID, chat_id: UUID) -> Iterator[str]:
    """Yield the shown branch of a chat as Markdown."""
    for chat in _chats(user_id, chat_id):
        yield from _markdown(chat)


def as_zip(user_id: UUID) -> Iterator[bytes]:
    """Yield a ZIP file with one Markdown file for each chat."""
    out = _Pipe()
    names: set[str] = set()
    with zipfile.ZipFile(cast("IO[bytes]", out), "w", zipfile.ZIP_DEFLATED) as archive:
        for chat in _chats(user_id):
            name = file_name(chat.title, chat.created_at, "md")
            if name in names:
                name = name.replace(".md", f" {chat.id.hex[:8]}.md")
            names.add(name)
            with archive.open(name, "w", force_zip64=True) as file:
                for piece in _markdown(chat):
                    file.write(piece.encode())
                    yield out.take()
            yield out.take()
    yield out.take()


def file_name(title: str | None, created_at: datetime, ending: str) -> str:
    """Return a name that every system accepts: the day and the title, without path separators or line ends."""
    words = " ".join(NOT_IN_A_NAME.sub(" ", title or "").split()).strip(". ")[:80].rstrip(". ")
    return f"{created_at:%Y-%m-%d} {words or 'chat'}.{ending}"


def disposition(name: str) -> str:
    """Return the header that names a download: an ASCII name for old programs, and the full one."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


class _Pipe:
    """The target a ZIP file is written to: it keeps only what has not been read yet."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _chats(user_id: UUID, chat_id: UUID | None = None) -> Iterator[Row[Any]]:
    """Yield the chats, oldest first, a few at a time."""
    columns = [getattr(Chat, name) for name in CHAT_FIELDS]
    wanted = select(*columns).where(Chat.user_id == user_id, Chat.deleted_at.is_(None))
    if chat_id is not None:
        wanted = wanted.where(Chat.id == chat_id)
    yield from _in_batches(wanted, Chat)


def _messages(chat_id: UUID) -> Iterator[dict[str, Any]]:
    columns = [getattr(Message, name) for name in MESSAGE_FIELDS]
    wanted = select(Exchange, *columns).join(Exchange, Exchange.id == Message.exchange_id, isouter=True)
    for row in _in_batches(wanted.where(Message.chat_id == chat_id), Message):
        values, exchange = _fields(row), row.Exchange
        del values["Exchange"]
        yield values | {
            "tokens_consumed": exchange.charged_tokens if exchange else 0,
            "usage": exchange.usage if exchange else None,
        }


def _in_batches(wanted: Any, table: Any) -> Iterator[Row[Any]]:
    """Yield rows, oldest first. Yields to others before each batch; an index finds where it begins."""
    wanted = wanted.order_by(table.created_at, table.id).limit(BATCH)
    after, size = wanted, BATCH
    while size == BATCH:
        give_way()
        rows = list(db.session.execute(after))
        release()
        yield from rows
        if size := len(rows):
            last = db.literal(rows[-1].created_at), db.literal(rows[-1].id)
            after = wanted.where(db.tuple_(table.created_at, table.id) > db.tuple_(*last))


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in row._mapping.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _markdown(chat: Row[Any]) -> Iterator[str]:
    yield f"# {' '.join((chat.title or _('New chat')).split())}\n"
    if chat.system_prompt:
        yield "\n## " + _("Instructions for the model") + f"\n\n{chat.system_prompt}\n"
    line_end, goes_on = "", False
    columns = Message.id, Message.role, Message.content, Message.continues, Message.model, Message.created_at
    for ids in _branch_in_batches(chat.head_id):
        rows = {row.id: row for row in db.session.execute(select(*columns).where(Message.id.in_(ids)))}
        release()
        for row in (rows[id] for id in ids if id in rows):
            # A request to continue isn't the user's words, and the rest belongs to the answer.
            if not row.continues and not goes_on:
                speaker = _("You") if row.role == "user" else row.model or _("Answer")
                yield f"{line_end}\n## {speaker} · {row.created_at:%Y-%m-%d %H:%M} UTC\n\n"
            if not row.continues:
                yield row.content
            line_end, goes_on = "\n", row.continues
    yield line_end


def _branch_in_batches(head_id: UUID | None) -> Iterator[list[UUID]]:
    """Yield the ids of a branch, oldest first, a few at a time."""
    steps: list[list[UUID]] = []
    below = head_id
    while below is not None:
        give_way()
        rows = db.session.execute(_upwards(below)).all()
        release()
        steps.append([row.id for row in reversed(rows)])
        below = rows[-1].parent_id if rows else None
    for ids in reversed(steps):
        for start in range(0, len(ids), BATCH):
            give_way()
            yield ids[start : start + BATCH]


def _upwards(message_id: UUID) -> Any:
    """Select a message and its ancestors, nearest first; few enough not to block the loop."""
    start = select(Message.id, Message.parent_id, db.literal(1).label("distance")).where(Message.id == message_id)
    line = start.cte("line", recursive=True)
    parent = db.aliased(Message)
    above = select(parent.id, parent.parent_id, line.c.distance + 1)
    line = line.union_all(above.where(parent.id == line.c.parent_id, line.c.distance < STEPS_UPWARDS))
    return select(line.c.id, line.c.parent_id).order_by(line.c.distance)
