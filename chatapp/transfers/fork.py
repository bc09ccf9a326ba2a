"""A fork: a new chat with a copy of a conversation up to one answer. The copies cost nothing; what follows does."""

from __future__ import annotations

from uuid import UUID, uuid4

from flask_babel import gettext as _

from chatapp.chats.models import Chat, Message, branch
from chatapp.kernel.breath import give_way
from chatapp.kernel.database import now
from chatapp.kernel.errors import TurnConflict
from chatapp.transfers import importing
from chatapp.transfers.content import ReadChat, ReadMessage


def fork(chat: Chat, answer: Message) -> UUID:
    """Copy the branch down to an answer into a new chat of the same user; return its id.

    Raises TurnConflict while the answer is being written.
    """
    if answer.status == "in_progress":
        raise TurnConflict()
    copied = ReadChat(
        key=f"fork {uuid4()}",
        title=_("%(title)s (fork)", title=chat.title) if chat.title else None,
        created_at=now(),
        updated_at=now(),
        model=chat.model,
        system_prompt=chat.system_prompt,
        temperature=chat.temperature,
        thinking_tokens=chat.thinking_tokens,
        persona=chat.persona,
        head_key=str(answer.id),
    )
    for message in branch(answer.id):
        copied.messages.append(_copy(message))
        give_way()
    return importing.add(chat.user_id, copied)


def _copy(message: Message) -> ReadMessage:
    return ReadMessage(
        key=str(message.id),
        parent_key=str(message.parent_id) if message.parent_id else None,
        role=message.role,
        content=message.content,
        created_at=message.created_at,
        thoughts=message.thoughts,
        status=message.status,
        model=message.model,
        continues=message.continues,
    )
