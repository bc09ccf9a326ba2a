"""The end of an exchange: count, then one transaction for its row, the ledger and what its caller saves.

Closing the row is what makes it happen once: the process that runs the exchange, a stop and a recovery may all try.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from chatapp.auth.models import User
from chatapp.budget import ledger, pricing
from chatapp.exchanges.admission import Terms
from chatapp.exchanges.models import CLOSE, Exchange, Part
from chatapp.kernel.database import execute_core, is_store_trouble, now, release, retry_write
from chatapp.kernel.errors import (
    BudgetExceeded,
    ChatAppError,
    ContentBlocked,
    EmptyAnswer,
    ProviderError,
    ProviderInterrupted,
    ProviderTimeout,
)
from chatapp.kernel.extensions import db
from chatapp.kernel.zones import zone
from chatapp.providers.base import Usage
from chatapp.tokens.count import TokenCount, counter, weakest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended, before it is counted. is_charged: the model may have done some work."""

    status: str
    code: str | None = None
    message: str | None = None
    finish_reason: str | None = None
    is_charged: bool = True


@dataclass(frozen=True, slots=True)
class Produced:
    """The model's output. usage: the provider's last figures, None if it gave none."""

    text: str = ""
    thoughts: str = ""
    usage: Usage | None = None
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Bill:
    """An exchange's figures in tokens. charged is at most what was reserved."""

    parts: tuple[Part, ...]
    counted: int
    total: int
    charged: int
    method: str
    cost_microusd: int | None = None
    """None if the price is unknown."""
    is_cached: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """How an exchange ended, as stored in the database. code and message are None if it completed."""

    status: str
    charged_tokens: int
    remaining_tokens: int
    method: str
    finish_reason: str | None
    code: str | None
    message: str | None
    ended_at: datetime


def stopped() -> Outcome:
    return Outcome("stopped", "TURN_STOPPED", "The answer was stopped")


def out_of_budget() -> Outcome:
    return Outcome("stopped", BudgetExceeded.code, "Your token budget ran out while the model was answering", "length")


def interrupted() -> Outcome:
    return Outcome("interrupted", "TURN_INTERRUPTED", "The answer was interrupted. You can ask again")


def finished(text: str, finish_reason: str | None, is_clamped: bool) -> Outcome:
    """Return the outcome of an answer that the provider finished."""
    if not text:
        error: ProviderError = ContentBlocked() if finish_reason == "content_filter" else EmptyAnswer()
        return Outcome("failed", error.code, error.message, finish_reason)
    if finish_reason == "length" and is_clamped:
        return out_of_budget()
    return Outcome("completed", finish_reason=finish_reason)


def failed(error: Exception, text: str, *, was_heard: bool = True) -> Outcome:
    """Return the outcome of an answer that ended in an error.

    A provider that refused or was not reached costs nothing; one that broke off or went silent may have done some work.
    was_heard: something came from the model. An error of ours before that costs nothing either.
    """
    if not isinstance(error, ChatAppError):
        error = ChatAppError()
    if isinstance(error, ContentBlocked):
        return Outcome("failed", error.code, error.message, "content_filter")
    if not isinstance(error, ProviderError):
        return Outcome("failed", error.code, error.message, is_charged=was_heard or bool(text))
    was_reached = isinstance(error, (ProviderInterrupted, EmptyAnswer)) or (
        isinstance(error, ProviderTimeout) and not error.can_retry
    )
    if text or was_reached:
        return Outcome("failed" if isinstance(error, EmptyAnswer) else "interrupted", error.code, error.message)
    return Outcome("failed", error.code, error.message, is_charged=False)


def settle(
    exchange_id: UUID,
    produced: Produced,
    outcome: Outcome,
    *,
    terms: Terms | None = None,
    texts: Callable[[], dict[str, str]] = dict,
    save: Callable[[Settled], object] | None = None,
    seconds: float = math.inf,
) -> Settled | None:
    """Count an exchange and close it. Returns how it ended; None if it was already closed or no longer exists.

    terms: if it was admitted here; otherwise they are read again, with the texts from texts() if those still exist.
    save: what the caller writes in the same transaction. Retries until the database accepts it, for at most `seconds`;
    then raises.
    """
    if terms is None:
        terms = retry_write(lambda: stored_terms(exchange_id, texts), seconds=seconds, passes=is_store_trouble)
        release()
    if terms is None:
        return None
    bill = _bill(terms, produced, outcome)
    settled = retry_write(
        lambda: _close(exchange_id, terms, produced, outcome, bill, save), seconds=seconds, passes=is_store_trouble
    )
    if settled:
        _write_log_line(terms, produced, bill, settled)
    return settled


