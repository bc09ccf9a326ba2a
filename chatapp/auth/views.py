"""Signing in and out, coming in by a link, and the account page."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from sqlalchemy import update

from chatapp.auth import accounts, invitations, passwords, sessions
from chatapp.auth.forms import ChangePasswordForm, KeyForm, NewAccountForm, PreferencesForm, RegisterForm, SignInForm
from chatapp.auth.models import ApiKey, LoginSession, User, digest
from chatapp.auth.sessions import browser_required, lifetimes
from chatapp.database import execute, write
from chatapp.errors import InvalidRequest, NotFound, Unavailable
from chatapp.extensions import limiter
from chatapp.services import settings
from chatapp.web import is_htmx, redirect_to, uuid_or_404

bp = Blueprint("auth", __name__)

MAX_KEYS = 50
THEME_COOKIE = "theme"
A_YEAR_SECONDS = 365 * 24 * 3600
# A path of this site: one slash, then visible ASCII without a backslash, which browsers take for a slash.
PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,499}")


def safe_next(target: str | None) -> str:
    """Return where to go after signing in: a path of this site, or the start page for anything else."""
    return target if target and PATH.fullmatch(target) else url_for("chats.index")


# Limits. What is counted is a digest: a store of counters need not know who signs in.


def _address() -> str:
    """Return the caller's address; of IPv6 the network, because one household has 2^64 of them."""
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return request.remote_addr or "unknown"
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def _account() -> str:
    return digest(request.form.get("email", "").strip().lower())[:32]


def _account_at_address() -> str:
    return f"{_account()}@{_address()}"


def _user() -> str:
    return str(current_user.id)


def _few() -> str:
    return f"{settings().sign_ins_per_minute} per minute"


def _many() -> str:
    return f"{settings().sign_ins_per_minute * 10} per minute"


def _has_failed(response: Any) -> bool:
    return response.status_code == 401


# Tries for one account from one address are few, so nobody is locked out by what somebody does elsewhere. One address
# trying many accounts, and many addresses trying one account, are bounded ten times higher.
limit_tries = limiter.limit(_few, key_func=_account_at_address)
limit_addresses = limiter.limit(_many, key_func=_address, deduct_when=_has_failed)
limit_accounts = limiter.limit(_many, key_func=_account, deduct_when=_has_failed)
# These cost a hash each.
limit_newcomers = limiter.shared_limit(_few, scope="newcomers", key_func=_address)
limit_changes = limiter.limit(_few, key_func=_user)


def _forgive() -> None:
    """Take back the tries that led to a success. Where the store is down they are forgotten in a minute anyway."""
    for limit in limiter.current_limits:
        if limit.limit.amount == settings().sign_ins_per_minute:
            with suppress(Exception):
                limit.limiter.clear(limit.limit, *limit.request_args)


# Signing in and out


@bp.get("/login")
def show_sign_in() -> ResponseReturnValue:
    target = safe_next(request.args.get("next"))
    if current_user.is_authenticated:
        return redirect(target, 303)
    return _sign_in_page(SignInForm(next=target))


@bp.post("/login")
@limit_tries
@limit_addresses
@limit_accounts
def sign_in() -> ResponseReturnValue:
    form = SignInForm()
    if not form.validate():
        return _sign_in_page(form), 422
    if not _try(form.email.data, form.password.data):
        form.password.errors = [_("The email or the password is not right")]
        return _sign_in_page(form), 401
    _forgive()
    return redirect(safe_next(form.next.data), 303)


def _try(email: str, password: str) -> bool:
    """Begin the login where the password is right, and make an old hash anew."""
    known = _hash_of(email)
    if not passwords.matches(known, password):
        return False
    if not _let_in(email, known):
        # Another tab may have made the hash anew meanwhile.
        newer = _hash_of(email)
        return newer != known and passwords.matches(newer, password) and _let_in(email, newer)
    if known and passwords.is_outdated(known):
        _renew_hash(known, password)
    return True


def _hash_of(email: str) -> str | None:
    user = User.by_email(email)
    return user.password_hash if user else None


