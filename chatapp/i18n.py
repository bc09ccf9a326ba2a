"""Which language and which time zone an answer is written in."""

from __future__ import annotations

from flask import has_request_context, request
from flask_login import current_user
from sqlalchemy.exc import SQLAlchemyError

LOCALES = {"en": "English", "de": "Deutsch"}


def locale() -> str | None:
    """Return the user's language, else the best that the browser asks for; None outside a request."""
    if not has_request_context():
        return None
    return _of_user("locale") or _of_browser()


def timezone() -> str | None:
    """Return the user's time zone; None means the default."""
    return _of_user("timezone") if has_request_context() else None


def _of_browser() -> str:
    """Return the first language that is asked for and spoken here. Who asks for en-GB before de wants English."""
    asked = (tag.partition("-")[0].lower() for tag, quality in request.accept_languages if quality > 0)
    return next((language for language in asked if language in LOCALES), "en")


def _of_user(name: str) -> str | None:
    """Read a preference. An error page is drawn in some language even where the database is down."""
    try:
        return getattr(current_user, name, None)
    except SQLAlchemyError:
        return None
