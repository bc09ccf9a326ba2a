"""Usage totals by day, model and chat, and the rows of an export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from flask_babel import gettext as _
from sqlalchemy import and_, case, func, literal, select, tuple_

from chatapp.chats.models import Chat
from chatapp.exchanges.models import Exchange
from chatapp.kernel.breath import give_way
from chatapp.kernel.database import now, release
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.extensions import db
from chatapp.kernel.zones import zone

Grouping = Literal["model", "chat"]

PRESETS = (7, 30, 90)
MAX_DAYS = 366
MOST_GROUPS = 5
# The key of what belongs to no chat: calls of programs.
NO_CHAT = str(None)
LISTED_GROUPS = 20
BATCH = 200
# More bars than this cannot be told apart on a phone; then each bar is a week.
MOST_BARS = 93


@dataclass(frozen=True, slots=True)
class Range:
    """Days in the user's time zone, inclusive. preset: the number of days up to today, None for a custom range."""

    first: date
    last: date
    preset: int | None = None

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def query(self) -> dict[str, str]:
        return {"days": str(self.preset)} if self.preset else {"from": str(self.first), "to": str(self.last)}


@dataclass(slots=True)
class Sums:
    """Tokens, micro-dollars and number of exchanges. matched: our counts for exchanges with provider figures."""

    exchanges: int = 0
    charged: int = 0
    counted: int = 0
    matched: int = 0
    reported: int = 0
    cost_microusd: int = 0
    unpriced: int = 0

    def add(self, other: Sums) -> None:
        for name in Sums.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Bar:
    """A day, or a week that starts on it. groups: a group's key → its sums; unused groups are left out."""

    day: date
    days: int
    groups: dict[str, Sums] = field(default_factory=dict)
    total: Sums = field(default_factory=Sums)


@dataclass(frozen=True, slots=True)
class Group:
    """A model or a chat with its sums. key "" combines all but the largest."""

    key: str
    label: str
    sums: Sums
    chat_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Report:
    range: Range
    by: Grouping
    bars: list[Bar]
    shown: list[Group]
    """The groups in the chart, largest first; the others, if any, are combined at the end."""
    listed: list[Group]
    total: Sums


def read_range(args: Mapping[str, str], zone_name: str, instant: datetime | None = None) -> Range:
    """Read ?days= or ?from=&to=; 30 days by default. Raises InvalidRequest naming the field and the limit."""
    today = (instant or now()).astimezone(zone(zone_name)).date()
    if args.get("from") or args.get("to"):
        first, last = _day(args, "from"), _day(args, "to")
        if not first <= last <= first + timedelta(days=MAX_DAYS - 1):
            raise InvalidRequest(_("to: must be from the first day on, at most %(limit)s days", limit=MAX_DAYS))
        return Range(first, last)
    days = args.get("days", str(PRESETS[1]))
    if days not in map(str, PRESETS):
        raise InvalidRequest(_("days: must be one of %(days)s", days=", ".join(map(str, PRESETS))))
    return Range(today - timedelta(days=int(days) - 1), today, int(days))


def _day(args: Mapping[str, str], name: str) -> date:
    try:
        day = date.fromisoformat(args.get(name, ""))
    except ValueError:
        raise InvalidRequest(_("%(field)s: must be a day like 2026-11-24", field=name)) from None
    if not 2000 <= day.year <= 2200:
        raise InvalidRequest(_("%(field)s: must be a day like 2026-11-24", field=name))
    return day


