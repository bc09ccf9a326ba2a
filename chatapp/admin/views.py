"""The admin pages: users and their budgets, invitations, and the token count cache."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, flash, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from sqlalchemy import func, select

from chatapp.admin.forms import GrantForm, InvitationForm, LimitForm, PeriodForm
from chatapp.auth.invitations import Invitation
from chatapp.auth.models import ApiKey, Link, LoginSession, User
from chatapp.auth.sessions import browser_required
from chatapp.budget import ledger
from chatapp.budget.models import LedgerEntry, UserUsage
from chatapp.budget.queries import usage_of
from chatapp.kernel.database import write
from chatapp.kernel.errors import Forbidden, InvalidRequest, NotFound
from chatapp.kernel.extensions import db
from chatapp.kernel.security_log import note
from chatapp.kernel.web import redirect_to, uuid_or_404, whole_number
from chatapp.tokens.count import counter

bp = Blueprint("admin", __name__, url_prefix="/admin")

PAGE_SIZE = 100


@bp.before_request
@browser_required
def require_admin() -> None:
    if not current_user.is_admin:
        raise Forbidden(_("Only administrators can open this page"))


@bp.get("")
def index() -> ResponseReturnValue:
    return _page()


def _page(**parts: Any) -> str:
    """Render the page, with a rejected form or a new link. limit_form belongs to the user in `limited`."""
    people = _people(request.args.get("after", ""))
    return render_template(
        "admin/index.html",
        **{
            "people": people[:PAGE_SIZE],
            "after": people[PAGE_SIZE - 1].user.email if len(people) > PAGE_SIZE else None,
            "cache": counter().stats(),
            "invitation_form": InvitationForm(),
            "invitations": Link.invitations(),
            "link": None,
            "limit_form": None,
            "limited": None,
        }
        | parts,
    )


@dataclass(frozen=True, slots=True)
class Person:
    user: User
    usage: UserUsage
    seen_at: datetime | None


def _people(after: str) -> list[Person]:
    """Return the users after the email `after`, ordered by email; one more than a page if there are more."""
    seen = select(func.max(LoginSession.seen_at)).where(LoginSession.user_id == User.id).scalar_subquery()
    used = select(func.max(ApiKey.used_at)).where(ApiKey.user_id == User.id).scalar_subquery()
    found = select(User, UserUsage, seen, used).join(UserUsage, UserUsage.user_id == User.id).order_by(User.email)
    if after.isprintable():
        found = found.where(User.email > after)
    rows = db.session.execute(found.limit(PAGE_SIZE + 1))
    return [Person(user, usage, max(filter(None, instants), default=None)) for user, usage, *instants in rows]


@bp.post("/users/<user_id>/limit")
def set_limit(user_id: str) -> ResponseReturnValue:
    user = _user(user_id)
    form = LimitForm()
    if not form.validate():
        return _page(limit_form=form, limited=user), 422
    reason = f"set by {current_user.email}"
    with write():
        ledger.set_limit(user.id, form.limit.data, reason)
    note("limit set", user=user.id, tokens=form.limit.data)
    flash(_("Limit for %(email)s saved.", email=user.email), "message")
    return redirect_to("admin.index", after=request.args.get("after"))


@bp.get("/users/<user_id>")
def show(user_id: str) -> ResponseReturnValue:
    return _person_page(_user(user_id))


@bp.post("/users/<user_id>/grants")
def grant(user_id: str) -> ResponseReturnValue:
    user = _user(user_id)
    form = GrantForm()
    if not form.validate():
        return _person_page(user, grant_form=form), 422
    # The ledger records the administrator along with the reason.
    reason = f"{form.reason.data.strip()} ({current_user.email})"
    email = user.email
    try:
        with write():
            ledger.grant(user.id, form.tokens.data, reason)
    except InvalidRequest as refusal:
        form.tokens.errors = [refusal.message]
        return _person_page(user, grant_form=form), 422
    note("tokens granted", user=UUID(user_id), tokens=form.tokens.data)
    flash(_("Limit for %(email)s saved.", email=email), "message")
    return redirect_to("admin.show", user_id=user_id)


@bp.post("/users/<user_id>/period")
def set_period(user_id: str) -> ResponseReturnValue:
    user, form = _user(user_id), PeriodForm()
    if not form.validate():
        return _person_page(user, period_form=form), 422
    with write():
        ledger.set_period(user.id, form.period.data)
    note("period set", user=user.id, period=form.period.data)
    return redirect_to("admin.show", user_id=user_id)


def _person_page(user: User, grant_form: GrantForm | None = None, period_form: PeriodForm | None = None) -> str:
    """Render a user's budget and ledger, newest entries first; ?before= pages back.

    grant_form and period_form are passed in when they were rejected.
    """
    entries = select(LedgerEntry).where(LedgerEntry.user_id == user.id).order_by(LedgerEntry.id.desc())
    if before := whole_number("before"):
        entries = entries.where(LedgerEntry.id < before)
    found = list(db.session.scalars(entries.limit(PAGE_SIZE + 1)))
    budget = usage_of(user.id)
    return render_template(
        "admin/show.html",
        user=user,
        theirs=budget,
        entries=found[:PAGE_SIZE],
        before=found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None,
        grant_form=grant_form or GrantForm(),
        period_form=period_form or PeriodForm(data={"period": budget.reset_period}),
    )


@bp.post("/users/<user_id>/disable")
def disable(user_id: str) -> ResponseReturnValue:
    user = _user(user_id)
    if user.id == current_user.id:
        raise Forbidden(_("You can’t disable your own account"))
    user.disable()
    note("account disabled", user=user.id)
    flash(_("%(email)s is disabled.", email=user.email), "message")
    return redirect_to("admin.index")


@bp.post("/users/<user_id>/enable")
def enable(user_id: str) -> ResponseReturnValue:
    user = _user(user_id)
    user.enable()
    note("account enabled", user=user.id)
    flash(_("%(email)s can sign in again.", email=user.email), "message")
    return redirect_to("admin.index")


@bp.get("/invitations")
def show_invitations() -> ResponseReturnValue:
    """Redirect to the page: reloading the address that showed a link leads here."""
    return redirect_to("admin.index", _anchor="invite")


@bp.post("/invitations")
def invite() -> ResponseReturnValue:
    form = InvitationForm()
    if not form.validate():
        return _page(invitation_form=form), 422
    if User.by_email(form.email.data):
        form.email.errors = [_("An account with this email already exists")]
        return _page(invitation_form=form), 422
    invitation = Invitation(form.email.data, form.is_admin.data, form.limit.data)
    link = invitation.issue()
    note("invitation made", is_admin=invitation.is_admin)
    # No redirect: the link is shown only in this response and is not stored.
    return _page(invitation_form=InvitationForm(formdata=None), link=link, invitation=invitation)


@bp.post("/invitations/<link_digest>/revoke")
def revoke_invitation(link_digest: str) -> ResponseReturnValue:
    link = db.session.get(Link, link_digest) if link_digest.isalnum() else None
    if link is None:
        raise NotFound()
    with write():
        Link.close(link.digest, link.expires_at)
    note("invitation revoked")
    flash(_("Invitation revoked."), "message")
    return redirect_to("admin.index", _anchor="invite")


@bp.post("/token-cache/clear")
def clear_counts() -> ResponseReturnValue:
    counter().clear()
    note("count cache cleared")
    flash(_("Count cache cleared."), "message")
    return redirect_to("admin.index")


def _user(user_id: str) -> User:
    user = db.session.get(User, uuid_or_404(user_id, NotFound))
    if user is None:
        raise NotFound()
    return user
