"""The end of a turn, of whatever kind: count, then one transaction for answer, usage and ledger; then it is announced.

Whoever hears the end can read it in the database. Closing the turn's row is what makes it happen once: the process
that runs the turn, a stop and a recovery may all try.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask_babel import gettext as _
from sqlalchemy import bindparam, update

from chatapp.budget import ledger, pricing, records
from chatapp.budget.pricing import Price
from chatapp.budget.queries import usage_of
from chatapp.chats.models import Message
from chatapp.kernel.config import settings
from chatapp.kernel.database import execute, is_store_trouble, now, release, retry_write
from chatapp.kernel.errors import (
    BudgetExceeded,
    ChatAppError,
    ContentBlocked,
    EmptyAnswer,
    NotFound,
    ProviderError,
    ProviderInterrupted,
    ProviderTimeout,
)
from chatapp.kernel.extensions import db
from chatapp.providers.base import Usage
from chatapp.tokens.count import TokenCount, counter, weakest
from chatapp.turns.live.log import Ending
from chatapp.turns.models import CHANGE_CHAT, MESSAGES, TURNS, Turn

log = logging.getLogger(__name__)

NOBODY = UUID(int=0)

CLOSE = update(TURNS).where(TURNS.c.id == bindparam("turn"), TURNS.c.status == "in_progress")
SAVE = update(MESSAGES).where(MESSAGES.c.id == bindparam("message"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended, before it is counted. is_charged: the model may have worked."""

    status: str
    code: str | None = None
    message: str | None = None
    finish_reason: str | None = None
    is_charged: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn brought forth. usage is the provider's last word on it, None where it said nothing."""

    text: str
    thoughts: str = ""
    usage: Usage | None = None
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Bill:
    """A turn's figures in tokens. charged is at most what was held; excess is what came on top of that."""

    parts: dict[str, TokenCount]
    overhead: int
    total: int
    charged: int
    excess: int
    method: str
    cost_microusd: int | None = None
    """None where the price is unknown."""


def stopped() -> Outcome:
    return Outcome("stopped", "TURN_STOPPED", "The answer was stopped")


def out_of_budget() -> Outcome:
    return Outcome("stopped", BudgetExceeded.code, "Your token budget ran out while the model was answering", "length")


def interrupted() -> Outcome:
    return Outcome("interrupted", "TURN_INTERRUPTED", "The answer was interrupted. You can ask again")


def finished(text: str, finish_reason: str | None, is_clamped: bool) -> Outcome:
    """Judge an answer that the provider finished."""
    if not text:
        error: ProviderError = ContentBlocked() if finish_reason == "content_filter" else EmptyAnswer()
        return Outcome("failed", error.code, error.message, finish_reason)
    if finish_reason == "length" and is_clamped:
        return out_of_budget()
    return Outcome("completed", finish_reason=finish_reason)


