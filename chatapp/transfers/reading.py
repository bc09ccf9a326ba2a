"""Files that are imported: our own export (export.py) and ChatGPT's conversations.json, also inside a ZIP file.

A file is read chat by chat, so that one of the largest size stops the loop for no longer than its largest chat. What
comes out is checked and clean: what is unknown is left out, what is wrong is named with its place.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import JSONDecodeError
from typing import IO, Any

from flask_babel import gettext as _

from chatapp.database import now
from chatapp.errors import InvalidRequest
from chatapp.text import clean_model_text
from chatapp.transfers.export import FORMAT, VERSION

# The list of a ZIP file's contents, read at once: a ChatGPT export with a thousand pictures has 100 KB.
MAX_ZIP_LIST_BYTES = 2**21
PIECE_BYTES = 2**18
STATUSES = ("completed", "stopped", "interrupted", "failed")
ROLES = ("user", "assistant")
BLANK = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


class InvalidFile(InvalidRequest):
    code = "INVALID_FILE"


@dataclass(slots=True)
class ReadMessage:
    """key and parent_key are the file's own ids; a parent comes before its children."""

    key: str
    parent_key: str | None
    role: str
    content: str
    created_at: datetime
    thoughts: str = ""
    status: str = "completed"
    model: str | None = None
    continues: bool = False


@dataclass(slots=True)
class ReadChat:
    key: str
    title: str | None
    created_at: datetime
    updated_at: datetime
    model: str | None = None
    system_prompt: str = ""
    temperature: float | None = None
    thinking_tokens: int | None = None
    pinned: bool = False
    archived: bool = False
    head_key: str | None = None
    messages: list[ReadMessage] = field(default_factory=list)


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
            chat = _from_chatgpt(value, f"[{number}]")
            if chat.messages:
                yield chat
        return
    if text[place : place + 1] != "{":
        raise InvalidFile(_("The file is neither an export of this site nor ChatGPT's conversations.json"))
    for number, value in _own_chats(text, place):
        yield _from_own(value, f"chats[{number}]")


def _own_chats(text: str, place: int) -> Iterator[tuple[int, Any]]:
    known: dict[str, Any] = {}
    place = _skip(text, place + 1)
    while text[place : place + 1] == '"':
        name, place = _value(text, place)
        place = _expect(text, place, ":")
        if name == "chats" and text[place : place + 1] == "[":
            _check_format(known)
            yield from _elements(text, place)
            return
        known[name], place = _value(text, place)
        place = _skip(text, place)
        if text[place : place + 1] != ",":
            break
        place = _skip(text, place + 1)
    _check_format(known)
    raise InvalidFile(_("%(place)s is missing or no list", place="chats"))


def _check_format(known: dict[str, Any]) -> None:
    if known.get("format") != FORMAT:
        raise InvalidFile(_("The file is neither an export of this site nor ChatGPT's conversations.json"))
    if known.get("version") != VERSION:
        raise InvalidFile(_("version must be %(known)s: this file was made by another release", known=VERSION))


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


# Our own export


def _from_own(value: Any, place: str) -> ReadChat:
    of = _Fields(value, place)
    created_at = of.instant("created_at")
    chat = ReadChat(
        key=of.text("id"),
        title=of.text("title", None),
        created_at=created_at,
        updated_at=of.instant("updated_at", created_at),
        model=of.text("model", None),
        system_prompt=of.text("system_prompt", ""),
        temperature=of.number("temperature", float),
        thinking_tokens=of.number("thinking_tokens", int),
        pinned=of.flag("pinned"),
        archived=of.flag("archived"),
        head_key=of.text("head_id", None),
    )
    messages = of.get("messages", list)
    chat.messages = [_own_message(each, f"{place}.messages[{number}]") for number, each in enumerate(messages)]
    keys = {message.key for message in chat.messages}
    if len(keys) < len(chat.messages):
        raise InvalidFile(_("%(place)s: two messages have the same id", place=place))
    for number, message in enumerate(chat.messages):
        if message.parent_key is not None and message.parent_key not in keys:
            raise InvalidFile(_("%(place)s is no message of this chat", place=f"{place}.messages[{number}].parent_id"))
    chat.messages = _parents_first(chat.messages, place)
    if chat.head_key not in keys:
        chat.head_key = chat.messages[-1].key if chat.messages else None
    return chat


def _own_message(value: Any, place: str) -> ReadMessage:
    of = _Fields(value, place)
    status = of.text("status", "completed")
    return ReadMessage(
        key=of.text("id"),
        parent_key=of.text("parent_id", None),
        role=of.one_of("role", ROLES),
        content=of.text("content"),
        created_at=of.instant("created_at"),
        thoughts=of.text("thoughts", ""),
        # An answer that was being written when it was exported is not being written here.
        status="interrupted" if status == "in_progress" else of.one_of("status", STATUSES, "completed"),
        model=of.text("model", None),
        continues=of.flag("continues"),
    )


def _parents_first(messages: list[ReadMessage], place: str) -> list[ReadMessage]:
    """Put every message after the one it follows, else in the file's order. Raises InvalidFile for a circle."""
    followers: dict[str | None, list[ReadMessage]] = {}
    for message in messages:
        followers.setdefault(message.parent_key, []).append(message)
    ordered, waiting = [], list(reversed(followers.get(None, [])))
    while waiting:
        message = waiting.pop()
        ordered.append(message)
        waiting.extend(reversed(followers.get(message.key, [])))
    if len(ordered) != len(messages):
        raise InvalidFile(_("%(place)s: messages follow each other in a circle", place=place))
    return ordered


