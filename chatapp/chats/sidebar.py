"""The sidebar's list of chats, grouped by day, or the results of a search."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import blake2s
from itertools import groupby
from uuid import UUID

from flask import request
from flask_babel import format_date
from flask_babel import gettext as _
from flask_login import current_user
from sqlalchemy import select

from chatapp.auth.models import User
from chatapp.chats.models import Chat
from chatapp.chats.search import Hit, search
from chatapp.kernel.database import now
from chatapp.kernel.extensions import db
from chatapp.kernel.zones import zone

LISTED_CHATS = 40
MAX_LISTED_CHATS = 2000


@dataclass(frozen=True, slots=True)
class Group:
    """Chats under one heading, most recently used first."""

    label: str
    chats: list[Chat]


@dataclass(frozen=True, slots=True)
class Sidebar:
    """Chats in groups or, with a search text, its hits."""

    groups: list[Group]
    text: str
    limit: int
    has_more: bool
    is_archive: bool = False
    hits: list[Hit] = field(default_factory=list)
    found_all: bool = True
    """The search left nothing out."""

    @property
    def version(self) -> str:
        """Return a hash of 16 characters that changes whenever the list does."""
        rows = [(group.label, [(str(chat.id), chat.title) for chat in group.chats]) for group in self.groups]
        return blake2s(repr((rows, self.has_more)).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def sidebar(
    user: User,
    text: str = "",
    *,
    limit: int = LISTED_CHATS,
    archived: bool = False,
    open_id: UUID | None = None,
    instant: datetime | None = None,
) -> Sidebar:
    """Return a user's chats under "Pinned", "Today" and so on; with text, the hits of a search for it.

    open_id: a chat to list however long ago it was used.
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


def listed() -> int:
    """Return how many chats the page lists, as its script reports; the user may have asked for more."""
    return request.headers.get("X-Listed", LISTED_CHATS, type=int)


def shown_sidebar(open_id: UUID | None) -> Sidebar:
    """Return the list as the requesting page shows it."""
    return sidebar(current_user, limit=listed(), open_id=open_id)
