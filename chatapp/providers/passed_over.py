"""Logs unknown content from a model's server by name, once per process."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

MOST_NAMES = 200
NAME_CHARS = 40

_named: set[tuple[str, str, str]] = set()


def name_once(server: str, what: str, which: Any) -> None:
    """Log what was skipped, by name only: the rest may be private text."""
    name = (which if isinstance(which, str) else type(which).__name__)[:NAME_CHARS]
    name = name if name.isascii() and name.isprintable() else "?"
    if (server, what, name) not in _named and len(_named) < MOST_NAMES:
        _named.add((server, what, name))
        logger.warning("%s sent %s of an unknown kind: %s", server, what, name)
