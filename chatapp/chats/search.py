"""Searches a user's own chats: their titles and messages, including versions that are not shown.

query → its words, folded like the texts (folding.py) → texts that are not indexed yet, then the pages that may hold
all the words (search_index.py), newest first → each text is folded and searched for the words. A search reads a
limited number of texts and characters, and yields to other greenlets in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from uuid import UUID

from markupsafe import Markup
from sqlalchemy import Row, Select, literal, literal_column, null, select, union_all
from sqlalchemy.orm import aliased

from chatapp.auth.models import User
from chatapp.chats.folding import fold
from chatapp.chats.marking import Parts, excerpt, marked, marked_html
from chatapp.chats.models import Chat, Message, SearchBacklog, SearchPage, SearchPending
from chatapp.chats.search_index import PAGE_READ_CHARS, SEARCHED_CHARS, pages_with
from chatapp.kernel.breath import Breath, give_way
from chatapp.kernel.extensions import db

MAX_TERMS = 8
MAX_QUERY_CHARS = 200
FOUND_CHATS = 30
# A common word occurs in thousands of messages; nobody reads further than this.
FOUND_TEXTS = 200
SNIPPETS_PER_CHAT = 3
# The most one search reads. Half of it is kept for indexed texts.
LOOKED_AT_CHARS = 2_000_000
PENDING_TEXTS = 2000
BACKLOG_CHATS = 20
BACKLOG_TEXTS = 50
READ_TEXTS = 200
READ_CHARS = 400_000
LEVELS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Snippet:
    """A match in a message: parts of its text, each with a flag for a hit. is_shown: it is on the shown branch."""

    message_id: UUID
    role: str
    parts: Parts
    is_shown: bool

    @property
    def html(self) -> Markup:
        return marked_html(self.parts)

    @property
    def text(self) -> str:
        return "".join(part for part, _is_hit in self.parts)


@dataclass(slots=True)
class Hit:
    """A chat with matches."""

    chat: Chat
    terms: tuple[str, ...]
    snippets: list[Snippet] = field(default_factory=list)

    @property
    def title_html(self) -> Markup:
        return marked_html(marked(self.chat.title or "", self.terms))


@dataclass(frozen=True, slots=True)
class Found:
    """The results of a search. is_whole: everything was searched; otherwise older messages may have more."""

    hits: list[Hit]
    is_whole: bool = True


def search(user: User, query: str, *, limit: int = FOUND_CHATS) -> Found:
    """Find up to `limit` of the user's chats with all of the query's words in the title or in one message.

    Any text is a valid query. Archived chats are included, deleted ones never.
    """
    terms = terms_of(query)
    if not terms:
        return Found([])
    looking = _Looking(user.id, terms)
    return Found(_grouped(looking.rows(), terms, limit), looking.is_whole)


def terms_of(query: str) -> tuple[str, ...]:
    """Return the folded words of a query, without duplicates."""
    words = fold(query.replace("\0", " ")[:MAX_QUERY_CHARS]).split()
    return tuple(dict.fromkeys(words))[:MAX_TERMS]


class _Looking:
    """One search and how much more it may read."""

    def __init__(self, user_id: UUID, terms: tuple[str, ...]) -> None:
        self._user_id = user_id
        self._terms = terms
        self._chars = LOOKED_AT_CHARS
        self._known: set[UUID] = set()
        self._breath = Breath()
        self.is_whole = True

    def rows(self) -> list[Row[Any]]:
        """Return (subject_id, chat_id, role, text) of titles and messages that contain all the words, newest first."""
        found: list[Row[Any]] = []
        for ids in self._places():
            if self._chars <= 0:
                self.is_whole = False
                break
            found += self._holding(ids)
            if len(found) >= FOUND_TEXTS:
                break
        return found[:FOUND_TEXTS]

    def _places(self) -> Iterator[list[UUID]]:
        waiting, chats, last_page = _state(self._user_id)
        self.is_whole = len(waiting) < PENDING_TEXTS and len(chats) <= BACKLOG_CHATS
        for ids in chain(_lots(waiting), self._backlog(chats[:BACKLOG_CHATS])):
            if self._chars <= LOOKED_AT_CHARS // 2:
                self.is_whole = False
                break
            yield ids
        pages = pages_with(self._user_id, last_page, self._terms)
        yield from _lots((each, _share(page)) for page in pages for each in page)

    def _backlog(self, chat_ids: list[UUID]) -> Iterator[list[UUID]]:
        """Yield the newest of the user's texts that predate the index."""
        for chat_id in chat_ids:
            said = select(Message.id, db.func.length(Message.content)).where(Message.chat_id == chat_id)
            newest = said.order_by(Message.created_at.desc(), Message.id.desc()).limit(BACKLOG_TEXTS)
            rows = db.session.execute(newest).all()
            self.is_whole &= len(rows) < BACKLOG_TEXTS
            yield from _lots([(chat_id, 0), *((row[0], row[1]) for row in rows)])

    def _holding(self, ids: list[UUID]) -> Iterator[Row[Any]]:
        new = [each for each in dict.fromkeys(ids) if each not in self._known]
        self._known.update(new)
        of_subject = {row.subject_id: row for row in db.session.execute(_texts(self._user_id, new))}
        for row in (of_subject[each] for each in new if each in of_subject):
            self._chars -= len(row.text or "")
            folded = fold(row.text or "")
            self._breath()
            if all(term in folded for term in self._terms):
                yield row
        give_way()


