"""Signing in and out, registration, invitations and setup."""

from __future__ import annotations

import re
from contextlib import suppress

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from sqlalchemy import update

from chatapp.auth import accounts, invitations, passwords, sessions, tries
from chatapp.auth.forms import NewAccountForm, RegisterForm, SignInForm
from chatapp.auth.invitations import Invitation
from chatapp.auth.limits import forgive, limit_accounts, limit_addresses, limit_newcomers, limit_tries
from chatapp.auth.models import User, canonical_email
from chatapp.auth.old_pages import is_stale, may_be_old
from chatapp.kernel.config import settings
from chatapp.kernel.database import execute_core, write
from chatapp.kernel.errors import CsrfFailed, NotFound, Unavailable
from chatapp.kernel.security_log import note
from chatapp.kernel.web import forget_storage, redirect_to

bp = Blueprint("auth", __name__)

# A path of this site: one slash, then visible ASCII without a backslash, which browsers treat as a slash.
PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,499}")


def safe_next(target: str | None) -> str:
    """Return where to go after signing in: a path of this site, or the start page for anything else."""
    return target if target and PATH.fullmatch(target) else url_for("conversation.index")


# Signing in and out


@bp.get("/login")
def show_sign_in() -> ResponseReturnValue:
    target = safe_next(request.args.get("next"))
    if current_user.is_authenticated:
        return redirect(target, 303)
    return _sign_in_page(SignInForm(next=target))


def _sign_in_again() -> ResponseReturnValue:
    form = SignInForm()
    return _go_on(form) if _is_in_already(form.email.data) else (_sign_in_page(form), 403)


@bp.post("/login")
@may_be_old(_sign_in_again)
@limit_tries
@limit_addresses
@limit_accounts
def sign_in() -> ResponseReturnValue:
    form = SignInForm()
    if is_stale() and _is_in_already(form.email.data):
        return _go_on(form)
    if not form.validate():
        return _sign_in_page(form), 422
    tries.check(form.email.data)
    if not _try(form.email.data, form.password.data):
        tries.fail(form.email.data)
        form.password.errors = [_("Wrong email or password")]
        return _sign_in_page(form), 401
    forgive()
    return _welcome(_go_on(form), form.email.data)


def _go_on(form: SignInForm) -> Response:
    return make_response("", 303, {"Location": safe_next(form.next.data)})


def _welcome(response: Response, email: str) -> Response:
    """Remember this browser. Clear what a different user left in it; the user's own drafts stay."""
    if tries.is_somebody_new(email):
        forget_storage(response)
    tries.know_this_browser(response, email)
    return response


def _is_in_already(email: str | None) -> bool:
    """Return whether this browser is already signed in with this email, through another tab."""
    return current_user.is_authenticated and current_user.email == canonical_email(email or "")


def _try(email: str, password: str) -> bool:
    """Log in if the password is correct, and renew an outdated hash."""
    known = _hash_of(email)
    if not passwords.matches(known, password):
        return False
    if not _let_in(email, known):
        # Another tab may have renewed the hash meanwhile.
        newer = _hash_of(email)
        return newer != known and passwords.matches(newer, password) and _let_in(email, newer)
    if known and passwords.is_outdated(known):
        _renew_hash(email, known, password)
    return True


def _hash_of(email: str) -> str | None:
    user = User.by_email(email)
    return user.password_hash if user else None


def _let_in(email: str, password_hash: str | None) -> bool:
    """Log in, unless the account was disabled or its password changed during hashing."""
    user = User.by_email(email)
    if user is None or not user.is_enabled or user.password_hash != password_hash:
        return False
    sessions.sign_in(user)
    return True


def _renew_hash(email: str, known: str, password: str) -> None:
    """Replace a hash with a current one. If the hashing queue is full, leave it to the next sign-in."""
    with suppress(Unavailable):
        renewed = passwords.make_hash(password)
        with write():
            is_theirs = User.email == canonical_email(email), User.password_hash == known
            execute_core(update(User).where(*is_theirs).values(password_hash=renewed))


