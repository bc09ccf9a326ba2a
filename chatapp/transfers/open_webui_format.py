"""Open WebUI's export: a list of chats, each a tree of messages, or in older exports a list.

Nobody promised its form, so what is missing or odd is no error where the rest makes sense. Thoughts stand in the text
of an answer, as a block that opens by a click: "<details type="reasoning" …>".
"""

from __future__ import annotations

import html
import json
import re
from datetime import datetime
from typing import Any

from flask_babel import gettext as _

from chatapp.transfers.bounds import Intake, InvalidFile
from chatapp.transfers.content import (
    ROLES,
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

OPENING = re.compile(r'<details\b[^<>\n]{0,300}?type="(reasoning|tool_calls|code_interpreter)"[^<>\n]*+>\n?')
CLOSING = "</details>"
SUMMARY = re.compile(r"<summary>[^<\n]{0,500}</summary>\n?")
ATTRIBUTE = re.compile(r' (name|arguments|result|output)="([^"]*+)"')
QUOTED = re.compile(r"^> ?", re.MULTILINE)


def is_chat(value: dict[str, Any]) -> bool:
    return "history" in value or isinstance(value.get("chat"), dict)


def read_chat(value: dict[str, Any], place: str, intake: Intake) -> ReadChat:
    chat = object_in(value, "chat") or value
    history = object_in(chat, "history")
    messages = history.get("messages")
    if not isinstance(messages, dict) or not messages:
        messages = _as_tree(list_in(chat, "messages"))
        if not messages and not isinstance(history.get("messages"), dict):
            raise InvalidFile(_("%(place)s is missing or not an object", place=f"{place}.chat.history.messages"))
    created_at = intake.instant(_time(value, "created_at", "timestamp"), intake.now)
    models = [each for each in list_in(chat, "models") if isinstance(each, str)]
    read = ReadChat(
        key=name_in(value, "id") or name_in(chat, "id") or f"{place} {created_at.isoformat()}",
        title=name_in(value, "title") or name_in(chat, "title"),
        created_at=created_at,
        updated_at=intake.instant(value.get("updated_at"), created_at),
        model=name_in({"model": models[0]}, "model") if models else None,
        system_prompt=intake.text(text_in(chat, "system") or text_in(object_in(chat, "params"), "system")),
        pinned=value.get("pinned") is True,
        archived=value.get("archived") is True,
    )
    above, spoken = _messages(messages, created_at, intake)
    nearest = place_below(above, spoken, intake)
    read.messages = parents_first(list(spoken.values()), place, intake)
    read.head_key = nearest.get(text_in(history, "currentId"))
    if read.head_key is None and read.messages:
        read.head_key = read.messages[-1].key
    return read


def _time(value: dict[str, Any], *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _as_tree(messages: list[Any]) -> dict[str, Any]:
    """Turn a list of messages into a tree: each one without a parent follows the previous one."""
    found: dict[str, Any] = {}
    last: str | None = None
    for number, each in enumerate(messages):
        if isinstance(each, dict):
            key = name_in(each, "id") or str(number)
            found[key] = {"parentId": last} | each
            last = key
    return found


def _messages(
    messages: dict[str, Any], otherwise: datetime, intake: Intake
) -> tuple[dict[str, str | None], dict[str, ReadMessage]]:
    above: dict[str, str | None] = {}
    spoken: dict[str, ReadMessage] = {}
    for key, each in messages.items():
        intake.breathe()
        parent = each.get("parentId") if isinstance(each, dict) else None
        above[key] = parent if isinstance(parent, str) and parent in messages else None
        if (message := _message(key, each, otherwise, intake)) is not None:
            spoken[key] = message
    return above, spoken


def _message(key: str, value: Any, otherwise: datetime, intake: Intake) -> ReadMessage | None:
    role = name_in(value, "role") or "?"
    if role not in ROLES:
        if role != "system":
            intake.left_out[role] += 1
        return None
    content, thoughts = _said(value, intake)
    if not content and not thoughts:
        return None
    is_failed = isinstance(value.get("error"), dict) or value.get("error") is True or text_in(value, "error") != ""
    return ReadMessage(
        key=key,
        parent_key=None,
        role=role,
        content=content,
        thoughts=thoughts,
        created_at=intake.instant(value.get("timestamp"), otherwise),
        model=name_in(value, "model") if role == "assistant" else None,
        status="failed" if is_failed else "interrupted" if value.get("done") is False else "completed",
    )


def _said(value: dict[str, Any], intake: Intake) -> tuple[str, str]:
    text = value.get("content")
    parts = [text] if isinstance(text, str) else [_part(each, intake) for each in list_in(value, "content")]
    parts.append(_error(value))
    said, thoughts = _without_thoughts(intake.joined(parts))
    thoughts.append(text_in(value, "reasoning_content"))
    return intake.joined([said.strip("\n"), *_files(value)]), intake.joined(thoughts)


def _error(value: dict[str, Any]) -> str:
    error = object_in(value, "error")
    inner = object_in(error, "content") or object_in(error, "error")
    return text_in(value, "error") or text_in(error, "content", "message", "detail") or text_in(inner, "message")


def _part(part: Any, intake: Intake) -> str:
    if isinstance(part, str):
        return part
    kind = name_in(part, "type")
    if kind in ("image_url", "image", "input_image"):
        return picture_mark()
    text = text_in(part, "text", "content")
    if not text and kind and kind != "text":
        intake.left_out[kind] += 1
    return text


def _without_thoughts(text: str) -> tuple[str, list[str]]:
    """Cut thoughts and tool calls out of a text; an unclosed block reaches to the end."""
    kept, thoughts, at = [], [], 0
    while (opening := OPENING.search(text, at)) is not None:
        kept.append(text[at : opening.start()])
        end = text.find(CLOSING, opening.end())
        end = len(text) if end < 0 else end
        inner = SUMMARY.sub("", text[opening.end() : end], count=1)
        told = {name: _told(given) for name, given in ATTRIBUTE.findall(opening[0])}
        if opening[1] == "code_interpreter":
            output = told.get("output", "")
            kept.append(f"{inner.rstrip()}\n\n{fenced(output)}\n" if output.strip() else inner)
        elif opening[1] == "tool_calls":
            called = [fenced(told[name]) for name in ("arguments", "result") if told.get(name, "").strip()]
            thoughts += [told.get("name", ""), *called, html.unescape(inner).strip()]
        else:
            thoughts.append(html.unescape(QUOTED.sub("", inner)).strip())
        at = end + len(CLOSING)
    return "".join(kept) + text[at:], thoughts


def _told(given: str) -> str:
    """Return what a block has beside it, which may be JSON: a text, or what a program printed."""
    text = html.unescape(given)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    printed = [text_in(found, name) for name in ("stdout", "result", "stderr")]
    return found if isinstance(found, str) else "\n".join(filter(None, printed)) or text


def _files(value: dict[str, Any]) -> list[str]:
    marks = []
    for each in list_in(value, "files"):
        is_picture = text_in(each, "type") == "image" or text_in(each, "content_type").startswith("image/")
        marks.append(picture_mark() if is_picture else file_mark(name_in(each, "name", "filename", "id")))
    return marks
