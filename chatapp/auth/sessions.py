"""Authentication by login cookie or personal key, and the CSRF check on every write.

The signed cookie holds a random token; the database holds its digest (LoginSession). Signing out ends the row, so a
copied cookie is worthless afterwards. A login's age is read from its row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import wraps
from typing import Any, NoReturn

from flask import Flask, Request, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_babel import gettext as _
from flask_login import current_user, login_required
from flask_wtf.csrf import CSRFError, generate_csrf
from itsdangerous import BadSignature
from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from chatapp.auth import old_pages, tries
from chatapp.auth.models import ApiKey, Identity, LoginSession, User
from chatapp.kernel.config import settings
from chatapp.kernel.cookies import session_names
from chatapp.kernel.database import write
from chatapp.kernel.errors import Forbidden, Unauthenticated
from chatapp.kernel.extensions import csrf, db, login_manager
from chatapp.kernel.origins import is_bearer
from chatapp.kernel.security_log import note

__all__ = ["Identity", "browser_required", "identity", "init_app", "is_good", "lifetimes", "sign_in", "sign_out"]

logger = logging.getLogger(__name__)

TOKEN = "login"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
# Built once: every open stream runs these repeatedly.
IN_FORCE = {
    kind: select(table.id).join(User).where(table.id == bindparam("row"), over.is_(None), User.is_enabled)
    for kind, table, over in (("login", LoginSession, LoginSession.ended_at), ("key", ApiKey, ApiKey.revoked_at))
}


class CookieInterface(SecureCookieSessionInterface):
    """Signed cookies whose timestamp isn't checked: otherwise a clock that is set back would sign everybody out."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        signer = self.get_signing_serializer(app)
        if signer is None:
            return None
        for name in session_names(app):
            # Another application's cookie of this name doesn't carry our signature.
            with suppress(BadSignature):
                return self.session_class(signer.loads(request.cookies.get(name, "")))
        return self.session_class()


def init_app(app: Flask) -> None:
    app.session_interface = CookieInterface()
    # A late response to an old page must not restore the cookie that a sign-in has just replaced.
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    # Flask-Login's own cookies are not used; another application on this host may set one of this name.
    app.config["REMEMBER_COOKIE_NAME"] = ""
    login_manager.session_protection = None
    login_manager.request_loader(_load_user)
    login_manager.unauthorized_handler(_refuse)
    app.before_request(_guard)
    app.jinja_env.globals["form_is_stale"] = old_pages.is_stale


def sign_in(user: User) -> None:
    """Start a login in this browser. Nothing of the previous session survives, neither its login nor its CSRF token."""
    user_id, failed = user.id, tries.forget_seen(user.email)
    before = session.get(TOKEN)
    with write():
        if before and (old := LoginSession.by_token(before, *lifetimes())):
            old.end()
        LoginSession.forget_old(user_id, *lifetimes())
        token = LoginSession.begin(user, request.headers.get("User-Agent", ""), failed)
    note("sign-in", user=user_id)
    _empty_session()
    session[TOKEN] = token
    session.permanent = True
    # Generated once, here: pages loading in parallel would each make one, and the last cookie would win.
    generate_csrf()


def sign_out() -> None:
    """End this browser's login on the server and clear its session."""
    if current_user.is_authenticated and current_user.login:
        note("sign-out")
        current_user.login.end()
    _empty_session()


def identity(user: User | None = None) -> Identity:
    """Return how the user authenticated, as plain values for is_good."""
    found: Identity | None = (user or current_user).identity
    if found is None:
        raise Unauthenticated()
    return found


def is_good(identity: Identity) -> bool:
    """Return whether a login or key is still valid: not ended or revoked, user enabled.

    For open streams, so age doesn't end them. If the database doesn't respond, the stream continues and the next
    heartbeat checks again. Uses a short-lived connection of its own.
    """
    kind, row_id = identity
    try:
        with db.engine.connect() as connection:
            return connection.execute(IN_FORCE[kind], {"row": row_id}).first() is not None
    except SQLAlchemyError as error:
        logger.warning("Could not check a login: %s", type(error).__name__)
        return True


def lifetimes() -> tuple[timedelta, timedelta]:
    """Return a login's maximum age and maximum idle time."""
    return timedelta(days=settings().login_days), timedelta(days=settings().login_idle_days)


def browser_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """Allow only a signed-in browser: a leaked key must not create more keys or change the account."""

    @wraps(view)
    @login_required
    def guarded(*args: Any, **values: Any) -> Any:
        if current_user.login is None:
            raise Forbidden(_("An API key can’t do this. Sign in with a browser"))
        return view(*args, **values)

    return guarded


def _load_user(request: Request) -> User | None:
    """Load the user once per request. After a failure, the error page is rendered as signed out."""
    if g.get("user_is_unknown"):
        return None
    try:
        key = _bearer()
        if key is not None:
            return _by_key(key)
        # Programs come with a key; no page of another site can have a browser spend there.
        return None if request.path.startswith("/v1/") else _by_login(session.get(TOKEN))
    except SQLAlchemyError:
        g.user_is_unknown = True
        raise


def _bearer() -> str | None:
    """Return the key that was sent, even an invalid one: it must not fall back to the cookie."""
    return request.headers["Authorization"].partition(" ")[2].strip() if is_bearer() else None


def _by_key(text: str) -> User | None:
    key = ApiKey.by_key(text)
    if key is None:
        return None
    user = key.user
    user.identity = ("key", key.id)
    _touch(key)
    return user


def _by_login(token: Any) -> User | None:
    login = LoginSession.by_token(token, *lifetimes()) if isinstance(token, str) else None
    if login is None:
        return None
    user = login.user
    user.login, user.identity = login, ("login", login.id)
    _touch(login)
    return user


def _touch(seen: LoginSession | ApiKey) -> None:
    """Record the use. A full or read-only database must not prevent reading."""
    try:
        seen.touch()
    except SQLAlchemyError as error:
        logger.warning("Could not record the use of a login: %s", type(error).__name__)


def _refuse() -> NoReturn:
    raise Unauthenticated()


def _guard() -> None:
    """Check the CSRF token of every write, except with a key: no page can make a browser send one.

    Sign-in and sign-out forms may be older than their cookie: see old_pages.
    """
    if request.method in SAFE_METHODS or request.endpoint is None:
        return
    if request.path.startswith(("/api/", "/v1/")) and not current_user.is_authenticated:
        raise Unauthenticated()
    if _bearer() is not None and current_user.is_authenticated:
        return
    try:
        csrf.protect()
    except CSRFError:
        if not old_pages.let_pass():
            raise


def _empty_session() -> None:
    session.clear()
    g.pop("csrf_token", None)
