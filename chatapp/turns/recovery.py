"""Turns whose process is gone.

A turn belongs to a process by a lease: a heartbeat by the database's clock. Whoever finds one that has run out claims
it, marks the answer interrupted and settles it; of those that find it at once, one gets it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from sqlalchemy import CursorResult, select, update

from chatapp.chats.models import Message
from chatapp.kernel.database import database_now, is_store_trouble, release, write
from chatapp.kernel.extensions import db
from chatapp.turns import owner, settle
from chatapp.turns.live.log import Part
from chatapp.turns.models import Turn
from chatapp.turns.settle import Answer

log = logging.getLogger(__name__)

# Three heartbeats. Only for owners on other hosts: of a process here it is known whether it lives.
LEASE = timedelta(seconds=15)
SETTLE_SECONDS = 10.0


def settle_orphans(
    running: set[UUID],
    logged_text: Callable[[UUID, Part], str] = lambda turn_id, part: "",
    *,
    trusts_leases: bool = True,
) -> int:
    """Settle the open turns that nobody works on; return how many.

    running: the turns of this process. logged_text: what the turn log still has of a turn. trusts_leases: the
    database has answered for a while. After an outage every lease has run out, of the living too: they come first.
    """
    settled = 0
    for turn_id, old_owner in _orphans(running, trusts_leases):
        try:
            if _claim(turn_id, old_owner):
                settled += _settle(turn_id, logged_text(turn_id, "text"), logged_text(turn_id, "thoughts"))
        except Exception as error:
            if is_store_trouble(error):
                raise
            # One turn that cannot be settled must not keep the others from it.
            log.exception("An orphaned turn could not be settled", extra={"turnId": str(turn_id)})
    return settled


def _orphans(running: set[UUID], trusts_leases: bool) -> list[tuple[UUID, str]]:
    is_late = (Turn.heartbeat_at < database_now() - LEASE).label("is_late")
    rows = db.session.execute(select(Turn.id, Turn.owner, is_late).where(Turn.status == "in_progress")).all()
    release()
    return [
        (row.id, row.owner)
        for row in rows
        if row.id not in running and _is_abandoned(row.owner, row.is_late and trusts_leases)
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


def _settle(turn_id: UUID, logged: str, logged_thoughts: str) -> int:
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
    answer = Answer(max(row.content, logged, key=len), max(row.thoughts, logged_thoughts, key=len))
    ending = settle.settle(turn_id, answer, outcome, seconds=SETTLE_SECONDS)
    log.info("Settled an orphaned turn", extra={"turnId": str(turn_id)})
    return int(ending is not None)
