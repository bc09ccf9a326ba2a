"""When a budget's period began and when the next one begins, in the user's time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from chatapp.kernel.zones import zone

# A little less than the shortest period, one in which the clocks go forward.
SHORTEST = {"daily": timedelta(hours=20), "weekly": timedelta(days=6), "monthly": timedelta(days=27)}


def period_start(period: str, zone_name: str, instant: datetime) -> datetime | None:
    """Return the start (UTC, a local midnight) of the period that contains `instant`; None without a period."""
    day = instant.astimezone(zone(zone_name)).date()
    if period == "daily":
        first = day
    elif period == "weekly":
        first = day - timedelta(days=day.weekday())
    elif period == "monthly":
        first = day.replace(day=1)
    else:
        return None
    return _midnight(first, zone_name)


def due_start(period: str, zone_name: str, began: datetime, instant: datetime) -> datetime | None:
    """Return the start of the current period if it is later than the one begun at `began`, otherwise None.

    After a reset a period lasts at least SHORTEST; otherwise moving between time zones would give two resets a day.
    """
    start = period_start(period, zone_name, instant)
    if start is None or start <= began or _is_too_soon(period, began, start):
        return None
    return start


def next_period_start(period: str, zone_name: str, instant: datetime, began: datetime | None = None) -> datetime | None:
    """Return when the period after the one that contains `instant` begins; None without a period."""
    start = period_start(period, zone_name, instant)
    if start is None:
        return None
    following = _following(period, zone_name, start)
    is_too_soon = began is not None and _is_too_soon(period, began, following)
    return _following(period, zone_name, following) if is_too_soon else following


def _is_too_soon(period: str, began: datetime, start: datetime) -> bool:
    # A reset starts a period at midnight, on a whole second; accounts are created at arbitrary microseconds.
    was_reset = began.second == began.microsecond == 0
    return was_reset and start - began < SHORTEST[period]


def _following(period: str, zone_name: str, start: datetime) -> datetime:
    day = start.astimezone(zone(zone_name)).date()
    if period == "daily":
        following = day + timedelta(days=1)
    elif period == "weekly":
        following = day + timedelta(days=7)
    else:
        following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return _midnight(following, zone_name)


def _midnight(day: date, zone_name: str) -> datetime:
    return datetime.combine(day, time.min, zone(zone_name)).astimezone(UTC)
