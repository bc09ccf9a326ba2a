"""What is read from a file, whatever its format: chats and their messages, checked and clean."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from flask_babel import gettext as _

from chatapp.errors import InvalidRequest

ROLES = ("user", "assistant")


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


def parents_first(messages: list[ReadMessage], place: str) -> list[ReadMessage]:
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
