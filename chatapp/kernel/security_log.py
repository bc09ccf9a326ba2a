"""One line for each event of security: who signed in, what was made or revoked, what was refused.

A line names the event, the account it is about, who did it, from which address and in which request. It holds no email,
password, key, link or cookie. The command line writes none: who may run it reads the database as well.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from flask import g, has_request_context, request
from sqlalchemy import inspect

logger = logging.getLogger("chatapp.security")


def note(event: str, *, user: UUID | None = None, is_suspect: bool = False, **facts: Any) -> None:
    """Write the line of an event, such as "sign-in". user: whom it is about, where that is not who did it.

    is_suspect: it may be an attack, and is a warning.
    """
    if not has_request_context():
        return
    line = {"event": event, "actor": _actor(), "address": request.remote_addr, "requestId": g.get("request_id")}
    if user is not None:
        line["user"] = user
    logger.log(logging.WARNING if is_suspect else logging.INFO, "Security: %s", event, extra=line | facts)


def _actor() -> UUID | None:
    """Return the signed-in user's id without asking the database, which may have just failed."""
    user = g.get("_login_user")
    state = inspect(user, raiseerr=False) if user is not None else None
    return state.identity[0] if state is not None and getattr(state, "identity", None) else None
