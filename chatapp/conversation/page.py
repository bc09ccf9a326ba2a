"""Values for the conversation page: the last messages of the shown branch, or those above one, and the composer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from flask import request
from flask_login import current_user

from chatapp.budget import notices
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
    """Return the values for conversation/_turns.html, and turn_id, the chat's open turn.

    before: show the messages above this one. with_id: a message to include, however far up it is.
    """
    turn = Turn.open_in(chat.id)
    messages = chat.branch(SHOWN_MESSAGES + 1, before)
    if with_id is not None and with_id not in [message.id for message in messages]:
        messages = _down_from(with_id, chat.branch(MAX_SHOWN_MESSAGES)) or messages
    has_earlier = bool(messages) and messages[0].parent_id is not None
    if has_earlier and len(messages) == SHOWN_MESSAGES + 1:
        messages = messages[1:]
    # A page starts with a question: an answer on its own would appear without it.
    if has_earlier and messages[0].role == "assistant":
        messages = messages[1:]
    exchanges = queries.shown_turns(messages)
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
    """Return the values for the composer and the notice above it. problem: why the text in it was rejected."""
    return {
        "model": request.form.get("model") or model,
        "models": providers().models(),
        "is_demo": providers().is_demo,
        "key": str(uuid4()),
        **notices.shown(current_user.id),
        "message_chars": settings().message_chars,
        "problem": problem,
        "draft": posted_text() if problem else "",
    }


def posted_text() -> str:
    """Return the submitted message: the suggestion that was clicked, otherwise the text that was typed."""
    return request.form.get("suggestion") or request.form.get("text", "")


def _down_from(message_id: UUID, branch: list[Message]) -> list[Message]:
    """Return the branch from a little above a message to its end; empty if the message is not in it."""
    place = next((place for place, message in enumerate(branch) if message.id == message_id), None)
    return [] if place is None else branch[max(0, place - BEFORE_IT) :]
