"""Which earlier messages to send to the model, and how much of its window is left for the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

from flask_babel import gettext as _
from sqlalchemy import func, literal, select
from sqlalchemy.orm import aliased, lazyload

from chatapp.chats.models import Message
from chatapp.kernel.config import settings
from chatapp.kernel.errors import InvalidMessage
from chatapp.kernel.extensions import db
from chatapp.providers.base import LEAST_ANSWER_TOKENS, ModelInfo
from chatapp.tokens.estimate import calibrated, prompt_bound

# Few texts have more characters per token. Anything longer than HISTORY_TOKENS times this is not even read.
MOST_CHARS_PER_TOKEN = 8


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is sent, oldest first, with an estimate for each, and the longest answer that fits. In tokens."""

    history: list[Message]
    history_tokens: list[int]
    system_tokens: int
    question_tokens: int
    longest: int


def history_from(head_id: UUID | None) -> list[Message]:
    """Return the earlier messages that the model may be shown, up to head_id, oldest first: whole exchanges.

    Lengths are read before texts: an imported message may have millions of characters.
    """
    limit = settings().history_messages
    if head_id is None or not limit:
        return []
    # Questions without an answer are left out, so read a few more than are shown.
    shown = _short_enough(_exchanges(_outline(head_id, limit * 2 + 10), limit))
    ids = [row.id for exchange in shown for row in exchange]
    wanted = select(Message).where(Message.id.in_(ids)).options(lazyload(Message.exchange))
    found = {message.id: message for message in db.session.scalars(wanted)}
    return [found[each] for each in ids if each in found]


def _outline(head_id: UUID, limit: int) -> Sequence[Any]:
    """Return id, role, status and length in characters of the messages up to head_id, oldest first."""
    line = select(Message.id, Message.parent_id, literal(0).label("distance")).where(Message.id == head_id)
    above = line.cte("line", recursive=True)
    parent = aliased(Message)
    above = above.union_all(
        select(parent.id, parent.parent_id, above.c.distance + 1).where(
            parent.id == above.c.parent_id, above.c.distance < limit - 1
        )
    )
    chars = func.length(Message.content).label("chars")
    rows = select(Message.id, Message.role, Message.status, chars).join(above, Message.id == above.c.id)
    return db.session.execute(rows.order_by(above.c.distance.desc())).all()


def _exchanges(rows: Sequence[Any], limit: int) -> list[tuple[Any, Any]]:
    """Return the last questions with their answers, at most limit messages.

    A question without an answer, and an answer without a text, are left out.
    """
    found = [
        (question, answer)
        for question, answer in pairwise(rows)
        if (question.role, answer.role) == ("user", "assistant") and answer.chars and answer.status != "in_progress"
    ]
    return found[-(limit // 2) :] if limit > 1 else []


def _short_enough(exchanges: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return the last exchanges whose texts are worth reading."""
    room = settings().history_tokens * MOST_CHARS_PER_TOKEN
    shown: list[tuple[Any, Any]] = []
    for exchange in reversed(exchanges):
        room -= sum(row.chars for row in exchange)
        if room < 0:
            break
        shown.insert(0, exchange)
    return shown


def fit(info: ModelInfo, system_prompt: str, question: str, history: list[Message], longest: int) -> Fitted:
    """Drop the oldest exchanges that exceed the model's window or HISTORY_TOKENS.

    If question and answer share the window, a quarter of it is kept for the answer. Raises InvalidMessage if the
    question alone is too long.
    """
    window = info.max_input_tokens
    system_tokens, question_tokens = calibrated(system_prompt), calibrated(question)
    if system_tokens + question_tokens > window:
        raise InvalidMessage(_("This message is too long for this model. Shorten it or choose another model"))
    kept_for_answer = min(longest, window // 4) if info.shares_window else 0
    history_tokens = [calibrated(message.content) for message in history]

    def prompt(first: int) -> int:
        tokens = system_tokens + question_tokens + sum(history_tokens[first:])
        return prompt_bound(tokens, len(history) - first + 2)

    # One exchange at a time, so that a question keeps its answer.
    first = next(
        (
            first
            for first in range(0, len(history), 2)
            if prompt(first) <= window - kept_for_answer and sum(history_tokens[first:]) <= settings().history_tokens
        ),
        len(history),
    )
    if info.shares_window:
        longest = min(longest, max(LEAST_ANSWER_TOKENS, window - prompt(first)))
    return Fitted(history[first:], history_tokens[first:], system_tokens, question_tokens, longest)
