"""The JSON shapes of the API's objects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chatapp.chats.models import Chat, Message
from chatapp.chats.search import Hit


def instant(value: datetime) -> str:
    """Return an instant as ISO 8601 in UTC: 2025-11-22T10:30:45.123Z."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def chat(chat: Chat) -> dict[str, Any]:
    return {
        "id": str(chat.id),
        "title": chat.title,
        "model": chat.model,
        "system_prompt": chat.system_prompt,
        "pinned": chat.pinned,
        "archived": chat.archived,
        "created_at": instant(chat.created_at),
        "updated_at": instant(chat.updated_at),
    }


def hit(hit: Hit) -> dict[str, Any]:
    """A search hit: the chat and up to three matching messages, none if only the title matched."""
    found = [
        {"message_id": str(snippet.message_id), "role": snippet.role, "snippet": snippet.text}
        for snippet in hit.snippets
    ]
    return chat(hit.chat) | {"hits": found}


def options(chat: Chat) -> dict[str, Any]:
    """Extra fields of a chat that is fetched on its own."""
    return {"temperature": chat.temperature, "thinking_tokens": chat.thinking_tokens}


def message(message: Message, text: str) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "role": message.role,
        "content": text,
        "status": message.status,
        "tokens_consumed": message.tokens_consumed,
        "usage": message.usage,
        "created_at": instant(message.created_at),
    }
