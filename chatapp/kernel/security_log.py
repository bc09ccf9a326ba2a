"""One line for each security event: sign-ins, what was created or revoked, and what was rejected.

A line names the event, the account concerned, the actor, the address and the request. It contains no email, password,
key, link or cookie. The command line logs nothing: anyone who can run it can also read the database.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from flask import g, has_request_context, request
from sqlalchemy import inspect

logger = logging.getLogger("chatapp.security")


def note(event: str, *, user: UUID | None = None, is_suspect: bool = False, **facts: Any) -> None:
    """Log an event, such as "sign-in". user: the account concerned, if it is not the actor's.

    is_suspect: it may be an attack; logged as a warning.
    """
    if not has_request_context():
        return
    line = {"event": event, "actor": _actor(), "address": request.remote_addr, "requestId": g.get("request_id")}
    if user is not None:
        line["user"] = user
    logger.log(logging.WARNING if is_suspect else logging.INFO, "Security: %s", event, extra=line | facts)


def _actor() -> UUID | None:
    """Return the signed-in user's id without querying the database, which may have just failed."""
    user = g.get("_login_user")
    state = inspect(user, raiseerr=False) if user is not None else None
    return state.identity[0] if state is not None and getattr(state, "identity", None) else None
