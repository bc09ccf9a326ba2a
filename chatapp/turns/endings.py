"""How an answer ends: its exchange is settled and, in the same transaction, its message, chat and turn are saved.

By the time listeners hear the end, it is in the database.
"""

from __future__ import annotations

import math
from uuid import UUID

from flask_babel import gettext as _
from sqlalchemy import select

from chatapp.budget.queries import usage_of
from chatapp.chats.models import CHANGE_CHAT, SAVE_MESSAGE, Message
from chatapp.exchanges import settling
from chatapp.exchanges.admission import Terms
from chatapp.exchanges.settling import Outcome, Produced, Settled
from chatapp.kernel.database import execute_core
from chatapp.kernel.errors import NotFound
from chatapp.kernel.extensions import db
from chatapp.turns.live.log import Ending
from chatapp.turns.models import CLOSE_TURN, Started, Turn

NOBODY = UUID(int=0)


def settle(
    started: Started, produced: Produced, outcome: Outcome, *, terms: Terms | None = None, seconds: float = math.inf
) -> Ending | None:
    """Settle a turn; None if it was already settled or no longer exists. terms: if the turn was started here.

    Retries until the database accepts it, for at most `seconds`; then raises.
    """

    def save(settled: Settled) -> None:
        message = {"content": produced.text, "thoughts": produced.thoughts, "status": settled.status}
        execute_core(SAVE_MESSAGE, {"message": started.answer_id, **message})
        execute_core(CHANGE_CHAT, {"chat": started.chat_id, "updated_at": settled.ended_at})
        execute_core(CLOSE_TURN, {"turn": started.turn_id, "is_open": False})

    settled = settling.settle(
        started.turn_id,
        produced,
        outcome,
        terms=terms,
        texts=lambda: _texts(started.turn_id),
        save=save,
        seconds=seconds,
    )
    return _ending(settled, started.answer_id) if settled else None


def _texts(turn_id: UUID) -> dict[str, str]:
    """Return the question and the instructions as sent; empty if they are gone."""
    row = db.session.execute(
        select(Turn.sent, Message.content).join(Message, Message.id == Turn.question_id).where(Turn.id == turn_id)
    ).one_or_none()
    if row is None:
        return {}
    system = next((part.get("text", "") for part in row.sent or [] if part["role"] == "system"), "")
    return {"question": row.content, "system": system}


def stored(turn_id: UUID) -> Ending | None:
    """Return how a turn ended, from the database; None while it is open. Raises NotFound."""
    turn = db.session.get(Turn, turn_id, populate_existing=True)
    if turn is None:
        raise NotFound()
    if turn.is_open:
        return None
    exchange = turn.exchange
    return Ending(
        status=exchange.status,
        message_id=turn.answer_id,
        tokens_used=exchange.charged_tokens,
        remaining_tokens=usage_of(turn.user_id).remaining_tokens,
        method=exchange.method,
        finish_reason=exchange.finish_reason,
        code=exchange.error_code,
        message=exchange.error_message or _("The model couldn’t finish this answer"),
    )


def stored_states(turn_ids: list[UUID]) -> dict[UUID, tuple[str, int, int]]:
    """Return each turn's status and the stored lengths of its answer and its thoughts in characters; deleted turns are
    left out."""
    chars = (db.func.length(Message.content), db.func.length(Message.thoughts))
    found = select(Turn.id, Message.status, *chars).join(Message, Message.id == Turn.answer_id)
    return {row[0]: (row[1], row[2], row[3]) for row in db.session.execute(found.where(Turn.id.in_(turn_ids)))}


def stored_answer(turn_id: UUID) -> Produced:
    """Return the stored answer: all of it or, for an open turn, the last checkpoint."""
    answer = select(Message.content, Message.thoughts).join(Turn, Turn.answer_id == Message.id)
    row = db.session.execute(answer.where(Turn.id == turn_id)).one_or_none()
    return Produced(*row) if row else Produced()


def gone(answer_id: UUID = NOBODY) -> Ending:
    """Return the ending for a turn whose rows are gone because its chat or user was deleted."""
    return unsaved(settling.interrupted(), answer_id)


def unsaved(outcome: Outcome, answer_id: UUID) -> Ending:
    """Return the ending for a turn that has none in the database."""
    return Ending(outcome.status, answer_id, 0, 0, None, None, outcome.code, outcome.message)


def _ending(settled: Settled, answer_id: UUID) -> Ending:
    return Ending(
        status=settled.status,
        message_id=answer_id,
        tokens_used=settled.charged_tokens,
        remaining_tokens=settled.remaining_tokens,
        method=settled.method,
        finish_reason=settled.finish_reason,
        code=settled.code,
        message=settled.message,
    )
