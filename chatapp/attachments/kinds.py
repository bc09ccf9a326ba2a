"""What a file is: decided by its content alone. Name and Content-Type are the sender's words."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from chatapp.kernel.text import N_

Kind = Literal["image", "pdf", "text"]
NAME_CHARS = 120
HEAD_BYTES = 16
PICTURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
)
# Of files that are refused: how they begin, and what can be done.
HINTS = (
    (b"PK\3\4", N_("Archives and office files can’t be read. Save it as a PDF")),
    (b"\xd0\xcf\x11\xe0", N_("Archives and office files can’t be read. Save it as a PDF")),
)
HEIC_BRANDS = (b"heic", b"heix", b"mif1", b"hevc", b"msf1")
HEIC_HINT = N_("HEIC pictures can’t be read. Set your phone’s camera to “Most compatible”")
# Controls, marks that turn the direction of text, and what some system rejects in a name.
NOT_IN_A_NAME = re.compile(r'[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"*:<>?|\ud800-\udfff]+')


def sniff(head: bytes) -> tuple[Kind, str]:
    """Return the kind of a file that begins so, and the name of a picture's format. Anything unknown may be a text."""
    for start, format_name in PICTURES:
        if head.startswith(start):
            return "image", format_name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image", "WEBP"
    return ("pdf", "") if head.startswith(b"%PDF-") else ("text", "")


def hint(head: bytes) -> str | None:
    """Return what to do about a file that is refused; None if there is nothing special to say."""
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        return HEIC_HINT
    return next((words for start, words in HINTS if head.startswith(start)), None)


def clean_name(name: str) -> str:
    """Return a file's name for display: without folders, controls and marks of direction, its ending kept."""
    last = re.split(r"[/\\]", name)[-1]
    words = " ".join(NOT_IN_A_NAME.sub(" ", unicodedata.normalize("NFC", last)).split()).strip(". ")
    stem, dot, ending = words.rpartition(".")
    if len(words) > NAME_CHARS and dot and len(ending) < 10:
        words = f"{stem[: NAME_CHARS - len(ending) - 1]}.{ending}"
    return words[:NAME_CHARS] or "file"
