"""Names of our cookies. Cookies ignore the port, so two applications on one host must not share a name.

Each name ends in a digest of SECRET_KEY, so processes that share the key share the cookies. Over https the names of
the session and device cookies have no digest but the __Host- prefix, which binds them to the host.
"""

from __future__ import annotations

import hashlib

from flask import Flask, current_app

EARLIER_SESSION = "session"


def named(kind: str, secret_key: str, *, is_https: bool) -> str:
    """Return the cookie's name: the kind, plus eight characters derived from the key unless https binds it."""
    if is_https:
        return f"__Host-{kind}"
    return f"{kind}-{hashlib.sha256(f'cookie names {secret_key}'.encode()).hexdigest()[:8]}"


def name(kind: str) -> str:
    app = current_app
    return named(kind, app.config["SECRET_KEY"], is_https=app.config["SESSION_COOKIE_SECURE"])


def session_names(app: Flask) -> list[str]:
    """Return the names a session cookie may have, ours first: logins survive an upgrade and a new key."""
    own: str = app.config["SESSION_COOKIE_NAME"]
    if app.config["SESSION_COOKIE_SECURE"]:
        return [own]
    before = app.config["SECRET_KEY_FALLBACKS"] or ()
    return [own, *(named("session", key, is_https=False) for key in before), EARLIER_SESSION]
