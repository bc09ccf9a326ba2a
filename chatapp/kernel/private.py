"""Keeps files on disk private to this system account; tightens files left by earlier versions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import make_url

from chatapp.kernel.config import Settings

logger = logging.getLogger(__name__)

OTHERS = 0o077


def tighten(settings: Settings) -> None:
    """Make our files private. A folder that others can read only gets a warning: other programs may need it."""
    for path in _files(settings):
        try:
            if path.stat().st_mode & OTHERS:
                path.chmod(0o600)
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("Other users of this machine can read %s (%s)", path, error.strerror)
    if settings.instance_dir.stat().st_mode & OTHERS:
        logger.warning("Other users of this machine can list %s: run chmod 700 on it", settings.instance_dir)


def _files(settings: Settings) -> Iterator[Path]:
    yield settings.instance_dir / "secret_key"
    url = make_url(settings.database_uri)
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        yield from (Path(f"{url.database}{ending}") for ending in ("", "-wal", "-shm"))
