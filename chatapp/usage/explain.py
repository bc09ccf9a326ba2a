"""Explains an exchange's cost from its records: what was sent, counted, reserved, charged and reported."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from chatapp.auth.models import User
from chatapp.budget import pricing
from chatapp.budget.models import LedgerEntry
from chatapp.budget.pricing import Price
from chatapp.chats.models import Chat, Message
from chatapp.exchanges.admission import held_for_texts
from chatapp.exchanges.models import Exchange, Part
from chatapp.kernel.errors import NotFound
from chatapp.kernel.extensions import db
from chatapp.turns.models import Turn

EXCERPT_CHARS = 90


@dataclass(frozen=True, slots=True)
class Sent:
    """One text that was sent to the model. tokens is the estimate made before sending."""

    role: str
    tokens: int
    excerpt: str
    is_history: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one exchange. Tokens throughout; cost in micro-dollars, None if the price is unknown."""

    turn: Turn
    exchange: Exchange
    chat: Chat
    parts: list[Part]
    sent: list[Sent]
    entries: list[LedgerEntry]
    price: Price | None

    @property
    def is_charged(self) -> bool:
        return bool(self.parts)

    @property
    def by_provider(self) -> bool:
        """METERING=provider was in force, and the provider did report."""
        return self.exchange.method == "reported"

    @property
    def history_tokens(self) -> int:
        return sum(text.tokens for text in self.sent if text.is_history)

    @property
    def held_for_texts_tokens(self) -> int:
        """The part of the reservation for texts and overhead; if unknown, everything except the answer."""
        if not self.sent:
            return self.exchange.reserved_tokens - self.exchange.max_answer_tokens
        charged = [text.tokens for text in self.sent if self.exchange.metering == "provider" or not text.is_history]
        return held_for_texts(sum(charged), self.exchange.overhead_tokens)

    @property
    def held_for_thoughts_tokens(self) -> int:
        return max(0, self.exchange.reserved_tokens - self.exchange.max_answer_tokens - self.held_for_texts_tokens)

    @property
    def reported(self) -> dict[str, int] | None:
        return self.exchange.reported

    @property
    def drift(self) -> float | None:
        """The count as a fraction of what the provider reported; None if it reported nothing."""
        return self.exchange.counted_tokens / self.exchange.reported_tokens if self.exchange.reported_tokens else None

    @property
    def rest_tokens(self) -> int:
        """The difference to the provider's figure that history and thoughts do not explain."""
        explained = self.history_tokens + (self.reported or {}).get("thoughts_tokens", 0)
        return (self.exchange.reported_tokens or 0) - self.exchange.counted_tokens - explained


def explain(user: User, answer_id: UUID) -> Explanation:
    """Explain a user's settled exchange, given its answer. Raises NotFound."""
    row = db.session.execute(
        select(Turn, Chat)
        .join(Chat, Chat.id == Turn.chat_id)
        .where(
            Turn.answer_id == answer_id,
            ~Turn.is_open,
            Chat.user_id == user.id,
            Chat.deleted_at.is_(None),
        )
        .order_by(Turn.started_at.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise NotFound()
    turn, chat = row
    exchange = turn.exchange
    entries = select(LedgerEntry).where(LedgerEntry.exchange_id == turn.id).order_by(LedgerEntry.id)
    return Explanation(
        turn=turn,
        exchange=exchange,
        chat=chat,
        parts=[Part(part["kind"], part["tokens"], part["method"]) for part in exchange.parts],
        sent=_sent(turn),
        entries=list(db.session.scalars(entries)),
        price=pricing.from_dict(exchange.price),
    )


def _sent(turn: Turn) -> list[Sent]:
    """Return what was sent to the model, oldest first; with the texts as they are now, empty if deleted."""
    sent = turn.sent or []
    ids = [UUID(part["message_id"]) for part in sent if part.get("message_id")]
    found = select(Message.id, db.func.substr(Message.content, 1, EXCERPT_CHARS + 1)).where(Message.id.in_(ids))
    texts: dict[str, str] = {str(message_id): start for message_id, start in db.session.execute(found)}
    return [
        Sent(
            role=part["role"],
            tokens=part["tokens"],
            excerpt=_excerpt(part.get("text") or texts.get(part.get("message_id", ""), "")),
            is_history=part["role"] != "system" and part.get("message_id") != str(turn.question_id),
        )
        for part in sent
        if part["role"] != "overhead" and (part["tokens"] or part["role"] != "system")
    ]


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(text) <= EXCERPT_CHARS else line[:EXCERPT_CHARS].rstrip() + "…"
