"""What a model's server says and nothing here knows: it is named in the log, once a process."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

MOST_NAMES = 200
NAME_CHARS = 40

_named: set[tuple[str, str, str]] = set()


def name_once(server: str, what: str, which: Any) -> None:
    """Name what was passed over. Only its name: the rest may be somebody's text."""
    name = (which if isinstance(which, str) else type(which).__name__)[:NAME_CHARS]
    name = name if name.isascii() and name.isprintable() else "?"
    if (server, what, name) not in _named and len(_named) < MOST_NAMES:
        _named.add((server, what, name))
        logger.warning("%s sent %s that is not known: %s", server, what, name)
