"""Exchanges whose process is gone.

A process holds an exchange by a lease: a heartbeat on the database's clock. A process that finds an expired lease
claims the exchange and settles it as interrupted; if several find it at once, one succeeds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import timedelta
from uuid import UUID

from sqlalchemy import CursorResult, select, update

from chatapp.exchanges import owner
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import database_now, is_store_trouble, release, write
from chatapp.kernel.extensions import db

logger = logging.getLogger(__name__)

# Three heartbeats. Only for owners on other hosts: on this host we know whether the process is alive.
LEASE = timedelta(seconds=15)

Settler = Callable[[UUID, str], bool]
"""Settles an exchange by its id and purpose; returns whether it did."""


def settle_orphans(running: Collection[UUID], settle_one: Settler, *, trusts_leases: bool = True) -> int:
    """Settle the open exchanges that no process is working on; return how many.

    running: this process's exchanges. trusts_leases: the database has responded for a while. After an outage every
    lease has expired, even those of live processes, which get to renew them first.
    """
    settled = 0
    for exchange_id, purpose, old_owner in _orphans(running, trusts_leases):
        try:
            if _claim(exchange_id, old_owner):
                settled += settle_one(exchange_id, purpose)
                logger.info("Settled an orphaned exchange", extra={"turnId": str(exchange_id)})
        except Exception as error:
            if is_store_trouble(error):
                raise
            # One that cannot be settled must not block the others.
            logger.exception("Could not settle an orphaned exchange", extra={"turnId": str(exchange_id)})
    return settled


def _orphans(running: Collection[UUID], trusts_leases: bool) -> list[tuple[UUID, str, str]]:
    is_late = (Exchange.heartbeat_at < database_now() - LEASE).label("is_late")
    found = select(Exchange.id, Exchange.purpose, Exchange.owner, is_late).where(Exchange.status == "in_progress")
    rows = db.session.execute(found).all()
    release()
    return [
        (row.id, row.purpose, row.owner)
        for row in rows
        if row.id not in running and _is_abandoned(row.owner, row.is_late and trusts_leases)
    ]


def _is_abandoned(name: str, is_late: bool) -> bool:
    """Return whether no process is running an exchange that this process is not running."""
    if name == owner.me():
        return is_late
    is_gone = owner.is_gone(name)
    return is_late if is_gone is None else is_gone


def _claim(exchange_id: UUID, old_owner: str) -> bool:
    """Take over an exchange; of several processes that try, one succeeds."""
    with write() as session:
        result = session.execute(
            update(Exchange)
            .where(Exchange.id == exchange_id, Exchange.owner == old_owner, Exchange.status == "in_progress")
            .values(owner=owner.me(), heartbeat_at=database_now())
            .execution_options(synchronize_session=False)
        )
        assert isinstance(result, CursorResult)
        return result.rowcount == 1
