"""The language and time zone of a response, and the translation catalogues.

The source texts are English. translations/ holds one text file per language; `make translations` updates them. They
are compiled in memory, once per process, so nothing has to be built and nothing can be out of date.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import localedata
from babel.dates import format_skeleton
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask import Flask, has_request_context, request
from flask_babel import Domain, format_datetime, format_time, get_locale, to_user_timezone
from flask_login import current_user
from sqlalchemy.exc import SQLAlchemyError

from chatapp.kernel.extensions import babel
from chatapp.kernel.zones import zone

LOCALES = {"en": "English", "de": "Deutsch"}
# Letters as in GB, or digits as in 001. Scripts have four letters, variants more.
REGION = re.compile(r"[a-z]{2}|[0-9]{3}")
FOLDER = Path(__file__).parent / "translations"


def init_app(app: Flask) -> None:
    babel.domain_instance = Catalogues()
    babel.init_app(app, locale_selector=locale, timezone_selector=timezone)
    app.jinja_env.filters["dayformat"] = format_day
    app.jinja_env.filters["momentformat"] = format_moment


class Catalogues(Domain):
    """The texts in the request's language, for gettext and its variants."""

    def get_translations(self) -> NullTranslations:
        locale = get_locale()
        return catalogue(locale.language if locale else "en")


@cache
def catalogue(language: str) -> NullTranslations:
    """Read a language's texts. Untranslated texts stay in English."""
    path = FOLDER / language / "LC_MESSAGES/messages.po"
    if not path.exists():
        return NullTranslations()
    with path.open("rb") as source:
        texts = read_po(source, locale=language)
    compiled = BytesIO()
    write_mo(compiled, texts)
    compiled.seek(0)
    return Translations(compiled)


def locale() -> str | None:
    """Return the user's language, otherwise the browser's first choice, with the browser's region: en_GB.

    None outside a request. Texts follow the language; dates and numbers follow the region. The API always answers in
    English, whatever the user's language, because programs compare texts.
    """
    if not has_request_context():
        return None
    if request.path.startswith(("/api/", "/v1/")):
        return "en"
    language = _of_user("locale") or _of_browser()
    return _with_region(language)


def timezone() -> str | None:
    """Return the user's time zone; None means the default."""
    name = _of_user("timezone") if has_request_context() else None
    return zone(name).key if name else None


def format_day(instant: date, skeleton: str = "MMMMd") -> str:
    """Return a day as people write it: December 1, 1. Dezember. skeleton: its parts as a Unicode CLDR skeleton."""
    local = to_user_timezone(instant) if isinstance(instant, datetime) else instant
    return str(format_skeleton(skeleton, local, locale=get_locale() or "en"))


def format_moment(instant: datetime) -> str:
    """Return the time of day, with the date unless it is today."""
    is_today = to_user_timezone(instant).date() == to_user_timezone(datetime.now(UTC)).date()
    return str(format_time(instant, "short") if is_today else format_datetime(instant, "short"))


def _of_browser() -> str:
    """Return the first requested language that is available. A request for en-GB before de means English."""
    asked = (tag.partition("-")[0].lower() for tag, quality in request.accept_languages if quality > 0)
    return next((language for language in asked if language in LOCALES), "en")


def _with_region(language: str) -> str:
    """Return a language with the first region that the browser names for it and that Babel knows."""
    for tag, quality in request.accept_languages:
        first, *more = tag.lower().split("-")
        region = next((part.upper() for part in more if REGION.fullmatch(part)), "")
        if first == language and quality > 0 and region:
            name = f"{language}_{region}"
            return name if localedata.exists(name) else language
    return language


def _of_user(name: str) -> str | None:
    """Read a preference. Error pages must be rendered in some language even if the database is down."""
    try:
        return getattr(current_user, name, None)
    except SQLAlchemyError:
        return None
