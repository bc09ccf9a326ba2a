"""Settles answers whose process is gone, with the longest text that is known."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from uuid import UUID

from sqlalchemy import select

from chatapp.chats.models import Message
from chatapp.exchanges import recovery, settling
from chatapp.exchanges.models import Exchange
from chatapp.exchanges.settling import Produced
from chatapp.kernel.database import release
from chatapp.kernel.extensions import db
from chatapp.turns import endings
from chatapp.turns.live.log import Track
from chatapp.turns.models import Started, Turn

SETTLE_SECONDS = 10.0

LoggedText = Callable[[UUID, Track], str]


def settle_orphans(
    running: Collection[UUID], logged_text: LoggedText = lambda turn_id, track: "", *, trusts_leases: bool = True
) -> int:
    """Settle the turns and titles that no process is working on; return how many.

    running: this process's exchanges. logged_text: what the turn log still has of a turn. See exchanges/recovery.py.
    """
    return recovery.settle_orphans(running, partial(_settle, logged_text), trusts_leases=trusts_leases)


def _settle(logged_text: LoggedText, exchange_id: UUID, purpose: str) -> bool:
    if purpose == "answer":
        return _settle_answer(exchange_id, logged_text(exchange_id, "text"), logged_text(exchange_id, "thoughts"))
    return settling.settle(exchange_id, Produced(), settling.interrupted(), seconds=SETTLE_SECONDS) is not None


def _settle_answer(turn_id: UUID, logged: str, logged_thoughts: str) -> bool:
    """Settle with the longer of log and checkpoint: both are prefixes of the same text."""
    row = db.session.execute(
        select(
            Turn.chat_id,
            Turn.question_id,
            Turn.answer_id,
            Message.content,
            Message.thoughts,
            Exchange.stop_requested_at,
        )
        .join(Turn, Turn.answer_id == Message.id)
        .join(Exchange, Exchange.id == Turn.id)
        .where(Turn.id == turn_id)
    ).one_or_none()
    release()
    if row is None:
        # The chat is gone; charge what was sent.
        return settling.settle(turn_id, Produced(), settling.interrupted(), seconds=SETTLE_SECONDS) is not None
    outcome = settling.stopped() if row.stop_requested_at else settling.interrupted()
    produced = Produced(max(row.content, logged, key=len), max(row.thoughts, logged_thoughts, key=len))
    started = Started(turn_id, row.chat_id, row.question_id, row.answer_id)
    return endings.settle(started, produced, outcome, seconds=SETTLE_SECONDS) is not None