def _sign_in_page(form: SignInForm) -> str:
    is_new = not accounts.exist()
    return render_template(
        "auth/sign_in.html", form=form, is_new=is_new, is_open=settings().signup == "open" and not is_new
    )


def _sign_out_again() -> ResponseReturnValue:
    if current_user.is_authenticated:
        raise CsrfFailed()
    return redirect_to("auth.show_sign_in")


@bp.post("/logout")
@may_be_old(_sign_out_again)
def sign_out() -> ResponseReturnValue:
    sessions.sign_out()
    return forget_storage(redirect_to("auth.show_sign_in"))


# Registration, invitations and setup


@bp.get("/register")
def show_register() -> ResponseReturnValue:
    _require_open()
    return render_template("auth/register.html", form=RegisterForm())


def _register_again() -> ResponseReturnValue:
    if settings().signup != "open":
        raise CsrfFailed()
    return render_template("auth/register.html", form=RegisterForm()), 403


@bp.post("/register")
@may_be_old(_register_again)
@limit_newcomers
def register() -> ResponseReturnValue:
    """Create an account. The response is the same if the email already has one, so it doesn't reveal who does."""
    _require_open()
    form = RegisterForm()
    if not form.validate():
        return render_template("auth/register.html", form=form), 422
    password_hash = passwords.make_hash(form.password.data)
    with suppress(accounts.EmailTaken), write():
        note("account made", user=accounts.create(form.email.data, password_hash, timezone=form.zone).id)
    flash(_("If this email had no account, it has one now. Sign in with it."), "message")
    return redirect_to("auth.show_sign_in")


def _require_open() -> None:
    if settings().signup != "open":
        raise NotFound(_("This site is by invitation only"))
    # The first account is the administrator's, created through the setup link.
    if not accounts.exist():
        raise NotFound(_("This site is not set up yet"))


@bp.get("/invitations/<token>")
def show_invitation(token: str) -> ResponseReturnValue:
    return _invitation_page(invitations.read(token))


def _invitation_page(invitation: Invitation, form: NewAccountForm | None = None) -> str:
    form = form or NewAccountForm(invitation.email)
    return render_template("auth/invitation.html", form=form, invitation=invitation)


def _accept_again(token: str) -> ResponseReturnValue:
    return _invitation_page(invitations.read(token)), 403


@bp.post("/invitations/<token>")
@may_be_old(_accept_again)
@limit_newcomers
def accept_invitation(token: str) -> ResponseReturnValue:
    if is_stale() and _is_in_already(invitations.content_of(token).email):
        return redirect_to("conversation.index")
    invitation = invitations.read(token)
    form = NewAccountForm(invitation.email)
    if not form.validate():
        return _invitation_page(invitation, form), 422
    password_hash = passwords.make_hash(form.password.data)
    with write():
        invitations.close(token)
        user = accounts.create(
            invitation.email,
            password_hash,
            is_admin=invitation.is_admin,
            limit=invitation.limit,
            timezone=form.zone,
        )
    note("invitation used", user=user.id)
    sessions.sign_in(user)
    return _welcome(redirect_to("conversation.index"), invitation.email)


@bp.get("/setup/<token>")
def show_setup(token: str) -> ResponseReturnValue:
    invitations.check_setup(token)
    return render_template("auth/setup.html", form=RegisterForm())


def _set_up_again(token: str) -> ResponseReturnValue:
    invitations.check_setup(token)
    return render_template("auth/setup.html", form=RegisterForm()), 403


@bp.post("/setup/<token>")
@may_be_old(_set_up_again)
@limit_newcomers
def set_up(token: str) -> ResponseReturnValue:
    if is_stale() and current_user.is_authenticated:
        return redirect_to("conversation.index")
    invitations.check_setup(token)
    form = RegisterForm()
    if not form.validate():
        return render_template("auth/setup.html", form=form), 422
    password_hash = passwords.make_hash(form.password.data)
    with write():
        user = accounts.create_first(form.email.data, password_hash, form.zone)
        invitations.close(token, "setup")
    note("site set up", user=user.id)
    sessions.sign_in(user)
    return _welcome(redirect_to("conversation.index"), form.email.data)