def _let_in(email: str, password_hash: str | None) -> bool:
    """Begin the login, unless the account was shut or its password changed while the hash was made."""
    user = User.by_email(email)
    if user is None or not user.is_enabled or user.password_hash != password_hash:
        return False
    sessions.sign_in(user)
    return True


def _renew_hash(known: str, password: str) -> None:
    """Replace a hash by one made in today's way. Where too many wait for hashes, the next sign-in does it."""
    with suppress(Unavailable):
        renewed = passwords.make_hash(password)
        with write():
            execute(update(User).where(User.password_hash == known).values(password_hash=renewed))


def _sign_in_page(form: SignInForm) -> str:
    is_new = not accounts.exist()
    return render_template(
        "auth/sign_in.html", form=form, is_new=is_new, is_open=settings().signup == "open" and not is_new
    )


@bp.post("/logout")
def sign_out() -> ResponseReturnValue:
    sessions.sign_out()
    return redirect_to("auth.show_sign_in")


# Coming in


@bp.get("/register")
def show_register() -> ResponseReturnValue:
    _require_open()
    return render_template("auth/register.html", form=RegisterForm())


@bp.post("/register")
@limit_newcomers
def register() -> ResponseReturnValue:
    """Make an account. The answer is the same for an email that has one: who is here is nobody's business."""
    _require_open()
    form = RegisterForm()
    if not form.validate():
        return render_template("auth/register.html", form=form), 422
    password_hash = passwords.make_hash(form.password.data)
    with suppress(accounts.EmailTaken), write():
        accounts.create(form.email.data, password_hash, timezone=form.zone)
    flash(_("If this email had no account yet, it has one now. Sign in with it."), "message")
    return redirect_to("auth.show_sign_in")


def _require_open() -> None:
    if settings().signup != "open":
        raise NotFound(_("This site takes new people by invitation only"))
    # The first account is the administrator's, and its link is good as long as there is none.
    if not accounts.exist():
        raise NotFound(_("This site is not set up yet"))


@bp.get("/invitations/<token>")
def show_invitation(token: str) -> ResponseReturnValue:
    invitation = invitations.read(token)
    return render_template("auth/invitation.html", form=NewAccountForm(invitation.email), invitation=invitation)


@bp.post("/invitations/<token>")
@limit_newcomers
def accept_invitation(token: str) -> ResponseReturnValue:
    invitation = invitations.read(token)
    form = NewAccountForm(invitation.email)
    if not form.validate():
        return render_template("auth/invitation.html", form=form, invitation=invitation), 422
    password_hash = passwords.make_hash(form.password.data)
    with write():
        user = accounts.create(
            invitation.email,
            password_hash,
            is_admin=invitation.is_admin,
            limit=invitation.limit,
            timezone=form.zone,
        )
    sessions.sign_in(user)
    return redirect_to("chats.index")


@bp.get("/setup/<token>")
def show_setup(token: str) -> ResponseReturnValue:
    invitations.check_setup(token)
    return render_template("auth/setup.html", form=RegisterForm())


@bp.post("/setup/<token>")
@limit_newcomers
def set_up(token: str) -> ResponseReturnValue:
    invitations.check_setup(token)
    form = RegisterForm()
    if not form.validate():
        return render_template("auth/setup.html", form=form), 422
    user = accounts.create_first(form.email.data, passwords.make_hash(form.password.data), form.zone)
    sessions.sign_in(user)
    return redirect_to("chats.index")


# The account page


@bp.get("/account")
@browser_required
def account() -> ResponseReturnValue:
    return account_page()


def account_page(**parts: Any) -> str:
    """Draw the page, with a form that was refused or a key that was made in the place of what stands there."""
    user_id = current_user.id
    return render_template(
        "account/show.html",
        **{
            "password_form": ChangePasswordForm(current_user.email),
            "key_form": KeyForm(),
            "preferences_form": _preferences(),
            "defaults_form": None,
            "logins": LoginSession.open_of(user_id, *lifetimes()),
            "login_id": current_user.identity[1],
            "keys": ApiKey.in_force_of(user_id),
            "new_key": None,
        }
        | parts,
    )


