"""Time zones by whatever name they are called: browsers, systems and stored accounts may know different ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.core import get_global

logger = logging.getLogger(__name__)


def known(name: str) -> str | None:
    """Return the name under which this machine knows a zone, its present one if it can; None for no zone at all.

    Old names and new ones are CLDR's, which Babel brings along.
    """
    aliases: Mapping[str, str] = get_global("zone_aliases")  # Old name → present name.
    present = "UTC" if name == "UTC" else aliases.get(name, name)
    older = (old for old, new in aliases.items() if new == present)
    return next((each for each in (present, name, *older) if _exists(each)), None)


@lru_cache(maxsize=1000)
def zone(name: str) -> ZoneInfo:
    """Return a zone by any of its names; UTC, and a line in the log, for what is no zone here."""
    if (found := known(name)) is None:
        logger.warning("A time zone is not known here, UTC is taken for it: %s", name if name.isprintable() else "?")
    return ZoneInfo(found or "UTC")


def _exists(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