def _state(user_id: UUID) -> tuple[list[tuple[UUID, int]], list[UUID], int]:
    """Return the user's pending texts with their lengths, and the chats that predate the index, both newest first; and
    the number of the last page, -1 if there is none."""
    mine = SearchPending.user_id == user_id
    waits = _row(0, SearchPending.subject_id, SearchPending.chars, SearchPending.id).where(mine)
    waits = waits.order_by(SearchPending.id.desc()).limit(PENDING_TEXTS)
    mine = SearchBacklog.user_id == user_id
    chats = _row(1, SearchBacklog.chat_id, literal(0), SearchBacklog.id).where(mine)
    chats = chats.order_by(SearchBacklog.id.desc()).limit(BACKLOG_CHATS + 1)
    last = _row(2, null(), db.func.max(SearchPage.number), literal(0)).where(SearchPage.user_id == user_id)
    parts = (waits.subquery().select(), chats.subquery().select(), last)
    rows = sorted(db.session.execute(union_all(*parts)).all(), key=lambda row: (row[0], -row[3]))
    waiting = [(row[1], row[2]) for row in rows if row[0] == 0]
    return waiting, [row[1] for row in rows if row[0] == 1], -1 if rows[-1][2] is None else rows[-1][2]


def _row(kind: int, subject: Any, size: Any, order: Any) -> Select[Any]:
    names = ("kind", "subject", "size", "number")
    values: tuple[Any, ...] = (literal_column(str(kind)), subject, size, order)
    return select(*(value.label(name) for name, value in zip(names, values, strict=True)))


def _share(page: list[UUID]) -> int:
    """Return how many characters to assume for each text of a page; only the sole text of a page may be very long."""
    return SEARCHED_CHARS if len(page) == 1 else PAGE_READ_CHARS // len(page)


def _lots(sized: Iterable[tuple[UUID, int]]) -> Iterator[list[UUID]]:
    """Group text ids with their lengths into batches that can be read at once."""
    lot: list[UUID] = []
    chars = 0
    for each, length in sized:
        size = min(length, SEARCHED_CHARS)
        if lot and (len(lot) == READ_TEXTS or chars + size > READ_CHARS):
            yield lot
            lot, chars = [], 0
        lot.append(each)
        chars += size
    if lot:
        yield lot


def _texts(user_id: UUID, ids: list[UUID]) -> Any:
    mine = (Chat.user_id == user_id, Chat.deleted_at.is_(None))
    title = select(
        Chat.id.label("subject_id"), Chat.id.label("chat_id"), literal(None).label("role"), Chat.title.label("text")
    )
    said = select(Message.id, Message.chat_id, Message.role, db.func.substr(Message.content, 1, SEARCHED_CHARS)).join(
        Chat, Chat.id == Message.chat_id
    )
    has_ended = (Message.status != "in_progress", ~Message.continues)
    return union_all(title.where(Chat.id.in_(ids), *mine), said.where(Message.id.in_(ids), *mine, *has_ended))


def _grouped(rows: list[Row[Any]], terms: tuple[str, ...], limit: int) -> list[Hit]:
    ids = {row.chat_id for row in rows}
    if not ids:
        return []
    newest = select(Chat).where(Chat.id.in_(ids)).order_by(Chat.updated_at.desc(), Chat.id).limit(limit)
    hits = {chat.id: Hit(chat, terms) for chat in db.session.scalars(newest)}
    places: dict[UUID, list[Row[Any]]] = {}
    for row in rows:
        of_chat = places.setdefault(row.chat_id, [])
        if row.role is not None and row.chat_id in hits and len(of_chat) < SNIPPETS_PER_CHAT:
            of_chat.append(row)
    found = {row.subject_id for of_chat in places.values() for row in of_chat}
    shown = _shown(found, [hits[key].chat.head_id for key, of_chat in places.items() if of_chat])
    breath = Breath()
    for hit in hits.values():
        for row in places[hit.chat.id]:
            breath()
            snippet = Snippet(row.subject_id, row.role, excerpt(row.text, terms), row.subject_id in shown)
            hit.snippets.append(snippet)
    return list(hits.values())


def _shown(wanted: set[UUID], head_ids: list[UUID | None]) -> set[UUID]:
    """Return which of the wanted messages are on the branches that end with head_ids. Climbs some levels at a time."""
    found: set[UUID] = set()
    ends = [head for head in head_ids if head]
    while ends and found != wanted:
        line = select(Message.id, Message.parent_id, literal(1).label("level")).where(Message.id.in_(ends))
        steps = line.cte("line", recursive=True)
        parent = aliased(Message)
        above = select(parent.id, parent.parent_id, steps.c.level + 1)
        steps = steps.union_all(above.where(parent.id == steps.c.parent_id, steps.c.level < LEVELS_AT_ONCE))
        rows = db.session.execute(select(steps)).all()
        found |= wanted & {row.id for row in rows}
        ends = [row.parent_id for row in rows if row.level == LEVELS_AT_ONCE and row.parent_id]
        give_way()
    return found
