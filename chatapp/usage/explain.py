"""Why an exchange cost what it cost: what was sent, counted, held, charged and reported, from what was kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from chatapp.auth.models import User
from chatapp.budget import pricing
from chatapp.budget.models import LedgerEntry
from chatapp.budget.pricing import Price
from chatapp.chats.models import Chat, Message
from chatapp.kernel.errors import NotFound
from chatapp.kernel.extensions import db
from chatapp.turns.models import Turn

EXCERPT_CHARS = 90


@dataclass(frozen=True, slots=True)
class Part:
    """One addend of the formula, with the method that counted it; "fixed" for the overhead."""

    name: str
    tokens: int
    method: str


@dataclass(frozen=True, slots=True)
class Sent:
    """One text that the model was shown. tokens is the estimate that was made before sending."""

    role: str
    tokens: int
    excerpt: str
    is_history: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything about one exchange. Tokens throughout; cost in micro-dollars, None where the price is unknown."""

    turn: Turn
    chat: Chat
    parts: list[Part]
    counted_tokens: int
    total_tokens: int
    excess_tokens: int
    sent: list[Sent]
    overhead_tokens: int
    entries: list[LedgerEntry]
    price: Price | None

    @property
    def is_charged(self) -> bool:
        return bool(self.parts)

    @property
    def by_provider(self) -> bool:
        """The rule in force was METERING=provider, and the provider did report."""
        return (self.turn.usage or {}).get("method") == "reported"

    @property
    def history_tokens(self) -> int:
        return sum(text.tokens for text in self.sent if text.is_history)

    @property
    def held_for_texts_tokens(self) -> int:
        """The part of the reservation that was for texts and overhead; all but the answer where that is not known."""
        if not self.sent:
            return self.turn.reserved_tokens - self.turn.max_answer_tokens
        charged = [text.tokens for text in self.sent if self.turn.metering == "provider" or not text.is_history]
        return -(-sum(charged) * 105 // 100) + self.overhead_tokens

    @property
    def held_for_thoughts_tokens(self) -> int:
        return max(0, self.turn.reserved_tokens - self.turn.max_answer_tokens - self.held_for_texts_tokens)

    @property
    def reported(self) -> dict[str, int] | None:
        return self.turn.reported

    @property
    def drift(self) -> float | None:
        """What was counted, as a share of what the provider reported; None where it reported nothing."""
        return self.counted_tokens / self.turn.reported_tokens if self.turn.reported_tokens else None

    @property
    def rest_tokens(self) -> int:
        """What is left of the difference to the provider's figure after history and thoughts."""
        explained = self.history_tokens + (self.reported or {}).get("thoughts_tokens", 0)
        return (self.turn.reported_tokens or 0) - self.counted_tokens - explained


def explain(user: User, answer_id: UUID) -> Explanation:
    """Explain a user's exchange that has ended, by its answer. Raises NotFound."""
    row = db.session.execute(
        select(Turn, Chat)
        .join(Chat, Chat.id == Turn.chat_id)
        .where(
            Turn.answer_id == answer_id,
            Turn.ended_at.is_not(None),
            Chat.user_id == user.id,
            Chat.deleted_at.is_(None),
        )
        .order_by(Turn.started_at.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise NotFound()
    turn, chat = row
    usage = turn.usage or {}
    parts = _parts(usage)
    entries = select(LedgerEntry).where(LedgerEntry.turn_id == turn.id).order_by(LedgerEntry.id)
    return Explanation(
        turn=turn,
        chat=chat,
        parts=parts,
        counted_tokens=sum(part.tokens for part in parts),
        total_tokens=usage.get("total_tokens", 0),
        excess_tokens=usage.get("excess_tokens", 0),
        sent=_sent(turn),
        overhead_tokens=sum(part["tokens"] for part in turn.sent or [] if part["role"] == "overhead"),
        entries=list(db.session.scalars(entries)),
        price=pricing.from_dict(turn.price),
    )


def _parts(usage: dict[str, Any]) -> list[Part]:
    """Return the addends; none where nothing is charged, because the model was not reached."""
    if "user_tokens" not in usage:
        return []
    methods = usage.get("methods") or {}
    counted = [
        Part(name, usage.get(f"{name}_tokens") or 0, methods.get(name, "")) for name in ("user", "answer", "system")
    ]
    return [*counted, Part("overhead", usage.get("overhead_tokens") or 0, "fixed")]


def _sent(turn: Turn) -> list[Sent]:
    """Return what the model was shown, oldest first; the texts as they are now, empty where one is gone."""
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
