"""What nobody looks after any more: turns whose process is gone, chats that were deleted, and accounts that were.

A turn belongs to a process by a lease: a heartbeat by the database's clock. Whoever finds one that has run out claims
it, marks the answer interrupted and settles it; of those that find it at once, one gets it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, delete, select, update

from chatapp.auth.models import User
from chatapp.chats import indexing
from chatapp.chats.models import Chat, Message
from chatapp.kernel.breath import give_way
from chatapp.kernel.database import database_now, is_store_trouble, release, retry_write, write
from chatapp.kernel.extensions import db
from chatapp.turns import owner, settle
from chatapp.turns.live.log import Part
from chatapp.turns.models import Turn
from chatapp.turns.settle import Answer

log = logging.getLogger(__name__)

# Three heartbeats. Only for owners on other hosts: of a process here it is known whether it lives.
LEASE = timedelta(seconds=15)
SETTLE_SECONDS = 10.0
PURGE_AFTER = timedelta(hours=1)
PURGED_AT_ONCE = 50
# Long enough for a living process to do it itself; two that do it at once are in nobody's way.
FINISH_AFTER = timedelta(minutes=5)
ROWS_AT_ONCE = 200


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


def purge_deleted_chats() -> int:
    """Remove chats that were deleted long enough ago, a few at a time; return how many. Their entries in the ledger
    stay. A chat that is still answering waits for its end."""
    open_turn = select(Turn.id).where(Turn.chat_id == Chat.id, Turn.status == "in_progress").exists()
    found = select(Chat.id).where(Chat.deleted_at < database_now() - PURGE_AFTER, ~open_turn).limit(PURGED_AT_ONCE)
    ids = list(db.session.scalars(found))
    release()
    for chat_id in ids:
        _remove_messages(Message.chat_id == chat_id)
        retry_write(partial(db.session.execute, delete(Chat).where(Chat.id == chat_id)))
    return len(ids)


def finish_deletions() -> int:
    """Remove the people whose deletion its process did not live to finish; return how many."""
    ids = list(db.session.scalars(select(User.id).where(User.deleted_at < database_now() - FINISH_AFTER)))
    release()
    for user_id in ids:
        remove_user(user_id)
    return len(ids)


def remove_user(user_id: UUID) -> None:
    """Remove a user, and before them their chats and messages and what the search knows of them."""
    _remove_messages(Message.chat_id.in_(select(Chat.id).where(Chat.user_id == user_id)))
    indexing.forget(user_id)
    retry_write(lambda: db.session.execute(delete(User).where(User.id == user_id)))


def _remove_messages(which: ColumnElement[bool]) -> None:
    """Remove messages a few at a time: one cascade would hold the lock for seconds."""
    while retry_write(lambda: _remove_some(which)):
        give_way()


def _remove_some(which: ColumnElement[bool]) -> int:
    """Remove some messages; return how many. Let go of each other first: databases follow a branch only so deep."""
    ids = list(db.session.scalars(select(Message.id).where(which).limit(ROWS_AT_ONCE)))
    if ids:
        db.session.execute(update(Message).where(Message.parent_id.in_(ids)).values(parent_id=None))
        db.session.execute(delete(Message).where(Message.id.in_(ids)))
    return len(ids)


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