def report(user_id: UUID, chosen: Range, by: Grouping) -> Report:
    key: Any = Exchange.model if by == "model" else Exchange.chat_id
    has_report = Exchange.reported_tokens.is_not(None)
    rows = db.session.execute(
        select(
            Exchange.day,
            key,
            func.count(),
            func.sum(Exchange.charged_tokens),
            func.sum(Exchange.counted_tokens),
            func.sum(case((has_report, Exchange.counted_tokens), else_=0)),
            func.sum(func.coalesce(Exchange.reported_tokens, 0)),
            func.sum(func.coalesce(Exchange.cost_microusd, 0)),
            func.sum(case((Exchange.cost_microusd.is_(None), 1), else_=0)),
        )
        .where(Exchange.user_id == user_id, Exchange.day.between(chosen.first, chosen.last))
        .group_by(Exchange.day, key)
    )
    bars, totals, total = _empty_bars(chosen), dict[str, Sums](), Sums()
    for day, group, *figures in rows:
        sums = Sums(*map(int, figures))
        bar = bars[(day - chosen.first).days // bars[0].days]
        for place in (
            bar.groups.setdefault(str(group), Sums()),
            bar.total,
            totals.setdefault(str(group), Sums()),
            total,
        ):
            place.add(sums)
    groups = _groups(totals, by)
    shown = groups if len(groups) <= MOST_GROUPS + 1 else groups[:MOST_GROUPS]
    if len(shown) < len(groups):
        shown = [*shown, _others(groups[MOST_GROUPS:], bars)]
    return Report(chosen, by, bars, shown, groups[:LISTED_GROUPS], total)


def _empty_bars(chosen: Range) -> list[Bar]:
    width = 1 if chosen.days <= MOST_BARS else 7
    starts = range(0, chosen.days, width)
    return [Bar(chosen.first + timedelta(days=start), width) for start in starts]


def _groups(totals: dict[str, Sums], by: Grouping) -> list[Group]:
    """Return the groups, the largest first."""
    ordered = sorted(totals, key=lambda key: (-totals[key].charged, key))
    if by == "model":
        return [Group(key, key, totals[key]) for key in ordered]
    ids = [UUID(key) for key in ordered if key != NO_CHAT]
    found = select(Chat.id, Chat.title).where(Chat.id.in_(ids[:LISTED_GROUPS]), Chat.deleted_at.is_(None))
    titles: dict[UUID, str | None] = {row[0]: row[1] for row in db.session.execute(found)}
    return [_group_of_chat(key, totals[key], titles) for key in ordered]


def _group_of_chat(key: str, sums: Sums, titles: dict[UUID, str | None]) -> Group:
    if key == NO_CHAT:
        return Group(key, _("programs with a key"), sums)
    chat_id = UUID(key)
    if chat_id in titles:
        return Group(key, titles[chat_id] or _("New chat"), sums, chat_id)
    return Group(key, _("deleted chat"), sums)


def _others(groups: list[Group], bars: list[Bar]) -> Group:
    """Combine the smaller groups, in every bar too."""
    together, keys = Sums(), {group.key for group in groups}
    for group in groups:
        together.add(group.sums)
    for bar in bars:
        for key in keys & bar.groups.keys():
            bar.groups.setdefault("", Sums()).add(bar.groups.pop(key))
    return Group("", _("others"), together)


def exchanges(user_id: UUID, chosen: Range) -> Iterator[tuple[Exchange, str]]:
    """Yield a user's exchanges with the titles of their chats, oldest first.

    In batches, without holding a connection in between: the reader may be slow.
    """
    columns = Exchange.day, Exchange.ended_at, Exchange.id
    wanted = (
        select(Exchange, func.coalesce(Chat.title, ""))
        .join(Chat, and_(Chat.id == Exchange.chat_id, Chat.deleted_at.is_(None)), isouter=True)
        .where(Exchange.user_id == user_id, Exchange.day <= chosen.last)
        .order_by(*columns)
        .limit(BATCH)
    )
    # Only one lower bound at a time: with two, SQLite searches its index by the wrong one.
    after, size = wanted.where(Exchange.day >= chosen.first), BATCH
    while size == BATCH:
        give_way()
        rows = [(row[0], row[1]) for row in db.session.execute(after)]
        db.session.expunge_all()
        release()
        yield from rows
        if size := len(rows):
            last = rows[-1][0]
            place = tuple_(*(literal(getattr(last, column.key), column.type) for column in columns))
            after = wanted.where(tuple_(*columns) > place)


def titles_since(user_id: UUID, since: datetime) -> tuple[int, int]:
    """Return the number of titles requested from models, and the tokens charged for them."""
    found = select(func.count(), func.coalesce(func.sum(Exchange.charged_tokens), 0)).where(
        Exchange.user_id == user_id, Exchange.purpose == "title", Exchange.ended_at >= since
    )
    count, tokens = db.session.execute(found).one()
    return int(count), int(tokens)
