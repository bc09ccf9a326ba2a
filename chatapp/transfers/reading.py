"""Files that are imported: our own export and ChatGPT's conversations.json, also inside a ZIP file.

A file is read chat by chat, so that one of the largest size stops the loop for no longer than its largest chat. What
a chat is in each of them, own_format.py and chatgpt_format.py know.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from json import JSONDecodeError
from typing import IO, Any

from flask_babel import gettext as _

from chatapp.transfers import chatgpt_format, own_format
from chatapp.transfers.content import InvalidFile, ReadChat

# The list of a ZIP file's contents, read at once: a ChatGPT export with a thousand pictures has 100 KB.
MAX_ZIP_LIST_BYTES = 2**21
PIECE_BYTES = 2**18
BLANK = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


# No ZIP file; an unknown coding; one with a password; one cut short; broken in bzip2; in deflate; in a place of it.
UNREADABLE_ZIP = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error, ValueError)


def text_of(file: IO[bytes], limit: int, pause: Callable[[], None]) -> str:
    """Return the JSON text of an uploaded file, which may be a ZIP file. limit: bytes, unpacked. Raises InvalidFile."""
    start = file.read(4)
    file.seek(0)
    data = _unzipped(file, limit, pause) if start == b"PK\3\4" else _bounded(file, limit, pause)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidFile(_("The file is not UTF-8 text (byte %(place)s)", place=error.start)) from None


def _bounded(file: IO[bytes], limit: int, pause: Callable[[], None]) -> bytes:
    pieces, size = [], 0
    while piece := file.read(PIECE_BYTES):
        size += len(piece)
        if size > limit:
            raise InvalidFile(_("The file is larger than %(limit)s MiB", limit=limit // 2**20), status=413)
        pieces.append(piece)
        pause()
    return b"".join(pieces)


def _unzipped(file: IO[bytes], limit: int, pause: Callable[[], None]) -> bytes:
    """Return the conversations out of a ZIP file. What it says of sizes is not believed: reading stops at the limit."""
    if _zip_list_bytes(file) > MAX_ZIP_LIST_BYTES:
        raise InvalidFile(_("The ZIP file holds too many files"))
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            wanted = [name for name in names if name.rpartition("/")[2] == "conversations.json"] or names
            if len(wanted) != 1:
                raise InvalidFile(_("The ZIP file holds no conversations.json"))
            with archive.open(wanted[0]) as packed:
                return _bounded(packed, limit, pause)
    except UNREADABLE_ZIP as error:
        raise InvalidFile(_("The ZIP file cannot be read")) from error


def _zip_list_bytes(file: IO[bytes]) -> int:
    """Return how long a ZIP file says that its list of contents is."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 22 - 0xFFFF))
    tail = file.read()
    file.seek(0)
    end = tail.rfind(b"PK\5\6")
    return struct.unpack_from("<I", tail, end + 12)[0] if end >= 0 and len(tail) - end >= 16 else 0


# One chat after another


def chats(text: str) -> Iterator[ReadChat]:
    """Yield the chats of a file in their order. Raises InvalidFile naming what is wrong and where."""
    place = _skip(text, 0)
    if text[place : place + 1] == "[":
        for number, value in _elements(text, place):
            try:
                chat = chatgpt_format.read_chat(value, f"[{number}]")
            except InvalidFile as error:
                if number:
                    raise
                raise _is_neither(f": {error.message}") from None
            if chat.messages:
                yield chat
        return
    if text[place : place + 1] != "{":
        raise _is_neither()
    for number, value in _own_chats(text, place):
        yield own_format.read_chat(value, f"chats[{number}]")


def _is_neither(what: str = "") -> InvalidFile:
    return InvalidFile(_("The file is neither an export of this site nor ChatGPT's conversations.json") + what)


def _own_chats(text: str, place: int) -> Iterator[tuple[int, Any]]:
    known: dict[str, Any] = {}
    place = _skip(text, place + 1)
    while text[place : place + 1] == '"':
        name, place = _value(text, place)
        place = _expect(text, place, ":")
        if name == "chats" and text[place : place + 1] == "[":
            own_format.check_format(known)
            yield from _elements(text, place)
            return
        known[name], place = _value(text, place)
        place = _skip(text, place)
        if text[place : place + 1] != ",":
            break
        place = _skip(text, place + 1)
    own_format.check_format(known)
    raise InvalidFile(_("%(place)s is missing or no list", place="chats"))


def _elements(text: str, place: int) -> Iterator[tuple[int, Any]]:
    """Yield the elements of the list that begins at a place, each with its number."""
    place, number = _skip(text, place + 1), 0
    if text[place : place + 1] == "]":
        return
    while True:
        value, place = _value(text, place)
        yield number, value
        number, place = number + 1, _skip(text, place)
        if text[place : place + 1] == "]":
            return
        place = _expect(text, place, ",")


def _value(text: str, place: int) -> tuple[Any, int]:
    try:
        return DECODER.raw_decode(text, place)
    except JSONDecodeError as error:
        raise InvalidFile(_("The file is not valid JSON (line %(line)s)", line=error.lineno)) from None
    except (RecursionError, ValueError):
        raise InvalidFile(_("The file is not valid JSON (character %(place)s)", place=place)) from None


def _skip(text: str, place: int) -> int:
    match = BLANK.match(text, place)
    return match.end() if match else place


def _expect(text: str, place: int, sign: str) -> int:
    place = _skip(text, place)
    if text[place : place + 1] != sign:
        line = text.count("\n", 0, place) + 1
        raise InvalidFile(_("The file is not valid JSON (line %(line)s)", line=line))
    return _skip(text, place + 1)
