"""Which earlier messages the model is shown, and how much of its window that leaves for the answer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from flask_babel import gettext as _

from chatapp.chats.models import Message, branch
from chatapp.errors import InvalidMessage
from chatapp.providers.base import ModelInfo
from chatapp.services import settings
from chatapp.tokens.estimate import calibrated, prompt_bound

LEAST_ANSWER_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is sent, oldest first, with an estimate for each, and the longest answer that there is room for. Tokens."""

    history: list[Message]
    history_tokens: list[int]
    system_tokens: int
    question_tokens: int
    longest: int


def context(messages: list[Message], limit: int) -> list[Message]:
    """Return the last messages that the model is shown, at most limit, oldest first, beginning with a user's.

    A question without an answer, and an answer without a text, are left out.
    """
    shown: list[Message] = []
    for question, answer in pairwise(messages):
        if question.role == "user" and answer.role == "assistant" and answer.content and answer.status != "in_progress":
            shown += [question, answer]
    shown = shown[-limit:] if limit else []
    return shown[1:] if shown and shown[0].role == "assistant" else shown


def history_from(head_id: UUID | None) -> list[Message]:
    """Return what the model may be shown of the messages up to one of them, oldest first."""
    limit = settings().history_messages
    # Questions without an answer are left out, so a few more are read than are shown.
    return context(branch(head_id, limit * 2 + 10), limit)


def fit(info: ModelInfo, system_prompt: str, question: str, history: list[Message], longest: int) -> Fitted:
    """Leave out the oldest exchanges that the model's window, or HISTORY_TOKENS, has no room for.

    Where question and answer share the window, a quarter of it is kept for the answer. Raises InvalidMessage for a
    question that is too long by itself.
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

    # An exchange at a time, so that a question keeps its answer.
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
