"""Our own export (export.py): every field is checked, and what is wrong is named with its place."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

from flask_babel import gettext as _

from chatapp.chats.changes import MAX_TEMPERATURE, MAX_THINKING_TOKENS
from chatapp.exchanges.models import Status
from chatapp.transfers.bounds import Intake, InvalidFile
from chatapp.transfers.content import ROLES, ReadChat, ReadMessage, parents_first
from chatapp.transfers.export import VERSION

ENDED = tuple(status for status in get_args(Status) if status != "in_progress")


def check_format(head: dict[str, Any]) -> None:
    """Raise InvalidFile for another release's file."""
    if head.get("version") != VERSION:
        raise InvalidFile(_("version must be %(known)s: this file was made by another release", known=VERSION))


def read_chat(value: Any, place: str, intake: Intake) -> ReadChat:
    of = _Fields(value, place, intake)
    created_at = of.instant("created_at")
    chat = ReadChat(
        key=of.text("id"),
        title=of.text("title", None),
        created_at=created_at,
        updated_at=of.instant("updated_at", created_at),
        model=of.text("model", None),
        system_prompt=of.text("system_prompt", ""),
        temperature=of.number("temperature", float, MAX_TEMPERATURE),
        thinking_tokens=of.number("thinking_tokens", int, MAX_THINKING_TOKENS),
        persona=of.text("persona", None),
        pinned=of.flag("pinned"),
        archived=of.flag("archived"),
        head_key=of.text("head_id", None),
    )
    messages = of.get("messages", list)
    chat.messages = [_message(each, f"{place}.messages[{number}]", intake) for number, each in enumerate(messages)]
    keys = {message.key for message in chat.messages}
    if len(keys) < len(chat.messages):
        raise InvalidFile(_("%(place)s: two messages have the same id", place=place))
    for number, message in enumerate(chat.messages):
        if message.parent_key is not None and message.parent_key not in keys:
            raise InvalidFile(
                _("%(place)s is not a message of this chat", place=f"{place}.messages[{number}].parent_id")
            )
    chat.messages = parents_first(chat.messages, place, intake)
    if chat.head_key not in keys:
        chat.head_key = chat.messages[-1].key if chat.messages else None
    return chat


def _message(value: Any, place: str, intake: Intake) -> ReadMessage:
    intake.breathe()
    of = _Fields(value, place, intake)
    status = of.text("status", "completed")
    return ReadMessage(
        key=of.text("id"),
        parent_key=of.text("parent_id", None),
        role=of.one_of("role", ROLES),
        content=of.text("content"),
        created_at=of.instant("created_at"),
        thoughts=of.text("thoughts", ""),
        # An answer that was being written when it was exported is not being written here.
        status="interrupted" if status == "in_progress" else of.one_of("status", ENDED, "completed"),
        model=of.text("model", None),
        continues=of.flag("continues"),
    )


class _Fields:
    """An object of the file. Every getter names the field when it has another type than it must."""

    def __init__(self, value: Any, place: str, intake: Intake) -> None:
        if not isinstance(value, dict):
            raise InvalidFile(_("%(place)s must be an object", place=place))
        self._value, self._place, self._intake = value, place, intake

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
        return self._intake.text(found)

    def one_of(self, name: str, values: tuple[str, ...], *default: str) -> str:
        found: str = self.text(name, *default)
        if found not in values:
            raise self._wrong(name, " / ".join(values))
        return found

    def number(self, name: str, kind: type, high: float) -> Any:
        found = self._value.get(name)
        if found is None:
            return None
        if not isinstance(found, (int, float)) or isinstance(found, bool) or not 0 <= found <= high:
            raise self._wrong(name, _("a number from 0 to %(high)s", high=int(high)))
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
            return self._intake.strict_instant(found if isinstance(found, str) else None)
        except ValueError:
            raise self._wrong(name, _("an instant as 2026-01-31T12:00:00Z")) from None