def failed(error: Exception, text: str, *, was_heard: bool = True) -> Outcome:
    """Judge an answer that ended in an error.

    A provider that refused or was not reached costs nothing; one that broke off or fell silent may have worked.
    was_heard: something came from the model. A fault of ours before that costs nothing either.
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
    turn_id: UUID, answer: Answer, outcome: Outcome, *, facts: Facts | None = None, seconds: float = math.inf
) -> Ending | None:
    """Count the turn and close it. Returns the ending, or None where another closed it or nothing of it is left.

    facts: of a turn that was begun here. Tries until the database takes it, for at most that many seconds; then raises.
    """
    if facts is None:
        facts = retry_write(lambda: _facts(turn_id), seconds=seconds, passes=is_store_trouble)
        release()
    if facts is None:
        return None
    bill = _bill(facts, answer, outcome)
    ending = retry_write(
        lambda: _close(turn_id, facts, answer, outcome, bill), seconds=seconds, passes=is_store_trouble
    )
    if ending:
        _write_log_line(facts, answer, bill)
    return ending


@dataclass(frozen=True, slots=True)
class Facts:
    """What settling needs of a turn, as plain values: what held when it was sent."""

    chat_id: UUID
    user_id: UUID
    answer_id: UUID
    model: str
    metering: str
    question: str
    system_prompt: str
    overhead: int
    price: Price | None
    reserved: int = 0
    is_clamped: bool = False
    """The budget left no room for a longer answer."""


def _facts(turn_id: UUID) -> Facts | None:
    row = db.session.execute(
        db.select(Turn, Message.content).join(Message, Message.id == Turn.question_id).where(Turn.id == turn_id)
    ).one_or_none()
    if row is None:
        return None
    turn, question = row
    # As they were when it was sent: both may have been changed since.
    sent = {part["role"]: part for part in turn.sent or []}
    return Facts(
        turn.chat_id,
        turn.user_id,
        turn.answer_id,
        turn.model,
        turn.metering,
        question,
        sent.get("system", {}).get("text", ""),
        sent.get("overhead", {}).get("tokens", settings().overhead_tokens),
        pricing.from_dict(turn.price),
        turn.reserved_tokens,
        turn.clamped_by_budget,
    )


def _bill(facts: Facts, answer: Answer, outcome: Outcome) -> Bill:
    if not outcome.is_charged:
        return Bill({}, 0, 0, 0, 0, "estimate", 0 if facts.price else None)
    texts = {"user": facts.question, "answer": answer.text}
    parts = counter().count_all(facts.model, texts, facts.system_prompt)
    method: str = weakest(list(parts.values()))
    total = sum(part.tokens for part in parts.values()) + facts.overhead
    if facts.metering == "provider" and answer.usage is not None:
        total, method = answer.usage.total_tokens, "reported"
    charged = min(total, facts.reserved)
    return Bill(parts, facts.overhead, total, charged, total - charged, method, _cost(facts, answer, parts))


def _cost(facts: Facts, answer: Answer, parts: dict[str, TokenCount]) -> int | None:
    """Return what the provider will ask for it: by its own figures, else by what was counted."""
    if facts.price is None:
        return None
    counted = Usage(parts["user"].tokens + parts["system"].tokens, parts["answer"].tokens)
    return facts.price.cost_microusd(answer.usage or counted)


def _close(turn_id: UUID, facts: Facts, answer: Answer, outcome: Outcome, bill: Bill) -> Ending | None:
    usage, instant = _usage_json(facts, answer, outcome, bill), now()
    closing = {
        "turn": turn_id,
        "status": outcome.status,
        "error_code": outcome.code,
        "finish_reason": outcome.finish_reason,
        "ended_at": instant,
        "charged_tokens": bill.charged,
        "usage": usage,
        "reported": usage["reported"],
        "reported_tokens": answer.usage.total_tokens if answer.usage else None,
        "cost_microusd": bill.cost_microusd,
    }
    if execute(CLOSE, closing).rowcount != 1:
        return None
    budget = ledger.settle(facts.user_id, turn_id, facts.reserved, bill.charged)
    records.keep(_spent(turn_id, facts, answer, outcome, bill), instant, budget.timezone)
    final = {
        "message": facts.answer_id,
        "content": answer.text,
        "thoughts": answer.thoughts,
        "status": outcome.status,
        "tokens_consumed": bill.charged,
        "usage": usage,
    }
    execute(SAVE, final)
    execute(CHANGE_CHAT, {"chat": facts.chat_id, "updated_at": instant})
    return Ending(
        status=outcome.status,
        message_id=facts.answer_id,
        tokens_used=bill.charged,
        remaining_tokens=budget.remaining_tokens,
        method=bill.method,
        finish_reason=outcome.finish_reason,
        code=outcome.code,
        message=outcome.message,
    )


def _spent(turn_id: UUID, facts: Facts, answer: Answer, outcome: Outcome, bill: Bill) -> records.Spent:
    return records.Spent(
        turn_id=turn_id,
        user_id=facts.user_id,
        chat_id=facts.chat_id,
        model=facts.model,
        status=outcome.status,
        metering=facts.metering,
        method=bill.method,
        parts={name: count.tokens for name, count in bill.parts.items()} | {"overhead": bill.overhead},
        charged_tokens=bill.charged,
        reported=answer.usage,
        cost_microusd=bill.cost_microusd,
    )


def _usage_json(facts: Facts, answer: Answer, outcome: Outcome, bill: Bill) -> dict[str, Any]:
    reported = answer.usage
    return {
        **{f"{name}_tokens": count.tokens for name, count in bill.parts.items()},
        "overhead_tokens": bill.overhead,
        "total_tokens": bill.total,
        "charged_tokens": bill.charged,
        "excess_tokens": bill.excess,
        "method": bill.method,
        "methods": {name: count.method for name, count in bill.parts.items() if count.tokens},
        "metering": facts.metering,
        "finish_reason": outcome.finish_reason,
        "error_code": outcome.code,
        "error_message": outcome.message,
        "cost_microusd": bill.cost_microusd,
        "reported": None
        if reported is None
        else {
            "input_tokens": reported.input_tokens,
            "output_tokens": reported.output_tokens,
            "cached_tokens": reported.cached_tokens,
            "thoughts_tokens": reported.thoughts_tokens,
            "tool_tokens": reported.tool_tokens,
            "total_tokens": reported.total_tokens,
        },
    }


def stored_ending(turn_id: UUID) -> Ending | None:
    """Return how a turn ended as the database has it; None while it is open. Raises NotFound."""
    turn = db.session.get(Turn, turn_id, populate_existing=True)
    if turn is None:
        raise NotFound()
    if turn.is_open:
        return None
    return Ending(
        status=turn.status,
        message_id=turn.answer_id,
        tokens_used=turn.charged_tokens,
        remaining_tokens=usage_of(turn.user_id).remaining_tokens,
        method=(turn.usage or {}).get("method"),
        finish_reason=turn.finish_reason,
        code=turn.error_code,
        message=(turn.usage or {}).get("error_message") or _("The model could not finish this answer"),
    )


def stored_states(turn_ids: list[UUID]) -> dict[UUID, tuple[str, int, int]]:
    """Return turn → its status and how many characters of its answer and its thoughts the database has; those that
    are gone absent."""
    chars = (db.func.length(Message.content), db.func.length(Message.thoughts))
    found = db.select(Turn.id, Turn.status, *chars).join(Message, Message.id == Turn.answer_id)
    return {row[0]: (row[1], row[2], row[3]) for row in db.session.execute(found.where(Turn.id.in_(turn_ids)))}


def stored_answer(turn_id: UUID) -> Answer:
    """Return the answer as the database has it: the whole, or of an open turn the last checkpoint."""
    answer = db.select(Message.content, Message.thoughts).join(Turn, Turn.answer_id == Message.id)
    row = db.session.execute(answer.where(Turn.id == turn_id)).one_or_none()
    return Answer(*row) if row else Answer("")


def gone(answer_id: UUID = NOBODY) -> Ending:
    """The ending of a turn whose rows are gone: its chat or its user was deleted."""
    return unsaved(interrupted(), answer_id)


def unsaved(outcome: Outcome, answer_id: UUID) -> Ending:
    """The ending of a turn of which the database has none."""
    return Ending(outcome.status, answer_id, 0, 0, None, None, outcome.code, outcome.message)


def _write_log_line(facts: Facts, answer: Answer, bill: Bill) -> None:
    """Write the one structured line of an exchange. It holds no text."""
    counts = [part for part in bill.parts.values() if part.tokens]
    system = bill.parts.get("system")
    log.info(
        "Token calculation completed",
        extra={
            "chatId": str(facts.chat_id),
            "userId": str(facts.user_id),
            "text_tokens": sum(count.tokens for name, count in bill.parts.items() if name != "system"),
            "system_tokens": system.tokens if system else 0,
            "overhead_tokens": bill.overhead,
            "total_tokens": bill.total,
            "calculation_method": bill.method,
            "cache_hit": bool(counts) and all(count.is_cached for count in counts),
            "response_length": len(answer.text),
            "chunks_received": answer.chunks,
            "timestamp": now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        },
    )
