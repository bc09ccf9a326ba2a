"""Where the bytes are: files in a folder, one for each part of an attachment.

<folder>/<user id>/<attachment id>/<content, thumb or text>. A file appears under its name when it is whole and synced.
Ids are UUIDs, so no name comes from outside. Nothing in here knows the database.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import UUID

from flask import current_app
from gevent.threadpool import ThreadPool

PIECE_BYTES = 1 << 18
# Writing and syncing would hold the loop for as long as the disk takes.
_threads = ThreadPool(2)


class LocalStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, user_id: UUID, attachment_id: UUID, part: str, source: IO[bytes]) -> None:
        """Store a part. source is read to its end, in a thread. Raises OSError."""
        error = _threads.apply(self._put, (self._place(user_id, attachment_id) / part, source))
        if error is not None:
            raise error

    def open(self, user_id: UUID, attachment_id: UUID, part: str) -> IO[bytes]:
        """Raises FileNotFoundError."""
        return (self._place(user_id, attachment_id) / part).open("rb")

    def delete(self, user_id: UUID, attachment_id: UUID) -> None:
        """Remove all parts of an attachment; it may be gone already."""
        place = self._place(user_id, attachment_id)
        shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):  # Others of this user's are still there.
            place.parent.rmdir()

    def delete_user(self, user_id: UUID) -> None:
        shutil.rmtree(self._folder / str(user_id), ignore_errors=True)

    def older_than(self, seconds: float) -> Iterator[tuple[UUID, UUID]]:
        """Yield (user id, attachment id) of what was stored longer ago than this; a few folders are open at once."""
        before = time.time() - seconds
        for owner in _folders(self._folder):
            for place in _folders(Path(owner.path)):
                with suppress(FileNotFoundError, ValueError):
                    if place.stat().st_mtime < before:
                        yield UUID(owner.name), UUID(place.name)

    def _place(self, user_id: UUID, attachment_id: UUID) -> Path:
        return self._folder / str(user_id) / str(attachment_id)

    def _put(self, path: Path, source: IO[bytes]) -> OSError | None:
        """Write a file beside its place and move it there. An error is returned: a thread's would be printed."""
        beside = path.with_suffix(".part")
        try:
            # mkdir's mode holds for the last folder only.
            for folder in (self._folder, path.parent.parent, path.parent):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                shutil.copyfileobj(source, out, PIECE_BYTES)
                out.flush()
                os.fsync(out.fileno())
            beside.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            return error
        return None


def _sync_folder(path: Path) -> None:
    """Make a new name survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _folders(path: Path) -> list[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(path) as found:
        return [entry for entry in found if entry.is_dir(follow_symlinks=False)]
    return []


def store() -> LocalStore:
    """Return the store of the running application."""
    found: LocalStore = current_app.extensions["attachment_store"]
    return found
