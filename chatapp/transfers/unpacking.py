"""Uploaded files as JSON texts in UTF-8: a file as it is, or those in a ZIP file that may hold chats.

What a ZIP file says of sizes is not believed. Reading stops at the bounds, whatever the list of contents says, and only
ways of packing are taken that unpack no more at once than is asked for.
"""

from __future__ import annotations

import codecs
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, cast

from flask_babel import gettext as _
from gevent.threadpool import ThreadPool

from chatapp.transfers.bounds import MEBIBYTE, Intake, InvalidFile

PIECE_BYTES = 2**18
# ChatGPT's exports of many chats have several: conversations-000.json and so on.
CONVERSATIONS = re.compile(r"conversations[^/]*\.json", re.IGNORECASE)
NO_CONTENT = re.compile(r"(^|/)(__MACOSX/|\._)")
PACKED_SO = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# No ZIP file; an unknown coding; one with a password; one cut short; broken in deflate; in a place of it.
UNREADABLE_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error, ValueError)
# UTF-16 says so with its first character, or has a zero in every other byte of what JSON begins with.
UTF_16 = re.compile(rb"\xff\xfe|\xfe\xff|[\[{\s]\0|\0[\[{\s]")
# Listing what a ZIP file holds is a loop of Python's library: a thread gives way to others, a greenlet would not.
_threads = ThreadPool(1)


@dataclass(frozen=True, slots=True)
class Text:
    """A JSON text. name: that of the file in a ZIP file, else empty."""

    name: str
    data: bytes


def texts_of(file: IO[bytes], intake: Intake) -> list[Text]:
    """Return the JSON texts of an uploaded file. Raises InvalidFile, and counts in intake what it leaves out."""
    start = file.read(4)
    file.seek(0)
    if start == b"PK\3\4" or start == b"PK\5\6":
        return _unzipped(file, intake)
    return [Text("", _as_utf8(_bounded(file, intake.bounds.unpacked_bytes, intake), intake))]


def _bounded(file: IO[bytes], limit: int, intake: Intake) -> bytes:
    pieces, size = [], 0
    while piece := file.read(PIECE_BYTES):
        size += len(piece)
        if size > limit:
            limit = intake.bounds.unpacked_bytes // MEBIBYTE
            raise InvalidFile(_("The file is larger than %(limit)s MiB", limit=limit), status=413)
        pieces.append(piece)
        intake.breathe()
    return b"".join(pieces)


def _as_utf8(data: bytes, intake: Intake) -> bytes:
    """Return a text without a byte order mark; UTF-16 is turned into UTF-8, and what is neither is counted."""
    match = UTF_16.match(data)
    if match is None:
        data = data.removeprefix(codecs.BOM_UTF8)
        _look_for_foreign_bytes(data, intake)
        return data
    # Bytes with a zero behind are "little endian". A mark chooses for itself.
    name = "utf-16" if match[0] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-16-le"
    if match[0][0] == 0:
        name = "utf-16-be"
    decoder, pieces = codecs.getincrementaldecoder(name)("replace"), []
    for piece in _pieces(data, intake):
        pieces.append(decoder.decode(piece).encode("utf-8", "replace"))
    return b"".join(pieces)


def _look_for_foreign_bytes(data: bytes, intake: Intake) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in _pieces(data, intake):
            decoder.decode(piece)
    except UnicodeDecodeError:
        intake.has_foreign_bytes = True


def _pieces(data: bytes, intake: Intake) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        intake.breathe()
        yield data[start : start + PIECE_BYTES]


# ZIP files


class _Short:
    """A file that refuses to read more at once than a table of contents may have, whatever the file claims."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._limit = file, limit
        # Said here: a thread does not know in which language.
        self._refusal = InvalidFile(_("The ZIP file holds too many files"))
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > self._limit:
            raise self._refusal
        return self._file.read(size)


def _unzipped(file: IO[bytes], intake: Intake) -> list[Text]:
    opened = _threads.apply(_open, (_Short(file, intake.bounds.zip_list_bytes),))
    try:
        if isinstance(opened, Exception):
            raise opened
        with opened as archive:
            return _texts(archive, intake)
    except UNREADABLE_ZIP as error:
        raise InvalidFile(_("The ZIP file cannot be read")) from error


def _open(file: _Short) -> zipfile.ZipFile | Exception:
    """Return the archive, or why there is none: the log would have each error that a thread raises."""
    try:
        return zipfile.ZipFile(cast("IO[bytes]", file))
    except Exception as error:
        return error


def _texts(archive: zipfile.ZipFile, intake: Intake) -> list[Text]:
    found, left = [], intake.bounds.unpacked_bytes
    wanted = _wanted(archive.infolist())
    for entry in wanted:
        try:
            text = Text(entry.filename, _as_utf8(_unpacked(archive, entry, left, intake), intake))
        except UNREADABLE_ZIP:
            intake.leave_out(InvalidFile(_("%(place)s is broken", place=entry.filename)))
            continue
        except InvalidFile as error:
            if error.status == 413:
                raise
            intake.leave_out(error)
            continue
        left -= len(text.data)
        found.append(text)
    if not found:
        why = "; ".join(intake.reasons)
        raise InvalidFile(_("The ZIP file holds no JSON file that can be read") + (f": {why}" if why else ""))
    return found


def _wanted(entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Return the entries that may hold chats, by name. Pictures beside them are not even looked at."""
    entries = [each for each in entries if each.filename.lower().endswith(".json")]
    entries = sorted((each for each in entries if not NO_CONTENT.search(each.filename)), key=lambda each: each.filename)
    named = [each for each in entries if CONVERSATIONS.fullmatch(each.filename.rpartition("/")[2])]
    return named or entries


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int, intake: Intake) -> bytes:
    if entry.compress_type not in PACKED_SO:
        # Other methods unpack a gigabyte from a kilobyte in one piece.
        raise InvalidFile(_("%(place)s is not packed with deflate, as ZIP files usually are", place=entry.filename))
    if entry.flag_bits & 1:
        raise InvalidFile(_("%(place)s is protected with a password", place=entry.filename))
    with archive.open(entry) as packed:
        return _bounded(packed, limit, intake)
