"""A file becomes an attachment: examined, stored, then its row with the space it takes."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO
from uuid import UUID, uuid4

from gevent.threadpool import ThreadPool
from sqlalchemy.exc import IntegrityError

from chatapp.attachments.examine import Examined, examine
from chatapp.attachments.kinds import clean_name
from chatapp.attachments.models import Attachment
from chatapp.attachments.store import PIECE_BYTES, store
from chatapp.kernel.config import settings
from chatapp.kernel.database import release, retry_write
from chatapp.kernel.errors import ChatNotFound, Unavailable
from chatapp.kernel.extensions import db
from chatapp.kernel.text import N_

logger = logging.getLogger(__name__)

# Uploads that this process receives at once: each has a temporary file.
MOST_OPEN = 32
MOST_OPEN_OF_A_USER = 20
_open: Counter[UUID] = Counter()
_threads = ThreadPool(1)


@contextmanager
def open_slot(user_id: UUID) -> Iterator[None]:
    """Hold a place for an upload. Raises Unavailable if too many are open."""
    if _open.total() >= MOST_OPEN or _open[user_id] >= MOST_OPEN_OF_A_USER:
        raise Unavailable(N_("Too many files are being uploaded. Try again in a moment"))
    _open[user_id] += 1
    try:
        yield
    finally:
        _open[user_id] -= 1
        if not _open[user_id]:
            del _open[user_id]


def add(user_id: UUID, chat_id: UUID, name: str, file: IO[bytes]) -> UUID:
    """Add a file to a user's chat; return the attachment's id. file: a real file of the system, of any content.

    Raises the refusals of refusals.py, ChatNotFound if the chat is gone meanwhile, Unavailable.
    """
    release()
    examined = examine(file)
    attachment_id = uuid4()
    is_own_file = "content" not in examined.parts
    content = file if is_own_file else BytesIO(examined.parts["content"])
    size, digest = _threads.apply(_measure, (content,))
    others = sum(len(part) for name, part in examined.parts.items() if name != "content")
    try:
        _store(user_id, attachment_id, {"content": content} | _others(examined))
        retry_write(
            lambda: _row(user_id, chat_id, attachment_id, name, examined, size, size + others, digest).add(
                settings().attachment_quota_bytes
            )
        )
    except BaseException as error:
        store().delete(user_id, attachment_id)
        if isinstance(error, IntegrityError):
            db.session.rollback()
            raise ChatNotFound() from None
        raise
    return attachment_id


def _row(
    user_id: UUID,
    chat_id: UUID,
    attachment_id: UUID,
    name: str,
    examined: Examined,
    size: int,
    stored_bytes: int,
    digest: str,
) -> Attachment:
    return Attachment(
        id=attachment_id,
        user_id=user_id,
        chat_id=chat_id,
        name=clean_name(name),
        kind=examined.kind,
        media_type=examined.media_type,
        bytes=size,
        stored_bytes=stored_bytes,
        sha256=digest,
        width=examined.width,
        height=examined.height,
        pages=examined.pages,
        characters=examined.characters,
        text_tokens=examined.text_tokens,
        has_thumb="thumb" in examined.parts,
        has_text="text" in examined.parts,
    )


def _others(examined: Examined) -> dict[str, IO[bytes]]:
    return {name: BytesIO(part) for name, part in examined.parts.items() if name != "content"}


def _store(user_id: UUID, attachment_id: UUID, parts: dict[str, IO[bytes]]) -> None:
    try:
        for part, source in parts.items():
            source.seek(0)
            store().put(user_id, attachment_id, part, source)
    except OSError as error:
        logger.error("A file could not be stored: %s", error.strerror)
        raise Unavailable(N_("Files can’t be stored right now. Try again later"), retry_after_seconds=60) from None


def _measure(content: IO[bytes]) -> tuple[int, str]:
    """Return size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    content.seek(0)
    while piece := content.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()
