"""What a draft would cost if it were sent now. An estimate: nothing is written and no provider is called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from chatapp.budget import notices
from chatapp.budget.queries import Budget, usage_of
from chatapp.chats.models import Chat
from chatapp.exchanges.admission import bounds_of, held_for_texts
from chatapp.kernel.config import settings
from chatapp.kernel.errors import InvalidMessage
from chatapp.kernel.text import normalise
from chatapp.providers.registry import providers
from chatapp.turns.context import fit, history_from
from chatapp.turns.lifecycle import system_prompt_of


@dataclass(frozen=True, slots=True)
class Preview:
    """In tokens. held_tokens: what the exchange would reserve, with the longest answer the budget allows."""

    draft_tokens: int
    held_tokens: int
    budget: Budget
    fits: bool

    @property
    def is_urgent(self) -> bool:
        """Whether to show it unasked: the budget is low, or too low for this message."""
        return not self.fits or notices.has_come_to(self.budget, 80)


def preview(user_id: UUID, chat: Chat | None, text: str, model: str | None = None) -> Preview | None:
    """Return what a draft would cost; None if it cannot be sent.

    chat: None before there is one. model: the model selected with the draft, if any.
    """
    text = normalise(text).strip()
    if not 1 <= len(text) <= settings().message_chars:
        return None
    info = providers().model(providers().offered(model or (chat.model if chat else None)))
    bounds = bounds_of(info.id, chat.thinking_tokens if chat else None, settings().metering)
    prompt = system_prompt_of(chat) if chat else settings().system_prompt
    # Only read if it affects the figures.
    has_history = chat is not None and (settings().metering == "provider" or info.shares_window)
    history = history_from(chat.head_id) if chat and has_history else []
    try:
        fitted = fit(info, prompt, text, history, bounds.longest)
    except InvalidMessage:
        return None
    bounds, draft = replace(bounds, longest=fitted.longest), fitted.question_tokens
    estimated = draft + fitted.system_tokens
    if settings().metering == "provider":
        estimated += sum(fitted.history_tokens)
    budget = usage_of(user_id)
    needed = held_for_texts(estimated, settings().overhead_tokens)
    answer = min(bounds.most, budget.remaining_tokens - needed)
    fits = answer >= bounds.least
    return Preview(draft, needed + (answer if fits else bounds.least), budget, fits)
