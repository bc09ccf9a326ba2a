"""The start of an exchange: reserve the most it may cost, or reject it without leaving a trace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from chatapp.budget import ledger
from chatapp.budget.pricing import Price, prices
from chatapp.exchanges import owner
from chatapp.exchanges.models import EXCHANGES, Part, Purpose
from chatapp.kernel.config import settings
from chatapp.kernel.database import execute_core, now
from chatapp.providers.registry import providers


@dataclass(frozen=True, slots=True)
class Bounds:
    """In tokens: the longest visible answer, the thinking budget, and the most and least of it to reserve."""

    longest: int
    thinking: int = 0
    held_thinking: int = 0
    least_thinking: int = 0
    least_answer: int = 0

    @property
    def most(self) -> int:
        return self.longest + self.held_thinking

    @property
    def least(self) -> int:
        """What must be left in the budget to allow an answer."""
        return min(self.least_answer or settings().min_answer_tokens, self.longest) + self.least_thinking


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms an exchange was admitted on, as plain values: settling needs nothing more. In tokens.

    texts: "question" and "system", as sent; empty if they are gone, and then the estimates count.
    """

    purpose: Purpose
    user_id: UUID
    chat_id: UUID | None
    model: str
    texts: dict[str, str]
    estimates: dict[str, int]
    """Estimates of what is sent, by kind; "history" is charged only if the provider's figures are."""
    metering: str = ""
    overhead: int = 0
    price: Price | None = None
    reserved: int = 0
    answer_tokens: int = 0
    thinking_tokens: int = 0
    is_clamped: bool = False
    """The budget left no room for a longer answer."""
    timezone: str = "UTC"
    """The user's time zone: an exchange belongs to one of the user's days."""


def admit(exchange_id: UUID, asked: Terms, bounds: Bounds) -> Terms:
    """Reserve what an exchange may cost and record it. Call in write(). Returns its terms. Raises BudgetExceeded.

    asked.metering: the rule if the caller has one of its own; otherwise the site's.
    """
    metering = asked.metering or settings().metering
    metered = [tokens for kind, tokens in asked.estimates.items() if metering == "provider" or kind != "history"]
    reservation = ledger.reserve(
        asked.user_id,
        exchange_id,
        input_tokens=held_for_texts(sum(metered), settings().overhead_tokens),
        max_answer=bounds.most,
        min_answer=bounds.least,
    )
    thinking = min(bounds.held_thinking, max(bounds.least_thinking, reservation.answer_tokens - bounds.longest))
    answer = reservation.answer_tokens - thinking
    terms = replace(
        asked,
        metering=metering,
        overhead=settings().overhead_tokens,
        price=prices().at(asked.model, now().date()),
        reserved=reservation.tokens,
        answer_tokens=answer,
        thinking_tokens=thinking if metering == "provider" else bounds.thinking,
        is_clamped=answer < bounds.longest,
        timezone=reservation.timezone,
    )
    execute_core(EXCHANGES.insert(), _row(exchange_id, terms))
    return terms


def held_for_texts(estimated: int, overhead: int) -> int:
    """Return what to reserve for texts of this many estimated tokens: the estimate may be a little too low."""
    return -(-estimated * 105 // 100) + overhead


def bounds_of(model: str, thinking_tokens: int | None, metering: str) -> Bounds:
    """Return the bounds of an answer. Raises InvalidRequest if the model is not offered."""
    info = providers().model(model)
    longest = min(settings().max_output_tokens, info.max_output_tokens)
    thinking = info.thinking_tokens(thinking_tokens)
    # When the provider's figures are charged, thoughts are paid for: reserve them too, after the answer.
    held_thinking, least_thinking = (thinking, info.min_thinking_tokens) if metering == "provider" else (0, 0)
    return Bounds(longest, thinking, held_thinking, least_thinking)


def _row(exchange_id: UUID, terms: Terms) -> dict[str, object]:
    estimates = [Part(kind, tokens, "estimate").as_dict() for kind, tokens in terms.estimates.items()]
    return {
        "id": exchange_id,
        "user_id": terms.user_id,
        "purpose": terms.purpose,
        "chat_id": terms.chat_id,
        "model": terms.model,
        "owner": owner.me(),
        "metering": terms.metering,
        "price": terms.price.as_dict() if terms.price else None,
        "overhead_tokens": terms.overhead,
        "reserved_tokens": terms.reserved,
        "max_answer_tokens": terms.answer_tokens,
        "clamped_by_budget": terms.is_clamped,
        "parts": estimates,
    }
