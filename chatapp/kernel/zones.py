"""Time zones under all of their names: browsers, systems and stored accounts may use different ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.core import get_global

logger = logging.getLogger(__name__)


def known(name: str) -> str | None:
    """Return a zone's name on this machine, preferably the current one; None if it is not a zone.

    Old and new names come from CLDR, which Babel includes.
    """
    aliases: Mapping[str, str] = get_global("zone_aliases")  # Old name → present name.
    present = "UTC" if name == "UTC" else aliases.get(name, name)
    older = (old for old, new in aliases.items() if new == present)
    return next((each for each in (present, name, *older) if _exists(each)), None)


@lru_cache(maxsize=1000)
def zone(name: str) -> ZoneInfo:
    """Return a zone by any of its names; UTC, with a log message, if it is unknown here."""
    if (found := known(name)) is None:
        logger.warning("Unknown time zone, using UTC: %s", name if name.isprintable() else "?")
    return ZoneInfo(found or "UTC")


def _exists(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
