"""ChatGPT's conversations.json: a tree of nodes, of which those of the system and without a text are passed over.

Nobody promised its form, so what is missing or odd is no error where the rest makes sense. An answer may have several
nodes: the model thinks, calls a tool, reads what it said, and answers. Here it is one message.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from flask_babel import gettext as _

from chatapp.transfers.bounds import Intake, InvalidFile
from chatapp.transfers.chatgpt_content import role_of, said
from chatapp.transfers.content import ReadChat, ReadMessage, name_in, object_in, parents_first, place_below

ROLES = {"user": "user", "assistant": "assistant", "tool": "assistant"}


def is_chat(value: dict[str, Any]) -> bool:
    return "mapping" in value


def read_chat(value: dict[str, Any], place: str, intake: Intake) -> ReadChat:
    mapping = value.get("mapping")
    if not isinstance(mapping, dict):
        raise InvalidFile(_("%(place)s is missing or not an object", place=f"{place}.mapping"))
    created_at = intake.instant(value.get("create_time"), intake.now)
    chat = ReadChat(
        key=name_in(value, "conversation_id", "id") or f"{place} {created_at.isoformat()}",
        title=name_in(value, "title"),
        created_at=created_at,
        updated_at=intake.instant(value.get("update_time"), created_at),
        model=name_in(value, "default_model_slug"),
        archived=value.get("is_archived") is True,
        pinned=value.get("is_starred") is True,
    )
    spoken: dict[str, ReadMessage] = {}
    above: dict[str, str | None] = {}
    for name, node in mapping.items():
        intake.breathe()
        node = node if isinstance(node, dict) else {}
        parent = node.get("parent")
        above[name] = parent if isinstance(parent, str) and parent in mapping else None
        if (message := _message(name, node.get("message"), created_at, intake)) is not None:
            spoken[name] = message
    nearest = place_below(above, spoken, intake)
    current = value.get("current_node")
    chat.head_key = nearest.get(current) if isinstance(current, str) else None
    _join_steps(chat, parents_first(list(spoken.values()), place, intake), intake)
    if chat.head_key is None and chat.messages:
        chat.head_key = chat.messages[-1].key
    return chat


def _message(key: str, value: Any, otherwise: datetime, intake: Intake) -> ReadMessage | None:
    if not isinstance(value, dict):
        return None
    author = role_of(value) or "?"
    role = ROLES.get(author)
    if role is None:
        if author != "system":
            intake.left_out[author] += 1
        return None
    content, thoughts = said(value, intake)
    if not content and not thoughts:
        return None
    return ReadMessage(
        key=key,
        parent_key=None,
        role=role,
        content=content,
        thoughts=thoughts,
        created_at=intake.instant(value.get("create_time"), otherwise),
        model=name_in(object_in(value, "metadata"), "model_slug"),
        status=_status(value),
    )


def _status(value: dict[str, Any]) -> str:
    """Return how a message ended. Most nodes don't say, so only a known cut counts as one."""
    how = name_in(object_in(object_in(value, "metadata"), "finish_details"), "type")
    if how == "interrupted":
        return "stopped"
    return "interrupted" if how == "max_tokens" or value.get("status") == "in_progress" else "completed"


# An answer in several steps


def _join_steps(chat: ReadChat, messages: list[ReadMessage], intake: Intake) -> None:
    """Merge the steps of each answer into one message. messages: parents first.

    A step goes to the one above it that nothing else follows. Where several follow one without words of its own (a
    search, say, after which the model answered twice), its thoughts go to the first of them and they take its place.
    """
    followers = Counter(message.parent_key for message in messages)
    is_answered = {message.parent_key for message in messages if message.role == "assistant"}
    steps: dict[str, list[ReadMessage]] = {}
    place_of: dict[str, str | None] = {}
    homeless: dict[str, list[ReadMessage]] = {}
    for message in messages:
        intake.breathe()
        key, parent = message.key, message.parent_key
        above = place_of[parent] if parent is not None else None
        waiting = homeless.pop(parent, []) if parent is not None and message.role == "assistant" else []
        joins = message.role == "assistant" and above is not None and steps[above][0].role == "assistant"
        if joins and above is not None and followers[parent] == 1:
            steps[above].append(message)
            place_of[key] = above
        elif message.role == "assistant" and not message.content and followers[key] > 1 and key in is_answered:
            homeless[key] = [*waiting, message]
            place_of[key] = above
        else:
            message.parent_key = above
            steps[key] = [*waiting, message]
            place_of[key] = key
    chat.messages = [_as_one(key, group, intake) for key, group in steps.items()]
    if chat.head_key is not None:
        chat.head_key = place_of[chat.head_key]


def _as_one(key: str, steps: list[ReadMessage], intake: Intake) -> ReadMessage:
    last = steps[-1]
    if len(steps) == 1:
        return last
    own = next(step for step in steps if step.key == key)
    own.content = intake.joined([step.content for step in steps])
    own.thoughts = intake.joined([step.thoughts for step in steps])
    own.model = next((step.model for step in reversed(steps) if step.model), None)
    own.status = last.status
    return own
