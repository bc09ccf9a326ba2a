"""What is read from a file, whatever its format: chats and messages, checked and cleaned."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask_babel import gettext as _

from chatapp.kernel.text import clean_model_text
from chatapp.transfers.bounds import Intake, InvalidFile, too_many_messages

ROLES = ("user", "assistant")
TICKS = re.compile("`{3,}")
LANGUAGE = re.compile(r"[\w+#.-]{1,30}")


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
    persona: str | None = None
    pinned: bool = False
    archived: bool = False
    head_key: str | None = None
    messages: list[ReadMessage] = field(default_factory=list)


def parents_first(messages: list[ReadMessage], place: str, intake: Intake) -> list[ReadMessage]:
    """Sort messages so that parents come first, otherwise in the file's order. Raises InvalidFile for a cycle."""
    if len(messages) > intake.bounds.messages:
        raise too_many_messages(place, intake.bounds.messages)
    followers: dict[str | None, list[ReadMessage]] = {}
    for message in messages:
        followers.setdefault(message.parent_key, []).append(message)
    ordered, waiting = [], list(reversed(followers.get(None, [])))
    while waiting:
        message = waiting.pop()
        ordered.append(message)
        waiting.extend(reversed(followers.get(message.key, [])))
        intake.breathe()
    if len(ordered) != len(messages):
        raise InvalidFile(_("%(place)s: messages follow each other in a circle", place=place))
    return ordered


def place_below(above: dict[str, str | None], spoken: dict[str, ReadMessage], intake: Intake) -> dict[str, str | None]:
    """Attach each message to its nearest ancestor that says something; return that ancestor for every node, or itself.

    above: node → the one above it, None for the first. Each is looked at once.
    """
    nearest: dict[str, str | None] = {}
    for name in above:
        intake.breathe()
        path: list[str] = []
        at: str | None = name
        while at is not None and at not in nearest and at not in spoken:
            path.append(at)
            nearest[at] = None  # A circle ends here.
            at = above[at]
        found = at if at in spoken else nearest.get(at) if at is not None else None
        for passed in path:
            nearest[passed] = found
        nearest.setdefault(name, found)
    for name, message in spoken.items():
        parent = above[name]
        message.parent_key = nearest[parent] if parent is not None else None
    return nearest


# For undocumented formats: a value of the wrong type counts as missing.


def object_in(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def list_in(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def text_in(value: Any, *names: str) -> str:
    """Return the first of these members that is a non-blank text, or ""."""
    for name in names if isinstance(value, dict) else ():
        found = value.get(name)
        if isinstance(found, str) and found.strip():
            return found
    return ""


def name_in(value: Any, *names: str) -> str | None:
    """Return a title, model name or similar: short, clean, on one line."""
    return " ".join(clean_model_text(text_in(value, *names)[:1000]).split()) or None


def fenced(text: str, language: str = "") -> str:
    """Return a text as a Markdown code block, whatever fences it contains."""
    longest = max((len(ticks) for ticks in TICKS.findall(text)), default=2)
    fence = "`" * (longest + 1)
    shown = language if LANGUAGE.fullmatch(language) and language != "unknown" else ""
    end = "" if text.endswith("\n") else "\n"
    return f"{fence}{shown}\n{text}{end}{fence}"


def mark(text: str) -> str:
    """Return the note that replaces something that is not kept."""
    return f"[{text}]"


def picture_mark() -> str:
    return mark(_("A picture that was not imported"))


def recording_mark() -> str:
    return mark(_("A recording that was not imported"))


def file_mark(name: str | None) -> str:
    return mark(_("A file that was not imported: %(name)s", name=name or "?"))
