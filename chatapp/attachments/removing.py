"""Removes attachments: rows first, bytes a day later. What a killed process left behind is found and removed too."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, update

from chatapp.attachments.models import Attachment, RemovedAttachment
from chatapp.attachments.store import store
from chatapp.auth.models import User
from chatapp.kernel.breath import give_way
from chatapp.kernel.database import execute_core, now, release, retry_write
from chatapp.kernel.extensions import db

KEEP = timedelta(days=1)
AT_ONCE = 50
# Every folder is looked at, so not often.
ORPHANS_SECONDS = 3600.0


def remove(which: ColumnElement[bool]) -> int:
    """Remove the rows of some attachments and give their space back; return how many. Their bytes go a day later."""
    removed = 0
    while found := retry_write(lambda: _remove_some(which)):
        removed += found
        give_way()
    return removed


def _remove_some(which: ColumnElement[bool]) -> int:
    rows = db.session.execute(
        select(Attachment.id, Attachment.user_id, Attachment.stored_bytes).where(which).limit(AT_ONCE)
    ).all()
    removed = 0
    for row in rows:
        # Of two that remove it at once, one gives the space back.
        if execute_core(delete(Attachment).where(Attachment.id == row.id)).rowcount != 1:
            continue
        removed += 1
        left = User.attachment_bytes - row.stored_bytes
        execute_core(update(User).where(User.id == row.user_id).values(attachment_bytes=left))
        db.session.add(RemovedAttachment(attachment_id=row.id, user_id=row.user_id))
    return removed


def remove_bytes_of(user_id: UUID) -> None:
    """Remove all bytes of a user who is gone, at once."""
    store().delete_user(user_id)
    retry_write(lambda: db.session.execute(delete(RemovedAttachment).where(RemovedAttachment.user_id == user_id)))


class Sweeper:
    """What is done now and then: unsent attachments go after a day, then bytes that are due, then orphans."""

    def __init__(self) -> None:
        self._orphans_at = 0.0

    def step(self) -> None:
        remove(Attachment.created_at < now() - KEEP)
        _remove_due_bytes()
        if time.monotonic() >= self._orphans_at:
            self._orphans_at = time.monotonic() + ORPHANS_SECONDS
            remove_orphans()


def _remove_due_bytes() -> None:
    is_due = RemovedAttachment.removed_at < now() - KEEP
    found = select(RemovedAttachment.user_id, RemovedAttachment.attachment_id).where(is_due).limit(AT_ONCE)
    while rows := db.session.execute(found).all():
        release()
        for row in rows:
            store().delete(row.user_id, row.attachment_id)
            give_way()
        ids = [row.attachment_id for row in rows]
        gone = delete(RemovedAttachment).where(RemovedAttachment.attachment_id.in_(ids))
        retry_write(lambda gone=gone: db.session.execute(gone))  # type: ignore[misc]


def remove_orphans() -> None:
    """Remove bytes without a row that are older than a day: a process died between writing them and the row."""
    stored = store().older_than(KEEP.total_seconds())
    while batch := list(islice(stored, AT_ONCE)):
        known = _known(attachment_id for _user_id, attachment_id in batch)
        for user_id, attachment_id in batch:
            if attachment_id not in known:
                store().delete(user_id, attachment_id)
            give_way()


def _known(ids: Iterable[UUID]) -> set[UUID]:
    wanted = list(ids)
    found = set(db.session.scalars(select(Attachment.id).where(Attachment.id.in_(wanted))))
    waiting = select(RemovedAttachment.attachment_id).where(RemovedAttachment.attachment_id.in_(wanted))
    found |= set(db.session.scalars(waiting))
    release()
    return found
