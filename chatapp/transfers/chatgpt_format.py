"""ChatGPT's conversations.json: a tree of nodes, of which those of tools, of the system and without a text are passed
over. Nobody promised its form, so what is missing or odd is no error where the rest makes sense."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from flask_babel import gettext as _

from chatapp.database import now
from chatapp.text import clean_model_text
from chatapp.transfers.content import ROLES, InvalidFile, ReadChat, ReadMessage, parents_first

# "【3†source】" of old, and between characters for private use "cite turn0search1".
SOURCE = re.compile(
    "\u3010[^\u3010\u3011\n]{0,80}\u2020[^\u3010\u3011\n]{0,200}\u3011|\ue200[^\ue200\ue201\n]{0,2000}\ue201"
)


def read_chat(value: Any, place: str) -> ReadChat:
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
        if (message := _message(name, node.get("message"), created_at)) is not None:
            said[name] = message
    nearest = _nearest(above, said)
    for name, message in said.items():
        parent = above[name]
        message.parent_key = nearest[parent] if parent is not None else None
    chat.messages = parents_first(list(said.values()), place)
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


def _message(key: str, value: Any, otherwise: datetime) -> ReadMessage | None:
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
    parts = (clean_model_text(_part(part)) for part in content["parts"])
    text = _with_sources("\n\n".join(part for part in parts if part.strip()), metadata.get("content_references"))
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


def _part(value: Any) -> str:
    """Return a part of a message as text: of speech what was said, in the place of a picture that there was one."""
    if isinstance(value, str):
        return value
    kind, text = _object(value).get("content_type"), _object(value).get("text")
    if kind == "image_asset_pointer":
        return "[" + _("A picture that was not imported") + "]"
    return text if kind == "audio_transcription" and isinstance(text, str) else ""


def _with_sources(text: str, references: Any) -> str:
    """Return a text with links for its marks of sources, which mean nothing outside ChatGPT, or without them."""
    links = {}
    for reference in references if isinstance(references, list) else []:
        mark, link = _object(reference).get("matched_text"), _object(reference).get("alt")
        if isinstance(mark, str) and isinstance(link, str):
            links[mark] = clean_model_text(link)
    return SOURCE.sub(lambda found: links.get(found[0], ""), text)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return clean_model_text(value) if isinstance(value, str) and value.strip() else None


def _instant(value: Any, otherwise: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC) if isinstance(value, (int, float)) else otherwise
    except (ValueError, OverflowError, OSError):
        return otherwise
