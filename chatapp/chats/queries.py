"""What pages show of chats: the list beside them, and the messages of one as questions with their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from hashlib import blake2s
from itertools import groupby
from uuid import UUID

from flask_babel import format_date
from flask_babel import gettext as _
from sqlalchemy import select

from chatapp.auth.models import User
from chatapp.chats.models import Chat, Message, branch
from chatapp.chats.search import Hit, search
from chatapp.kernel.database import now
from chatapp.kernel.errors import ChatNotFound, ChatNotYours
from chatapp.kernel.extensions import db
from chatapp.kernel.zones import zone
from chatapp.rendering import open_fence

LISTED_CHATS = 40
MAX_LISTED_CHATS = 2000
# An answer that was continued is read in steps: usually it is one piece.
PIECES_AT_ONCE = 5
MOST_PIECES = 1000


@dataclass(frozen=True, slots=True)
class Group:
    """Chats under one heading, the one used last first."""

    label: str
    chats: list[Chat]


@dataclass(frozen=True, slots=True)
class Sidebar:
    """Chats in their groups; with a text that is searched for, what was found instead."""

    groups: list[Group]
    text: str
    limit: int
    has_more: bool
    is_archive: bool = False
    hits: list[Hit] = field(default_factory=list)
    found_all: bool = True
    """Nothing was left out of the search."""

    @property
    def version(self) -> str:
        """Return 16 letters that are others whenever the list reads otherwise."""
        rows = [(group.label, [(str(chat.id), chat.title) for chat in group.chats]) for group in self.groups]
        return blake2s(repr((rows, self.has_more)).encode(errors="surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer. While it is written: its turn, and text and thoughts so far where they are known."""

    question: Message | None
    answer: Message | None
    turn_id: UUID | None = None
    live_text: str | None = None
    live_thoughts: str | None = None
    opening: str = ""
    """The line that opens the code block in which the answer above was cut off, where this one goes on in it."""
    is_continued: bool = False
    """The answer ended early, and the exchange below goes on with it."""

    @property
    def id(self) -> UUID | None:
        message = self.question or self.answer
        return message.id if message else None


@dataclass(frozen=True, slots=True)
class Versions:
    """Where a message stands among those that share its place, oldest first: ‹ number / count ›."""

    number: int
    count: int
    before_id: UUID | None
    after_id: UUID | None


def own_chat(user: User, chat_id: UUID, *, or_deleted: bool = False) -> Chat:
    """Load a chat for a page. Raises ChatNotFound for a stranger's too: a page does not say that it exists."""
    try:
        return Chat.for_user(user, chat_id, or_deleted=or_deleted)
    except ChatNotYours:
        raise ChatNotFound() from None


def sidebar(
    user: User,
    text: str = "",
    *,
    limit: int = LISTED_CHATS,
    archived: bool = False,
    open_id: UUID | None = None,
    instant: datetime | None = None,
) -> Sidebar:
    """Return a user's chats under "Pinned", "Today" and so on; with text, where its words are said.

    open_id: a chat that is listed however long ago it was used.
    """
    limit = max(1, min(limit, MAX_LISTED_CHATS))
    if text:
        said = search(user, text)
        return Sidebar([], text, limit, has_more=False, hits=said.hits, found_all=said.is_whole)
    found = select(Chat).where(Chat.user_id == user.id, Chat.deleted_at.is_(None), Chat.archived == archived)
    newest = found.order_by(Chat.pinned.desc(), Chat.updated_at.desc(), Chat.id).limit(limit + 1)
    chats = list(db.session.scalars(newest))
    has_more, chats = len(chats) > limit, chats[:limit]
    if has_more and open_id and open_id not in [chat.id for chat in chats]:
        chats += db.session.scalars(found.where(Chat.id == open_id))
    local = zone(user.timezone)
    today = (instant or now()).astimezone(local).date()
    groups = groupby(chats, lambda chat: _heading(chat, chat.updated_at.astimezone(local).date(), today))
    grouped = [Group(label, list(members)) for label, members in groups]
    return Sidebar(grouped, text, limit, has_more, archived)


def _heading(chat: Chat, day: date, today: date) -> str:
    if chat.pinned:
        return _("Pinned")
    if day >= today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    if day > today - timedelta(days=8):
        return _("Previous 7 days")
    if day > today - timedelta(days=31):
        return _("Previous 30 days")
    return str(format_date(day, "LLLL" if day.year == today.year else "LLLL y", rebase=False))


def exchanges(messages: Iterable[Message]) -> list[Exchange]:
    """Pair each question with the answer below it, in their order."""
    found: list[Exchange] = []
    for message in messages:
        last = found[-1] if found else None
        if message.role == "user":
            opening = ""
            if message.continues and last and last.answer:
                opening = open_fence(last.opening + last.answer.content)
                found[-1] = replace(last, is_continued=True)
            found.append(Exchange(message, None, opening=opening))
        elif last and last.question and last.answer is None:
            found[-1] = replace(last, answer=message)
        else:
            found.append(Exchange(None, message))
    return found


def opening_of(question: Message) -> str:
    """Return what Exchange.opening is for the answer to a question."""
    if not question.continues or question.parent_id is None:
        return ""
    opening = ""
    for content in _pieces(question.parent_id):
        opening = open_fence(opening + content)
    return opening


def whole_text(message: Message) -> str:
    """Return a message's text; of an answer that goes on with those above it all of them, as one text."""
    return "".join(_pieces(message.id)) if message.role == "assistant" else message.content


def _pieces(answer_id: UUID) -> list[str]:
    """Return the texts of an answer and of those above it that it goes on with, the first one first."""
    texts: list[str] = []
    before: UUID | None = None
    while len(texts) < MOST_PIECES:
        above = branch(answer_id, PIECES_AT_ONCE * 2, before)
        for message in reversed(above):
            if message.role == "assistant":
                texts.insert(0, message.content)
            elif not message.continues:
                return texts
        if not above or above[0].parent_id is None:
            return texts
        before = above[0].id
    return texts


def versions(messages: Sequence[Message]) -> dict[UUID, Versions]:
    """Return message → where it stands among its versions; those that are the only one of their place absent."""
    if not messages:
        return {}
    parents = [message.parent_id for message in messages if message.parent_id]
    in_place = [Message.parent_id.in_(parents)]
    if len(parents) < len(messages):
        in_place.append(Message.parent_id.is_(None))
    rows = db.session.execute(
        select(Message.id, Message.parent_id)
        .where(Message.chat_id == messages[0].chat_id, db.or_(*in_place))
        .order_by(Message.created_at, Message.id)
    )
    places: dict[UUID | None, list[UUID]] = {}
    for message_id, parent_id in rows:
        places.setdefault(parent_id, []).append(message_id)
    shown = {message.id for message in messages}
    return {
        message_id: Versions(number, len(ids), ids[number - 2] if number > 1 else None, ([*ids, None])[number])
        for ids in places.values()
        if len(ids) > 1
        for number, message_id in enumerate(ids, 1)
        if message_id in shown
    }
