"""Has a child process (child.py) decode a file: few at a time, within a deadline, without a word of our environment."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gevent
from flask_babel import gettext as _
from gevent import subprocess
from gevent.lock import BoundedSemaphore

from chatapp.attachments import kinds
from chatapp.attachments.kinds import Kind
from chatapp.attachments.refusals import AttachmentTooLarge, UnreadableAttachment, UnsupportedAttachment
from chatapp.kernel.config import settings
from chatapp.kernel.errors import Refusal, Unavailable
from chatapp.kernel.text import N_
from chatapp.tokens import estimate

CHILD = Path(__file__).with_name("child.py")
AT_ONCE = 2
DEADLINE_SECONDS = 15
WAIT_SECONDS = 30
# A prepared picture has a megabyte or two, a text has at most four bytes a character.
MOST_OUT_BYTES = 32 << 20
_seats = BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, slots=True)
class Examined:
    """A file that was accepted. parts: what is stored; without "content" the file itself is."""

    kind: Kind
    media_type: str
    parts: dict[str, bytes]
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    characters: int | None = None
    text_tokens: int | None = None
    """The estimate of a text file."""


def examine(file: IO[bytes], deadline_seconds: float = DEADLINE_SECONDS) -> Examined:
    """Decode and prepare a file, a real one of the system. Raises the refusals of refusals.py, and Unavailable."""
    head = os.pread(file.fileno(), kinds.HEAD_BYTES, 0)
    kind, format_name = kinds.sniff(head)
    with _seat():
        out = _run(file, _rules(kind, format_name), deadline_seconds)
    line, _newline, rest = out.partition(b"\n")
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError:
        # Killed for its time, its memory or by a bug that the file found.
        raise UnreadableAttachment() from None
    if "refused" in said:
        raise _refusal(said["refused"], head)
    return _examined(kind, said, rest)


@contextmanager
def _seat() -> Iterator[None]:
    if not _seats.acquire(timeout=WAIT_SECONDS):
        raise Unavailable(N_("Too many files are being read. Try again in a moment"))
    try:
        yield
    finally:
        _seats.release()


def _rules(kind: Kind, format_name: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "format": format_name,
        "side": settings().image_side,
        "pixels": settings().image_pixels,
        "pages": settings().pdf_pages,
        "chars": settings().text_file_chars,
        "estimator": estimate.__file__,
        "packages": sysconfig.get_path("platlib"),
    }


def _run(file: IO[bytes], rules: dict[str, Any], deadline_seconds: float) -> bytes:
    """Return what the child wrote; nothing if it took too long."""
    # The child reads on from where the system's own position is, whatever a buffer of ours says.
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    command = [sys.executable, "-I", "-S", str(CHILD), json.dumps(rules)]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    child = subprocess.Popen(command, stdin=file, stdout=pipe, stderr=nothing, env={}, cwd="/", close_fds=True)
    try:
        with gevent.Timeout(deadline_seconds, False):
            return bytes(child.stdout.read(MOST_OUT_BYTES))
        return b""
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def _examined(kind: Kind, said: dict[str, Any], rest: bytes) -> Examined:
    parts, start = {}, 0
    for name, size in said["parts"].items():
        parts[name] = rest[start : start + size]
        start += size
    if start != len(rest):
        raise UnreadableAttachment()
    figures = {name: said.get(name) for name in ("width", "height", "pages", "characters")}
    return Examined(kind, said["media_type"], parts, text_tokens=said.get("tokens"), **figures)


def _refusal(reason: str, head: bytes) -> Refusal:
    if reason == "unknown":
        return UnsupportedAttachment(kinds.hint(head))
    if reason == "not_utf8":
        return UnsupportedAttachment(kinds.hint(head) or _("The file is no text in UTF-8. Save it as UTF-8"))
    if reason == "too_many_pixels":
        megapixels = settings().image_pixels // 1_000_000
        return AttachmentTooLarge(_("The picture has more than %(limit)s million pixels", limit=megapixels))
    if reason == "too_many_pages":
        return AttachmentTooLarge(_("The PDF has more than %(limit)s pages", limit=settings().pdf_pages))
    if reason == "too_many_characters":
        return AttachmentTooLarge(_("The text has more than %(limit)s characters", limit=settings().text_file_chars))
    if reason == "locked":
        return UnreadableAttachment(_("The PDF is locked with a password"))
    if reason == "blank":
        return UnreadableAttachment(_("There is no text in this file"))
    return UnreadableAttachment()