@bp.post("/account/password")
@browser_required
@limit_changes
def change_password() -> ResponseReturnValue:
    form = ChangePasswordForm(current_user.email)
    if not form.validate():
        return account_page(password_form=form), 422
    user_id, login_id, known = current_user.id, current_user.identity[1], current_user.password_hash
    if not passwords.matches(known, form.current_password.data):
        form.current_password.errors = [_("This is not your password")]
        return account_page(password_form=form), 422
    password_hash = passwords.make_hash(form.password.data)
    with write() as session:
        user = session.get(User, user_id)
        if user is None or user.password_hash != known:
            raise InvalidRequest(_("The password was changed elsewhere. Try again"))
        user.password_hash = password_hash
        LoginSession.end_all(user_id, but=login_id)
    flash(_("The password is changed. All other browsers are signed out."), "message")
    return redirect_to("auth.account")


@bp.post("/account/sessions/<login_id>/end")
@browser_required
def end_session(login_id: str) -> ResponseReturnValue:
    login = LoginSession.for_user(current_user, uuid_or_404(login_id, NotFound))
    if login.id == current_user.identity[1]:
        return sign_out()
    login.end()
    flash(_("That browser is signed out."), "message")
    return redirect_to("auth.account")


@bp.post("/account/sessions/end-others")
@browser_required
def end_other_sessions() -> ResponseReturnValue:
    with write():
        LoginSession.end_all(current_user.id, but=current_user.identity[1])
    flash(_("All other browsers are signed out."), "message")
    return redirect_to("auth.account")


@bp.get("/account/keys")
@browser_required
def show_keys() -> ResponseReturnValue:
    """Lead back to the page, from the address at which a new key was shown."""
    return redirect_to("auth.account", _anchor="keys")


@bp.post("/account/keys")
@browser_required
@limit_changes
def create_key() -> ResponseReturnValue:
    form = KeyForm()
    if not form.validate():
        return account_page(key_form=form), 422
    if len(ApiKey.in_force_of(current_user.id)) >= MAX_KEYS:
        form.key_name.errors = [_("You have %(count)s keys. Revoke one first", count=MAX_KEYS)]
        return account_page(key_form=form), 422
    with write():
        key = ApiKey.issue(current_user, (form.key_name.data or "").strip())
    # Not redirected: this answer is the only place where the key is ever seen.
    return account_page(key_form=KeyForm(formdata=None), new_key=key)


@bp.post("/account/keys/<key_id>/revoke")
@browser_required
def revoke_key(key_id: str) -> ResponseReturnValue:
    ApiKey.for_user(current_user, uuid_or_404(key_id, NotFound)).revoke()
    flash(_("The key is revoked."), "message")
    return redirect_to("auth.account")


@bp.post("/account/preferences")
@browser_required
def save_preferences() -> ResponseReturnValue:
    form = _preferences()
    if not form.validate():
        return account_page(preferences_form=form), 422
    with write():
        current_user.timezone = form.timezone.data
        current_user.locale = form.locale.data or None
    return _with_theme(_saved(), form.theme.data)


def _preferences() -> PreferencesForm:
    theme = request.cookies.get(THEME_COOKIE, "system")
    return PreferencesForm(
        data={"timezone": current_user.timezone, "locale": current_user.locale or "", "theme": theme}
    )


def _saved() -> Response:
    """The switch for the theme stands on every page and returns to the one it was pressed on."""
    if is_htmx():
        return make_response("", 204)
    if "timezone" in request.form:
        flash(_("Saved."), "message")
        return redirect_to("auth.account")
    came_from = urlsplit(request.referrer or "")
    path = f"{came_from.path}?{came_from.query}" if came_from.query else came_from.path
    return make_response("", 303, {"Location": safe_next(path if came_from.netloc == request.host else None)})


def _with_theme(response: Response, theme: str) -> Response:
    # Not HttpOnly: the switch on the page sets it too, and a script cannot replace a cookie that is.
    response.set_cookie(THEME_COOKIE, theme, A_YEAR_SECONDS, secure=settings().is_https, samesite="Lax")
    return response
