"""Names of our cookies. A cookie knows no port, so two products on one host must not share a name.

Each name ends in a digest of SECRET_KEY: processes that share the key share the cookies too. Over https the session's
and the known browser's names stay as they were, with the prefix that binds them to the host.
"""

from __future__ import annotations

import hashlib

from flask import Flask, current_app

EARLIER_SESSION = "session"


def named(kind: str, secret_key: str, *, is_https: bool) -> str:
    """Return the cookie's name: kind, and eight letters of this key's own where no https binds it."""
    if is_https:
        return f"__Host-{kind}"
    return f"{kind}-{hashlib.sha256(f'cookie names {secret_key}'.encode()).hexdigest()[:8]}"


def name(kind: str) -> str:
    app = current_app
    return named(kind, app.config["SECRET_KEY"], is_https=app.config["SESSION_COOKIE_SECURE"])


def session_names(app: Flask) -> list[str]:
    """Return the names under which a session may have come, ours first: logins outlive an upgrade and a new key."""
    own: str = app.config["SESSION_COOKIE_NAME"]
    if app.config["SESSION_COOKIE_SECURE"]:
        return [own]
    before = app.config["SECRET_KEY_FALLBACKS"] or ()
    return [own, *(named("session", key, is_https=False) for key in before), EARLIER_SESSION]
