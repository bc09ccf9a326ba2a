"""Who is asking: a login's cookie or a personal key, and the CSRF check of everything that writes.

The signed cookie holds a random token, the database its digest (LoginSession): signing out ends the row, so a copied
cookie is worth nothing afterwards. How long a login lives is read from its row.
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
# Asked by every open stream, again and again: made once.
IN_FORCE = {
    kind: select(table.id).join(User).where(table.id == bindparam("row"), over.is_(None), User.is_enabled)
    for kind, table, over in (("login", LoginSession, LoginSession.ended_at), ("key", ApiKey, ApiKey.revoked_at))
}


class CookieInterface(SecureCookieSessionInterface):
    """Signed cookies that no clock can refuse: a signature "from the future" would sign everybody out."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        signer = self.get_signing_serializer(app)
        if signer is None:
            return None
        for name in session_names(app):
            # What another product has left under such a name has no signature of ours.
            with suppress(BadSignature):
                return self.session_class(signer.loads(request.cookies.get(name, "")))
        return self.session_class()


def init_app(app: Flask) -> None:
    app.session_interface = CookieInterface()
    # A late answer of an old page must not put back the cookie that a sign-in has just replaced.
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    # Flask-Login's own cookies are not used; another application on this host may set one of this name.
    app.config["REMEMBER_COOKIE_NAME"] = ""
    login_manager.session_protection = None
    login_manager.request_loader(_load_user)
    login_manager.unauthorized_handler(_refuse)
    app.before_request(_guard)
    app.jinja_env.globals["form_is_stale"] = old_pages.is_stale


def sign_in(user: User) -> None:
    """Begin a login in this browser. Nothing of the session before survives, neither its login nor its CSRF token."""
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
    # Made here, once: pages that load side by side would each make one, and the last cookie would win.
    generate_csrf()


def sign_out() -> None:
    """End this browser's login on the server, and forget it here."""
    if current_user.is_authenticated and current_user.login:
        note("sign-out")
        current_user.login.end()
    _empty_session()


def identity(user: User | None = None) -> Identity:
    """Return what the user came with, in plain values, for is_good."""
    found: Identity | None = (user or current_user).identity
    if found is None:
        raise Unauthenticated()
    return found


def is_good(identity: Identity) -> bool:
    """Say whether a login or key is still in force: not ended or revoked, its user enabled.

    For streams that are open: an age that runs out does not end them. Where the database does not answer they go on,
    and the next heartbeat asks again. It uses a connection of its own, for a moment.
    """
    kind, row_id = identity
    try:
        with db.engine.connect() as connection:
            return connection.execute(IN_FORCE[kind], {"row": row_id}).first() is not None
    except SQLAlchemyError as error:
        logger.warning("A login could not be checked: %s", type(error).__name__)
        return True


def lifetimes() -> tuple[timedelta, timedelta]:
    """Return how old a login may become and how long it may lie idle."""
    return timedelta(days=settings().login_days), timedelta(days=settings().login_idle_days)


def browser_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let only a signed-in browser in: a key that leaked must not make further keys or change the account."""

    @wraps(view)
    @login_required
    def guarded(*args: Any, **values: Any) -> Any:
        if current_user.login is None:
            raise Forbidden(_("A personal key cannot do this. Sign in with a browser"))
        return view(*args, **values)

    return guarded


def _load_user(request: Request) -> User | None:
    """Find the user once for each request. After a failure the error page is drawn for nobody."""
    if g.get("user_is_unknown"):
        return None
    try:
        key = _bearer()
        return _by_key(key) if key is not None else _by_login(session.get(TOKEN))
    except SQLAlchemyError:
        g.user_is_unknown = True
        raise


def _bearer() -> str | None:
    """Return the key that was sent. One that is wrong counts too: it must not fall back to the cookie."""
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
    """Note the use. A store that is full or read-only must not keep anybody from reading."""
    try:
        seen.touch()
    except SQLAlchemyError as error:
        logger.warning("The use of a login could not be noted: %s", type(error).__name__)


def _refuse() -> NoReturn:
    raise Unauthenticated()


def _guard() -> None:
    """Check the CSRF token of every write but those that come with a key: no page can make a browser send one.

    Forms that lead in or out may be older than their cookie: see old_pages.
    """
    if request.method in SAFE_METHODS or request.endpoint is None:
        return
    if request.path.startswith("/api/") and not current_user.is_authenticated:
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