def stored_terms(exchange_id: UUID, texts: Callable[[], dict[str, str]] = dict) -> Terms | None:
    """Return an open exchange's terms from the database; None if it is gone."""
    row = db.session.execute(
        select(Exchange, User.timezone).join(User, User.id == Exchange.user_id).where(Exchange.id == exchange_id)
    ).one_or_none()
    if row is None:
        return None
    found = row.Exchange
    return Terms(
        purpose=found.purpose,
        user_id=found.user_id,
        chat_id=found.chat_id,
        model=found.model,
        texts=texts(),
        estimates={part["kind"]: part["tokens"] for part in found.parts},
        metering=found.metering,
        overhead=found.overhead_tokens,
        price=pricing.from_dict(found.price),
        reserved=found.reserved_tokens,
        answer_tokens=found.max_answer_tokens,
        is_clamped=found.clamped_by_budget,
        timezone=row.timezone,
    )


def _bill(terms: Terms, produced: Produced, outcome: Outcome) -> Bill:
    if not outcome.is_charged:
        return Bill((), 0, 0, 0, "estimate", 0 if terms.price else None)
    counts = _counts(terms, produced)
    parts = (*(Part(kind, count.tokens, count.method) for kind, count in counts.items()), _overhead(terms))
    counted = total = sum(part.tokens for part in parts)
    method: str = weakest(list(counts.values()))
    if terms.metering == "provider" and produced.usage is not None:
        total, method = produced.usage.total_tokens, "reported"
    said = [count for count in counts.values() if count.tokens]
    is_cached = bool(said) and all(count.is_cached for count in said)
    charged = min(total, terms.reserved)
    return Bill(parts, counted, total, charged, method, _cost(terms, produced, counts), is_cached)


def _counts(terms: Terms, produced: Produced) -> dict[str, TokenCount]:
    """Count the question and the answer. For texts that are gone, use the estimates they were admitted with."""
    if not terms.texts:
        asked = {kind: TokenCount(terms.estimates.get(kind, 0), "estimate") for kind in ("question", "system")}
        # Of a call whose process is gone, the last estimate of its answer is noted with the others.
        answer = TokenCount(terms.estimates.get("answer", 0), "estimate")
        return {**asked, "answer": counter().count(terms.model, produced.text) if produced.text else answer}
    texts = {"question": terms.texts["question"], "answer": produced.text}
    return dict(counter().count_all(terms.model, texts, terms.texts["system"]))


def _overhead(terms: Terms) -> Part:
    return Part("overhead", terms.overhead, "fixed")


def _cost(terms: Terms, produced: Produced, counts: dict[str, TokenCount]) -> int | None:
    """Return what the provider will charge: by its own figures if it gave any, otherwise by our counts."""
    if terms.price is None:
        return None
    counted = Usage(counts["question"].tokens + counts["system"].tokens, counts["answer"].tokens)
    return terms.price.cost_microusd(produced.usage or counted)


def _close(
    exchange_id: UUID,
    terms: Terms,
    produced: Produced,
    outcome: Outcome,
    bill: Bill,
    save: Callable[[Settled], object] | None,
) -> Settled | None:
    instant, reported = now(), produced.usage
    closing = {
        "exchange": exchange_id,
        "status": outcome.status,
        "error_code": outcome.code,
        "error_message": outcome.message,
        "finish_reason": outcome.finish_reason,
        "ended_at": instant,
        "day": instant.astimezone(zone(terms.timezone)).date(),
        "parts": [part.as_dict() for part in bill.parts],
        "counted_tokens": bill.counted,
        "charged_tokens": bill.charged,
        "method": bill.method,
        "reported_input_tokens": reported and reported.input_tokens,
        "reported_cached_tokens": reported and reported.cached_tokens,
        "reported_output_tokens": reported and reported.output_tokens,
        "reported_thoughts_tokens": reported and reported.thoughts_tokens,
        "reported_tool_tokens": reported and reported.tool_tokens,
        "reported_tokens": reported and reported.total_tokens,
        "cost_microusd": bill.cost_microusd,
    }
    if execute_core(CLOSE, closing).rowcount != 1:
        return None
    budget = ledger.settle(terms.user_id, exchange_id, terms.reserved, bill.charged)
    settled = Settled(
        outcome.status,
        bill.charged,
        budget.remaining_tokens,
        bill.method,
        outcome.finish_reason,
        outcome.code,
        outcome.message,
        instant,
    )
    if save is not None:
        save(settled)
    return settled


def _write_log_line(terms: Terms, produced: Produced, bill: Bill, settled: Settled) -> None:
    """Write the one structured line of an exchange. It holds no text."""
    tokens = {part.kind: part.tokens for part in bill.parts}
    logger.info(
        "Token calculation completed",
        extra={
            "chatId": str(terms.chat_id),
            "userId": str(terms.user_id),
            "text_tokens": tokens.get("question", 0) + tokens.get("answer", 0),
            "system_tokens": tokens.get("system", 0),
            "overhead_tokens": tokens.get("overhead", 0),
            "total_tokens": bill.total,
            "calculation_method": bill.method,
            "cache_hit": bill.is_cached,
            "response_length": len(produced.text),
            "chunks_received": produced.chunks,
            "timestamp": settled.ended_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        },
    )
