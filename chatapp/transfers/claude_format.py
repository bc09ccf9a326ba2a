"""Claude's conversations.json: messages in sequence, each with parts; newer files name each message's parent.

Nobody promised its form, so what is missing or odd is no error where the rest makes sense.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from flask_babel import gettext as _

from chatapp.transfers.bounds import Intake, InvalidFile
from chatapp.transfers.content import (
    ReadChat,
    ReadMessage,
    fenced,
    file_mark,
    list_in,
    name_in,
    object_in,
    parents_first,
    picture_mark,
    place_below,
    text_in,
)

ROLES = {"human": "user", "user": "user", "assistant": "assistant"}
# An artifact or an analysis tool call has its program's text in one of these.
PROGRAMS = ("content", "code", "file_text", "new_str")


def is_chat(value: dict[str, Any]) -> bool:
    return "chat_messages" in value


def read_chat(value: dict[str, Any], place: str, intake: Intake) -> ReadChat:
    if not isinstance(value.get("chat_messages"), list):
        raise InvalidFile(_("%(place)s is missing or not a list", place=f"{place}.chat_messages"))
    created_at = intake.instant(value.get("created_at"), intake.now)
    chat = ReadChat(
        key=name_in(value, "uuid", "id") or f"{place} {created_at.isoformat()}",
        title=name_in(value, "name", "title"),
        created_at=created_at,
        updated_at=intake.instant(value.get("updated_at"), created_at),
        model=name_in(value, "model"),
        pinned=value.get("is_starred") is True,
    )
    messages, above = _messages(value["chat_messages"], created_at, intake)
    nearest = place_below(above, messages, intake)
    chat.messages = parents_first(list(messages.values()), place, intake)
    last = next(reversed(above), "")
    chat.head_key = nearest.get(text_in(value, "current_leaf_message_uuid")) or nearest.get(last)
    return chat


def _messages(
    values: list[Any], otherwise: datetime, intake: Intake
) -> tuple[dict[str, ReadMessage], dict[str, str | None]]:
    """Return the messages and each node's parent: the one it names, or in older files the previous one."""
    messages: dict[str, ReadMessage] = {}
    above: dict[str, str | None] = {}
    keys = [name_in(each, "uuid") or str(number) for number, each in enumerate(values)]
    known, last = set(keys), None
    for key, each in zip(keys, values, strict=True):
        intake.breathe()
        if key in above:
            continue
        parent = text_in(each, "parent_message_uuid")
        above[key] = last if not parent else parent if parent in known else None
        last = key
        if (message := _message(key, each, otherwise, intake)) is not None:
            messages[key] = message
    return messages, above


def _message(key: str, value: Any, otherwise: datetime, intake: Intake) -> ReadMessage | None:
    author = name_in(value, "sender", "role") or "?"
    role = ROLES.get(author)
    if role is None:
        intake.left_out[author] += 1
        return None
    content, thoughts = _said(value, intake)
    if not content and not thoughts:
        return None
    return ReadMessage(
        key=key,
        parent_key=None,
        role=role,
        content=content,
        thoughts=thoughts,
        created_at=intake.instant(value.get("created_at"), otherwise),
        model=name_in(value, "model"),
    )


def _said(value: dict[str, Any], intake: Intake) -> tuple[str, str]:
    content: list[str] = []
    thoughts: list[str] = []
    alone = text_in(value, "content")
    for part in [alone] if alone else list_in(value, "content"):
        _take(part, content, thoughts, intake)
    if not content:
        content.append(text_in(value, "text"))
    content += _attachments(value)
    return intake.joined(content), intake.joined(thoughts)


def _take(part: Any, content: list[str], thoughts: list[str], intake: Intake) -> None:
    kind = name_in(part, "type") or "?"
    if isinstance(part, str):
        content.append(part)
    elif kind == "tool_use":
        _take_call(part, content, thoughts)
    elif kind == "tool_result":
        thoughts.append(_result(part))
    elif kind in ("thinking", "redacted_thinking"):
        summaries = [text_in(each, "summary") for each in list_in(part, "summaries")]
        thoughts.append(text_in(part, "thinking", "text") or intake.joined(summaries))
    elif kind == "image":
        content.append(picture_mark())
    elif text := text_in(part, "text", "content"):
        content.append(text)
    elif kind not in ("text", "token_budget", "flag"):
        intake.left_out[kind] += 1


def _take_call(part: dict[str, Any], content: list[str], thoughts: list[str]) -> None:
    """Keep a program or document that was written; other tool calls belong to the thoughts."""
    given = object_in(part, "input")
    if text := text_in(given, *PROGRAMS):
        kind, title = text_in(given, "type"), name_in(given, "title", "path")
        language = text_in(given, "language") or ("javascript" if "code" in given else "")
        is_text = kind in ("text/markdown", "text/plain")
        content += [f"**{title}**" if title else "", text if is_text else fenced(text, language)]
    elif given:
        called = json.dumps(given, ensure_ascii=False, indent=1)
        thoughts.append(f"{name_in(part, 'name') or ''}\n\n{fenced(called, 'json')}")


def _result(part: dict[str, Any]) -> str:
    texts = [text_in(each, "text", "content", "title") for each in list_in(part, "content")]
    text = "\n\n".join(each for each in texts if each) or text_in(part, "content")
    return fenced(text) if text else ""


def _attachments(value: dict[str, Any]) -> list[str]:
    """Return the texts of attached files, and the names of those that were not exported."""
    found = []
    for each in list_in(value, "attachments"):
        name, text = name_in(each, "file_name", "name"), text_in(each, "extracted_content")
        found.append(f"**{name or '?'}**\n\n{fenced(text)}" if text else file_mark(name))
    named = {name_in(each, "file_name", "name") for each in list_in(value, "attachments")}
    others = [name_in(each, "file_name", "name") for each in list_in(value, "files")]
    return found + [file_mark(name) for name in others if name not in named]
