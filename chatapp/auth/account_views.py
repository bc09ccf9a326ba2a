"""The account page: preferences, password, signed-in browsers and keys."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Response, flash, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from chatapp.auth import passwords, tries
from chatapp.auth.forms import ChangePasswordForm, KeyForm, PreferencesForm
from chatapp.auth.limits import limit_changes
from chatapp.auth.models import ApiKey, LoginSession, User
from chatapp.auth.sessions import browser_required, lifetimes
from chatapp.auth.views import bp, safe_next, sign_out
from chatapp.kernel import cookies
from chatapp.kernel.config import settings
from chatapp.kernel.database import write
from chatapp.kernel.errors import InvalidRequest, NotFound
from chatapp.kernel.origins import split
from chatapp.kernel.security_log import note
from chatapp.kernel.web import is_htmx, redirect_to, uuid_or_404
from chatapp.kernel.zones import zone

MAX_KEYS = 50
A_YEAR_SECONDS = 365 * 24 * 3600


@bp.get("/account")
@browser_required
def account() -> ResponseReturnValue:
    return account_page()


def account_page(**parts: Any) -> str:
    """Render the page; `parts` override its defaults, for example with a rejected form or a new key."""
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
            "failed_tries": current_user.login.failed_before + tries.since_sign_in(current_user.email),
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
        note("password change failed", is_suspect=True)
        form.current_password.errors = [_("Wrong password")]
        return account_page(password_form=form), 422
    password_hash = passwords.make_hash(form.password.data)
    with write() as session:
        user = session.get(User, user_id)
        if user is None or user.password_hash != known:
            raise InvalidRequest(_("The password was changed elsewhere. Try again"))
        user.password_hash = password_hash
        LoginSession.end_all(user_id, but=login_id)
    note("password changed")
    flash(_("Password changed. All other browsers were signed out."), "message")
    return redirect_to("auth.account")


@bp.post("/account/sessions/<login_id>/end")
@browser_required
def end_session(login_id: str) -> ResponseReturnValue:
    login = LoginSession.for_user(current_user, uuid_or_404(login_id, NotFound))
    if login.id == current_user.identity[1]:
        return sign_out()
    login.end()
    note("login ended", login=login_id)
    flash(_("That session was signed out."), "message")
    return redirect_to("auth.account")


@bp.post("/account/sessions/end-others")
@browser_required
def end_other_sessions() -> ResponseReturnValue:
    with write():
        LoginSession.end_all(current_user.id, but=current_user.identity[1])
    note("other logins ended")
    flash(_("All other browsers were signed out."), "message")
    return redirect_to("auth.account")


@bp.get("/account/keys")
@browser_required
def show_keys() -> ResponseReturnValue:
    """Redirect to the page: reloading the address that showed a new key leads here."""
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
    note("key made")
    # No redirect: the key is shown only in this response.
    return account_page(key_form=KeyForm(formdata=None), new_key=key)


@bp.post("/account/keys/<key_id>/revoke")
@browser_required
def revoke_key(key_id: str) -> ResponseReturnValue:
    ApiKey.for_user(current_user, uuid_or_404(key_id, NotFound)).revoke()
    note("key revoked", key=key_id)
    flash(_("Key revoked."), "message")
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
    theme = request.cookies.get(cookies.name("theme"), "system")
    return PreferencesForm(
        data={"timezone": zone(current_user.timezone).key, "locale": current_user.locale or "", "theme": theme}
    )


def _saved() -> Response:
    """The theme switch is on every page and returns to the page it was used on."""
    if is_htmx():
        return make_response("", 204)
    if "timezone" in request.form:
        flash(_("Saved."), "message")
        return redirect_to("auth.account")
    origin, path = split(request.referrer or "")
    return make_response("", 303, {"Location": safe_next(path if urlsplit(origin).netloc == request.host else None)})


def _with_theme(response: Response, theme: str) -> Response:
    # Not HttpOnly: the page's theme switch sets it too, and scripts cannot overwrite an HttpOnly cookie.
    response.set_cookie(cookies.name("theme"), theme, A_YEAR_SECONDS, secure=settings().is_https, samesite="Lax")
    return response
