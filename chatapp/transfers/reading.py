"""Chats out of JSON texts: our own export, ChatGPT's, Claude's and Open WebUI's, told apart by what they hold.

One chat after another is decoded and read, and what cannot be read is counted beside the others. What a chat is in each
of them, own_format.py and its neighbours know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask_babel import gettext as _

from chatapp.transfers import chatgpt_format, claude_format, open_webui_format, own_format
from chatapp.transfers.bounds import Intake, InvalidFile
from chatapp.transfers.content import ReadChat, name_in
from chatapp.transfers.export import FORMAT
from chatapp.transfers.json_pieces import Document
from chatapp.transfers.unpacking import Text

FORMATS = (chatgpt_format, claude_format, open_webui_format)


def chats(texts: list[Text], intake: Intake) -> Iterator[ReadChat]:
    """Yield the chats of a file in their order; what cannot be read is counted in intake.

    Raises InvalidFile where nothing can be read: no chats at all, or the only text is no whole JSON.
    """
    found = 0
    foreign = None
    for text in texts:
        try:
            for chat in _chats_of(text, intake):
                found += 1
                if found > intake.bounds.chats:
                    intake.leave_out(_too_many_chats(intake.bounds.chats))
                    return
                yield chat
        except _OtherJson as error:
            foreign = error
        except InvalidFile as error:
            if len(texts) == 1:
                raise
            intake.leave_out(InvalidFile(f"{text.name}: {error.message}"))
    if foreign is not None and not found and not intake.unreadable:
        raise foreign


class _OtherJson(InvalidFile):
    """JSON that holds no chats of a kind that is known, as an archive has beside them."""


def _too_many_chats(limit: int) -> InvalidFile:
    return InvalidFile(_("only the first %(limit)s chats of a file are read", limit=limit))


def _other_json() -> _OtherJson:
    return _OtherJson(_("The file is neither an export of this site nor one of ChatGPT, Claude or Open WebUI"))


def _chats_of(text: Text, intake: Intake) -> Iterator[ReadChat]:
    if text.data.lstrip()[:1] not in (b"[", b"{"):
        raise _other_json()
    document, known, others = Document(text.data, intake), 0, 0
    for number, value in document.elements():
        intake.breathe()
        if _is_own(document):
            own_format.check_format(document.head)
        place = _place(text, document, number, value)
        try:
            chat = _chat(document, value, place, intake)
        except _OtherJson:
            others += 1
        except InvalidFile as error:
            known += 1
            intake.leave_out(error)
        else:
            known += 1
            if chat.messages or _is_own(document):
                yield chat
    if others and not known:
        raise _other_json()
    if (trailing := document.trailing()) is not None:
        intake.leave_out(trailing)
    for _number in range(others):
        intake.leave_out(InvalidFile(_("one is of an unknown kind")))
    if _is_own(document):
        own_format.check_format(document.head)


def _place(text: Text, document: Document, number: int, value: Any) -> str:
    """Say which chat it is: by its title where it has one, else by its number in the file."""
    if _is_own(document):
        return f"chats[{number}]"
    title = name_in(value, "title", "name")
    return f"“{title[:40]}”" if title else f"{text.name}[{number}]"


def _is_own(document: Document) -> bool:
    return document.head.get("format") == FORMAT


def _chat(document: Document, value: Any, place: str, intake: Intake) -> ReadChat:
    if isinstance(value, InvalidFile):
        raise InvalidFile(f"{place}: {value.message}")
    if _is_own(document):
        return own_format.read_chat(value, place, intake)
    if not isinstance(value, dict):
        raise _other_json()
    if not document.is_list and value.get("format") == FORMAT:
        own_format.check_format(value)
        raise InvalidFile(_("%(place)s is missing or not a list", place="chats"))
    for each in FORMATS:
        if each.is_chat(value):
            return each.read_chat(value, place, intake)
    raise _other_json()
