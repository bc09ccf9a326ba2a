"""Every process offers the models that are connected, at most CHECK_SECONDS after a change anywhere."""

from __future__ import annotations

import logging
import time

from flask import current_app, request
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from chatapp.connections.models import Connection, Kind
from chatapp.kernel.config import Settings, settings
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers, providers

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
# Answered without the database.
UNCHECKED = ("static", "favicon", "health.alive", "health.ready", None)


class Watch:
    """What this process knows of the stored connections: when it last looked, and what it saw."""

    def __init__(self) -> None:
        self.looked_at = float("-inf")
        self.seen: list[tuple[object, ...]] = []


def is_set_by_environment(kind: Kind) -> bool:
    return bool((settings().gemini_api_key or "").strip() if kind == "gemini" else settings().openai_base_url)


def check() -> None:
    """Before a request: look whether anything has changed, now and then. A database that is down changes nothing."""
    if request.endpoint not in UNCHECKED and time.monotonic() >= _watch().looked_at + CHECK_SECONDS:
        look()


def look() -> None:
    """Use what is stored, if the database says what that is."""
    _watch().looked_at = time.monotonic()
    try:
        refresh()
    except SQLAlchemyError as error:
        logger.warning("Connections could not be read: %s", type(error).__name__)
        db.session.rollback()


def refresh() -> None:
    """Use what is stored now."""
    rows = db.session.execute(select(Connection.kind, Connection.changed_at).order_by(Connection.kind))
    seen = [tuple(row) for row in rows]
    if seen == _watch().seen:
        return
    _watch().seen = seen
    try:
        providers().become(Providers.from_settings(connected()))
    except ValueError as error:
        # For example, DEFAULT_MODEL names a model that nothing connected offers.
        logger.warning("The connections cannot be used: %s", error)
        return
    providers().warm_up()
    logger.info("Connections in use: %s", ", ".join(str(kind) for kind, _ in seen) or "none")


def _watch() -> Watch:
    found: Watch = current_app.extensions["connections"]
    return found


def connected() -> Settings:
    """Return the settings with what is stored, where the environment says nothing."""
    found = settings()
    for connection in db.session.scalars(select(Connection)):
        if connection.has_lost_key:
            logger.warning("The stored key for %s can no longer be read: SECRET_KEY has changed", connection.kind)
        elif not is_set_by_environment(connection.kind):  # type: ignore[arg-type]
            found = found.model_copy(update=connection.as_settings())
    return found
