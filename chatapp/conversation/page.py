"""What a page shows of a chat: the last messages of the branch that is shown, or those above one, and the box below."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from flask import request
from flask_login import current_user

from chatapp.budget.queries import usage_of
from chatapp.chats import queries
from chatapp.chats.models import Chat, Message
from chatapp.kernel.config import settings
from chatapp.providers.registry import providers
from chatapp.turns.live.process import live_turns
from chatapp.turns.models import Turn

SHOWN_MESSAGES = 60
# When a message further up is requested, load up to this many, and some of those before it.
MAX_SHOWN_MESSAGES = 1000
BEFORE_IT = 5


def shown(chat: Chat, *, before: UUID | None = None, with_id: UUID | None = None) -> dict[str, Any]:
    """Return what conversation/_turns.html needs, and turn_id, the chat's open turn.

    before: the messages above that one. with_id: a message that is to be among them, however far up it is.
    """
    turn = Turn.open_in(chat.id)
    messages = chat.branch(SHOWN_MESSAGES + 1, before)
    if with_id is not None and with_id not in [message.id for message in messages]:
        messages = _down_from(with_id, chat.branch(MAX_SHOWN_MESSAGES)) or messages
    has_earlier = bool(messages) and messages[0].parent_id is not None
    if has_earlier and len(messages) == SHOWN_MESSAGES + 1:
        messages = messages[1:]
    # A page begins with a question: an answer alone would be drawn without it.
    if has_earlier and messages[0].role == "assistant":
        messages = messages[1:]
    exchanges = queries.exchanges(messages)
    if turn is not None:
        live = live_turns().peek(turn.id)
        exchanges = [
            replace(
                each,
                turn_id=turn.id,
                live_text=max(each.answer.content, live.text, key=len),
                live_thoughts=max(each.answer.thoughts, live.thoughts, key=len),
            )
            if each.answer and each.answer.id == turn.answer_id
            else each
            for each in exchanges
        ]
    return {
        "chat": chat,
        "exchanges": exchanges,
        "versions": queries.versions(messages),
        "earlier_id": messages[0].id if has_earlier and messages else None,
        "turn_id": turn.id if turn else None,
    }


def composer(model: str, problem: str = "") -> dict[str, Any]:
    """Return what the message box and the notice above it need. problem: why what stands in the box is refused."""
    return {
        "model": request.form.get("model") or model,
        "models": providers().models(),
        "key": str(uuid4()),
        "budget": usage_of(current_user.id),
        "message_chars": settings().message_chars,
        "problem": problem,
        "draft": posted_text() if problem else "",
    }


def posted_text() -> str:
    """Return the message of a form: the suggestion whose button was pressed, else what was typed."""
    return request.form.get("suggestion") or request.form.get("text", "")


def _down_from(message_id: UUID, branch: list[Message]) -> list[Message]:
    """Return a branch from a little above a message on; nothing where it is not in it."""
    place = next((place for place, message in enumerate(branch) if message.id == message_id), None)
    return [] if place is None else branch[max(0, place - BEFORE_IT) :]
