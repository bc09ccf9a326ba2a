"""When a budget's period began and when the next one begins, in the user's own zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone(name: str) -> ZoneInfo:
    """Return the named zone, UTC where the machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def period_start(period: str, zone_name: str, instant: datetime) -> datetime | None:
    """Return the instant (UTC) at which the period that holds instant began: a midnight; None for no period."""
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


def next_period_start(period: str, zone_name: str, instant: datetime) -> datetime | None:
    start = period_start(period, zone_name, instant)
    if start is None:
        return None
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
