"""Turns whose process is gone: found, marked interrupted, settled once by whoever claims them first."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import CursorResult, select, update

from chatapp.chats.models import Message
from chatapp.database import database_now, release, write
from chatapp.extensions import db
from chatapp.turns import owner, settle
from chatapp.turns.models import Turn
from chatapp.turns.settle import Answer

log = logging.getLogger(__name__)

# Six heartbeats. Only for owners on other hosts: of a process here it is known whether it lives.
LEASE = timedelta(seconds=30)
SETTLE_SECONDS = 20.0


def settle_orphans(running: set[UUID], logged_text: Callable[[UUID], str] = lambda turn_id: "") -> int:
    """Settle the open turns that nobody works on; return how many.

    running: the turns of this process. logged_text: what the turn log still has of a turn's text.
    """
    settled = 0
    for turn_id, old_owner in _orphans(running):
        if _claim(turn_id, old_owner):
            settled += _settle(turn_id, logged_text(turn_id))
    return settled


def _orphans(running: set[UUID]) -> list[tuple[UUID, str]]:
    rows = db.session.execute(
        select(Turn.id, Turn.owner, Turn.heartbeat_at < database_now() - LEASE).where(Turn.status == "in_progress")
    ).all()
    release()
    return [
        (turn_id, name) for turn_id, name, is_late in rows if turn_id not in running and _is_abandoned(name, is_late)
    ]


def _is_abandoned(name: str, is_late: bool) -> bool:
    """Say whether a turn that this process is not running has nobody else who runs it."""
    if name == owner.me():
        return is_late
    is_gone = owner.is_gone(name)
    return is_late if is_gone is None else is_gone


def _claim(turn_id: UUID, old_owner: str) -> bool:
    """Take a turn over; one of the processes that try gets it."""
    with write() as session:
        result = session.execute(
            update(Turn)
            .where(Turn.id == turn_id, Turn.owner == old_owner, Turn.status == "in_progress")
            .values(owner=owner.me(), heartbeat_at=database_now())
            .execution_options(synchronize_session=False)
        )
        assert isinstance(result, CursorResult)
        return result.rowcount == 1


def _settle(turn_id: UUID, logged: str) -> int:
    """Settle with the longer of log and checkpoint: both are beginnings of the same text."""
    row = db.session.execute(
        select(Message.content, Message.thoughts, Turn.stop_requested_at)
        .join(Turn, Turn.answer_id == Message.id)
        .where(Turn.id == turn_id)
    ).one_or_none()
    release()
    if row is None:
        return 0
    outcome = settle.stopped() if row.stop_requested_at else settle.interrupted()
    ending = settle.settle(
        turn_id, Answer(max(row.content, logged, key=len), row.thoughts), outcome, seconds=SETTLE_SECONDS
    )
    log.info("Settled an orphaned turn", extra={"turnId": str(turn_id)})
    return int(ending is not None)