class _Fields:
    """An object of the file. Every getter names the field when it has another type than it must."""

    def __init__(self, value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise InvalidFile(_("%(place)s must be an object", place=place))
        self._value, self._place = value, place

    def _wrong(self, name: str, must: str) -> InvalidFile:
        return InvalidFile(_("%(place)s must be %(kind)s", place=f"{self._place}.{name}", kind=must))

    def get(self, name: str, kind: type) -> Any:
        found = self._value.get(name)
        if not isinstance(found, kind):
            raise self._wrong(name, _("a list"))
        return found

    def text(self, name: str, *default: str | None) -> Any:
        found = self._value.get(name)
        if found is None and default:
            return default[0]
        if not isinstance(found, str):
            raise self._wrong(name, _("a text"))
        return clean_model_text(found)

    def one_of(self, name: str, values: tuple[str, ...], *default: str) -> str:
        found: str = self.text(name, *default)
        if found not in values:
            raise self._wrong(name, " / ".join(values))
        return found

    def number(self, name: str, kind: type) -> Any:
        found = self._value.get(name)
        if found is None:
            return None
        is_number = isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)
        if not is_number or not 0 <= found < 2**31:
            raise self._wrong(name, _("a number"))
        return kind(found)

    def flag(self, name: str) -> bool:
        found = self._value.get(name, False)
        if not isinstance(found, bool):
            raise self._wrong(name, _("true or false"))
        return found

    def instant(self, name: str, *default: datetime) -> datetime:
        found = self._value.get(name)
        if found is None and default:
            return default[0]
        try:
            instant = datetime.fromisoformat(found)  # type: ignore[arg-type]
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        except (TypeError, ValueError, OverflowError):
            raise self._wrong(name, _("an instant as 2026-01-31T12:00:00Z")) from None


# ChatGPT's


def _from_chatgpt(value: Any, place: str) -> ReadChat:
    """Read a conversation: a tree of nodes. Those of tools, of the system and without a text are passed over."""
    mapping = value.get("mapping") if isinstance(value, dict) else None
    if not isinstance(mapping, dict):
        raise InvalidFile(_("%(place)s is missing or no object", place=f"{place}.mapping"))
    created_at = _instant(value.get("create_time"), now())
    key = value.get("conversation_id") or value.get("id")
    chat = ReadChat(
        key=key if isinstance(key, str) else f"{place} {created_at.isoformat()}",
        title=_text(value.get("title")),
        created_at=created_at,
        updated_at=_instant(value.get("update_time"), created_at),
        model=_text(value.get("default_model_slug")),
        archived=value.get("is_archived") is True,
    )
    said: dict[str, ReadMessage] = {}
    above: dict[str, str | None] = {}
    for name, node in mapping.items():
        node = node if isinstance(node, dict) else {}
        parent = node.get("parent")
        above[name] = parent if isinstance(parent, str) and parent in mapping else None
        if (message := _chatgpt_message(name, node.get("message"), created_at)) is not None:
            said[name] = message
    nearest = _nearest(above, said)
    for name, message in said.items():
        parent = above[name]
        message.parent_key = nearest[parent] if parent is not None else None
    chat.messages = _parents_first(list(said.values()), place)
    current = value.get("current_node")
    chat.head_key = nearest.get(current) if isinstance(current, str) else None
    if chat.head_key is None and chat.messages:
        chat.head_key = chat.messages[-1].key
    return chat


def _nearest(above: dict[str, str | None], said: dict[str, ReadMessage]) -> dict[str, str | None]:
    """Return for each node the nearest one at or above it that says something; each is looked at once."""
    nearest: dict[str, str | None] = {}
    for name in above:
        path: list[str] = []
        at: str | None = name
        while at is not None and at not in nearest and at not in said:
            path.append(at)
            nearest[at] = None  # A circle ends here.
            at = above[at]
        found = at if at in said else nearest.get(at) if at is not None else None
        for passed in path:
            nearest[passed] = found
        nearest.setdefault(name, found)
    return nearest


def _chatgpt_message(key: str, value: Any, otherwise: datetime) -> ReadMessage | None:
    if not isinstance(value, dict):
        return None
    author, content, metadata = (_object(value.get(name)) for name in ("author", "content", "metadata"))
    if author.get("role") not in ROLES or metadata.get("is_visually_hidden_from_conversation"):
        return None
    if content.get("content_type") not in ("text", "multimodal_text") or not isinstance(content.get("parts"), list):
        return None
    # An answer to "all" is for people; others are calls of tools.
    if value.get("recipient") not in (None, "all"):
        return None
    parts = (clean_model_text(part) for part in content["parts"] if isinstance(part, str))
    text = "\n\n".join(part for part in parts if part.strip())
    if not text:
        return None
    return ReadMessage(
        key=key,
        parent_key=None,
        role=author["role"],
        content=text,
        created_at=_instant(value.get("create_time"), otherwise),
        model=_text(metadata.get("model_slug")),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return clean_model_text(value) if isinstance(value, str) and value.strip() else None


def _instant(value: Any, otherwise: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, (int, float)) else otherwise
    except (ValueError, OverflowError, OSError):
        return otherwise
