"""Indexes new texts, and chats that predate the index, in the background and a little at a time.

New texts wait in search_pending, where a search reads them directly, until a user has enough of them for a page.
Every step is one short write, may be interrupted anywhere, and may be tried by two processes at once: one succeeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, Delete, Row, delete, func, insert, or_, select, union_all
from sqlalchemy.exc import IntegrityError

from chatapp.chats.folding import fold
from chatapp.chats.models import Chat, Message, SearchBacklog, SearchPage, SearchPending
from chatapp.chats.search_index import PAGE_READ_CHARS, SEARCHED_CHARS, grams, signature
from chatapp.kernel.breath import give_way
from chatapp.kernel.database import execute_core, release, retry_write
from chatapp.kernel.extensions import db

# A page holds about this many distinct n-grams: about 15,000 characters of English, 3,000 of Chinese.
GRAMS_PER_PAGE = 9000
PAGE_CHARS = 12_000
PAGE_TEXTS = 200
ROWS_AT_ONCE = 200
REMOVED_PAGES = 100


class Indexer:
    """Remembers what this process has looked at, so that an idle process queries little."""

    def __init__(self) -> None:
        self._seen = 0
        self._may_have_backlog = True

    def step(self) -> bool:
        """Do a little work; return whether there may be more to do right away."""
        waiting = self._waiting()
        for user_id in waiting:
            while pack(user_id):
                give_way()
        if self._may_have_backlog and not waiting:
            self._may_have_backlog = expand()
        return bool(waiting) or self._may_have_backlog

    def _waiting(self) -> list[UUID]:
        """Return the users who have written something since the last call."""
        newest = db.session.scalar(select(func.max(SearchPending.id))) or 0
        found = select(SearchPending.user_id).where(SearchPending.id > self._seen, SearchPending.id <= newest)
        people = list(db.session.scalars(found.distinct())) if newest > self._seen else []
        release()
        self._seen = newest
        return people


def pack(user_id: UUID) -> bool:
    """Pack a user's pending texts into a page if there are enough; return whether a page was made."""
    rows: list[Row[Any]] = list(
        db.session.execute(
            select(SearchPending.id, SearchPending.subject_id, SearchPending.chars)
            .where(SearchPending.user_id == user_id)
            .order_by(SearchPending.id)
            .limit(PAGE_TEXTS)
        )
    )
    if sum(row.chars for row in rows) < PAGE_CHARS and len(rows) < PAGE_TEXTS:
        release()
        return False
    rows = _first_of(rows)
    texts = _texts([row.subject_id for row in rows])
    found: set[str] = set()
    taken: dict[int, UUID] = {}
    for row in rows:
        found |= grams(fold(texts.get(row.subject_id) or ""))
        taken[row.id] = row.subject_id
        if len(found) >= GRAMS_PER_PAGE:
            break
    page = {"subjects": b"".join(each.bytes for each in dict.fromkeys(taken.values())), "signature": signature(found)}
    try:
        retry_write(lambda: _save(user_id, list(taken), page))
    except (_TakenError, IntegrityError):
        return False
    return True


def _first_of(rows: list[Row[Any]]) -> list[Row[Any]]:
    """Return the first rows whose texts can be read together; at least one."""
    sizes = accumulate(min(row.chars, SEARCHED_CHARS) for row in rows)
    return [row for row, size in zip(rows, sizes, strict=True) if size <= PAGE_READ_CHARS] or [rows[0]]


def _texts(ids: list[UUID]) -> dict[UUID, str | None]:
    """Return the texts of messages and the titles of chats by id; deleted ones are missing."""
    contents = select(Message.id, func.substr(Message.content, 1, SEARCHED_CHARS)).where(Message.id.in_(ids))
    found = db.session.execute(union_all(contents, select(Chat.id, Chat.title).where(Chat.id.in_(ids)))).all()
    release()
    return {row[0]: row[1] for row in found}


def _save(user_id: UUID, pending: list[int], page: dict[str, bytes]) -> None:
    """Replace the pending rows with a page. Raises _TakenError if another process was first."""
    if _removed(delete(SearchPending).where(SearchPending.id.in_(pending))) != len(pending):
        raise _TakenError
    last = select(func.coalesce(func.max(SearchPage.number), -1)).where(SearchPage.user_id == user_id)
    execute_core(insert(SearchPage), {"user_id": user_id, "number": db.session.scalars(last).one() + 1, **page})


class _TakenError(Exception):
    """Another process has already packed the same texts or removed their owner."""


def expand() -> bool:
    """Queue some messages of the backlog's first chat for indexing; return whether there was one."""
    return retry_write(_expand_oldest)


def _expand_oldest() -> bool:
    chat = db.session.scalar(
        select(SearchBacklog).order_by(SearchBacklog.id).limit(1).with_for_update(skip_locked=True)
    )
    if chat is None:
        return False
    order = (Message.created_at, Message.id)
    found = select(*order, func.length(Message.content).label("chars"))
    found = found.where(Message.chat_id == chat.chat_id, Message.status != "in_progress", ~Message.continues)
    if chat.after_id is not None:
        is_later = Message.created_at > chat.after_at
        found = found.where(or_(is_later, (Message.created_at == chat.after_at) & (Message.id > chat.after_id)))
    rows = db.session.execute(found.order_by(*order).limit(ROWS_AT_ONCE)).all()
    subjects = [(row.id, row.chars) for row in rows]
    if chat.after_id is None:
        title = select(func.length(Chat.title)).where(Chat.id == chat.chat_id)
        subjects.insert(0, (chat.chat_id, db.session.scalar(title) or 0))
    _wait(chat.user_id, subjects)
    if len(rows) < ROWS_AT_ONCE:
        db.session.delete(chat)
    else:
        chat.after_at, chat.after_id = rows[-1].created_at, rows[-1].id
    return True


def _wait(user_id: UUID, subjects: Iterable[tuple[UUID, int]]) -> None:
    execute_core(
        insert(SearchPending),
        [{"user_id": user_id, "subject_id": subject_id, "chars": chars} for subject_id, chars in subjects],
    )


def forget(user_id: UUID) -> None:
    """Remove a user's pages from the index, a few at a time."""
    while retry_write(lambda: _forget_some(user_id)):
        give_way()


def _forget_some(user_id: UUID) -> int:
    mine = SearchPage.user_id == user_id
    some = db.session.scalars(select(SearchPage.number).where(mine).limit(REMOVED_PAGES)).all()
    return _removed(delete(SearchPage).where(mine, SearchPage.number.in_(some)))


def _removed(statement: Delete) -> int:
    result = db.session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount
