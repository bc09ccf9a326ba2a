"""Search in a user's own chats: their titles and what was said in them, also in versions that are not shown.

words → the database's index, by the beginnings of words, without regard to case and marks (SQLite: FTS5; PostgreSQL:
tsvector) → what it found is held against the text itself, and marked there. Texts are looked through for the insides
of words where the index cannot help: for scripts without spaces, for signs, and when nothing was found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

from markupsafe import Markup, escape
from sqlalchemy import Row, Uuid, literal, literal_column, or_, select, text, union_all
from sqlalchemy.orm import aliased

from chatapp.auth.models import User
from chatapp.chats.models import Chat, Message
from chatapp.database import is_sqlite
from chatapp.extensions import db

MAX_TERMS = 8
MAX_QUERY_CHARS = 200
FOUND_CHATS = 30
# Newest first. A common word stands in thousands of messages; nobody reads further than this.
FOUND_TEXTS = 200
SNIPPETS_PER_CHAT = 3
SNIPPET_CHARS = 140
# How much of one text is looked at: a pasted book must not stop the loop.
LOOKED_AT_CHARS = 100_000
# Scripts that put no spaces between words: Thai to Khmer, kana, CJK.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)

# What a line of Markdown is shown without, as long as no hit is lost with it.
MARKDOWN = re.compile(r"\*\*|__|`+|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)|(?<!\S)(?:#{1,6}|[*>|-]+)(?!\S) ?")

SQLITE_INDEX = text(
    """SELECT entry.subject_id, entry.chat_id, messages.role,
        substr(coalesce(messages.content, chats.title, ''), 1, 100000) AS text
    FROM search_index JOIN search_entries AS entry ON entry.id = search_index.rowid
    JOIN chats ON chats.id = entry.chat_id AND chats.deleted_at IS NULL
    LEFT JOIN messages ON messages.id = entry.subject_id
    WHERE search_index MATCH :words AND entry.user_id = :user_id AND messages.continues IS NOT TRUE
    ORDER BY search_index.rowid DESC LIMIT 200"""
).columns(subject_id=Uuid, chat_id=Uuid)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A place in a message: pieces of its text, each with whether it is a hit. is_shown: on the branch that is."""

    message_id: UUID
    role: str
    parts: tuple[tuple[str, bool], ...]
    is_shown: bool

    @property
    def html(self) -> Markup:
        return marked_html(self.parts)

    @property
    def text(self) -> str:
        return "".join(part for part, _is_hit in self.parts)


@dataclass(slots=True)
class Hit:
    """A chat in which something was found; the last used first."""

    chat: Chat
    terms: tuple[str, ...]
    snippets: list[Snippet] = field(default_factory=list)

    @property
    def title_html(self) -> Markup:
        return marked_html(marked(self.chat.title or "", self.terms))


def search(user: User, query: str, *, limit: int = FOUND_CHATS) -> list[Hit]:
    """Return the user's chats with all words of the query in their title or in one message; at most limit.

    Any text will do for a query. Deleted chats are never found, archived ones are.
    """
    terms = terms_of(query)
    if not terms:
        return []
    rows = list(_matching(_by_index(terms, user.id), terms)) if all(map(_is_word, terms)) else []
    if not rows or any(UNSPACED.search(term) or not term.isalnum() for term in terms):
        known = {row.subject_id for row in rows}
        rows += [row for row in _matching(_by_looking(terms, user.id), terms) if row.subject_id not in known]
    return _grouped(rows, terms, limit)


def terms_of(query: str) -> tuple[str, ...]:
    """Return the words of a query as they are compared, each once."""
    words = fold(query.replace("\0", " ")[:MAX_QUERY_CHARS]).split()
    return tuple(dict.fromkeys(words))[:MAX_TERMS]


def _is_word(term: str) -> bool:
    return any(char.isalnum() for char in term)


def _matching(rows: Iterable[Row[Any]], terms: tuple[str, ...]) -> Iterator[Row[Any]]:
    """Pass on what really holds the words: an index knows no signs, and "c++" is not "c"."""
    for row in rows:
        folded = fold(row.text)
        if all(term in folded for term in terms):
            yield row


def _by_index(terms: tuple[str, ...], user_id: UUID) -> list[Row[Any]]:
    """Return (subject_id, chat_id, role, text) of titles and messages, newest first."""
    return _sqlite_index(terms, user_id) if is_sqlite() else _postgresql_index(terms, user_id)


def _sqlite_index(terms: tuple[str, ...], user_id: UUID) -> list[Row[Any]]:
    # In quotes everything is text; a quote in it is doubled. The star makes the last word of each a beginning.
    words = " AND ".join('"' + term.replace('"', '""') + '"*' for term in terms)
    match = f'owner : "{user_id.hex}" AND text : ({words})'
    return list(db.session.execute(SQLITE_INDEX, {"words": match, "user_id": user_id.hex}))


def _postgresql_index(terms: tuple[str, ...], user_id: UUID) -> list[Row[Any]]:
    quoted = (term.replace("\\", "\\\\").replace("'", "''") for term in terms)
    words = db.func.to_tsquery("simple", " & ".join(f"'{term}':*" for term in quoted))
    return _newest(
        literal_column("chats.search").bool_op("@@")(words),
        literal_column("messages.search").bool_op("@@")(words),
        user_id,
    )


def _by_looking(terms: tuple[str, ...], user_id: UUID) -> list[Row[Any]]:
    """Return the same from the texts themselves. SQLite compares only ASCII letters without regard to case."""
    titles, contents = [], []
    for term in terms:
        titles.append(or_(*(Chat.title.icontains(word, autoescape=True) for word in {term, term.upper()})))
        contents.append(or_(*(Message.content.icontains(word, autoescape=True) for word in {term, term.upper()})))
    ended = Message.status != "in_progress"
    return _newest(db.and_(*titles), db.and_(ended, *contents), user_id)


def _newest(of_title: Any, of_message: Any, user_id: UUID) -> list[Row[Any]]:
    mine = (Chat.user_id == user_id, Chat.deleted_at.is_(None))
    role = literal(None).label("role")
    titles = select(
        Chat.id.label("subject_id"), Chat.id.label("chat_id"), role, Chat.title.label("text"), Chat.updated_at
    )
    messages = (
        select(
            Message.id,
            Message.chat_id,
            Message.role,
            db.func.substr(Message.content, 1, LOOKED_AT_CHARS),
            Message.created_at,
        )
        .join(Chat, Chat.id == Message.chat_id)
        .where(~Message.continues)
    )
    found = union_all(
        titles.where(*mine, of_title).order_by(Chat.updated_at.desc()).limit(FOUND_TEXTS).subquery().select(),
        messages.where(*mine, of_message).order_by(Message.created_at.desc()).limit(FOUND_TEXTS).subquery().select(),
    )
    return list(db.session.execute(found))


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
    found = [row.subject_id for of_chat in places.values() for row in of_chat]
    shown = _shown(found, [hits[key].chat.head_id for key, of_chat in places.items() if of_chat])
    for hit in hits.values():
        hit.snippets = [
            Snippet(row.subject_id, row.role, _excerpt(row.text, terms), row.subject_id in shown)
            for row in places[hit.chat.id]
        ]
    return list(hits.values())


def _shown(message_ids: list[UUID], head_ids: list[UUID | None]) -> set[UUID]:
    """Return those of some messages that stand on the branches with these ends."""
    line = select(Message.id, Message.parent_id).where(Message.id.in_(head_ids)).cte("line", recursive=True)
    parent = aliased(Message)
    line = line.union_all(select(parent.id, parent.parent_id).where(parent.id == line.c.parent_id))
    return set(db.session.scalars(select(line.c.id).where(line.c.id.in_(message_ids)))) if message_ids else set()


# Marking


def _folds() -> dict[int, int]:
    """Map characters to their small letter without marks, one to one: a place in the folded text is one in the text."""
    folds = {}
    for code in (*range(0x2100), *range(0xA640, 0xA800), *range(0xFF21, 0xFF5B)):
        letters = [each for each in unicodedata.normalize("NFKD", chr(code).lower()) if not unicodedata.combining(each)]
        if len(letters) == 1 and letters[0] != chr(code):
            folds[code] = ord(letters[0])
    return folds


FOLDS = _folds()


def fold(string: str) -> str:
    """Return a text as it is compared: composed, in small letters, without marks. Of composed text the length stays."""
    return unicodedata.normalize("NFC", string).translate(FOLDS)


def _spans(folded: str, terms: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return where the words stand, at the beginnings of words where there are such places; none overlap."""
    by_length = "|".join(re.escape(term) for term in sorted(terms, key=len, reverse=True))
    spans = [match.span() for match in re.finditer(rf"(?<!\w)(?:{by_length})", folded)]
    return spans or [match.span() for match in re.finditer(by_length, folded)]


def marked(string: str, terms: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """Cut a text into parts, each with whether it is a hit."""
    string = unicodedata.normalize("NFC", string)
    spans = _spans(fold(string), terms)
    edges = [0, *(edge for span in spans for edge in span), len(string)]
    parts = ((string[start:end], index % 2 == 1) for index, (start, end) in enumerate(pairwise(edges)))
    return tuple((part, is_hit) for part, is_hit in parts if part)


def marked_html(parts: Iterable[tuple[str, bool]]) -> Markup:
    return Markup("").join(Markup("<mark>{}</mark>").format(part) if is_hit else escape(part) for part, is_hit in parts)


def _excerpt(string: str, terms: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """Return one line around the first hit."""
    string = unicodedata.normalize("NFC", string)
    spans = _spans(fold(string), terms)
    first = spans[0][0] if spans else 0
    start = max(0, first - SNIPPET_CHARS // 3)
    if start and (space := string.find(" ", start, first)) >= 0:
        start = space + 1
    line = " ".join(string[start : start + SNIPPET_CHARS].split())
    line = f"{'…' if start else ''}{line}{'…' if start + SNIPPET_CHARS < len(string) else ''}"
    plain = MARKDOWN.sub("", line)
    return marked(plain if len(_spans(fold(plain), terms)) == len(_spans(fold(line), terms)) else line, terms)
