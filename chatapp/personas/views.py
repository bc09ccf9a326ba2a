"""The page where people write personas and prompts, and the list of prompts that "/" opens in the message box."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, flash, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user, login_required

from chatapp.kernel.database import write
from chatapp.kernel.errors import InvalidRequest, NotFound
from chatapp.kernel.extensions import db
from chatapp.kernel.web import redirect_to
from chatapp.personas.forms import OwnForm, PersonaForm, PromptForm
from chatapp.personas.models import Own, Persona, Prompt

bp = Blueprint("personas", __name__, url_prefix="/personas")

KINDS: dict[str, tuple[type[Own], type[OwnForm]]] = {"persona": (Persona, PersonaForm), "prompt": (Prompt, PromptForm)}


@bp.before_request
@login_required
def require_login() -> None:
    """Every page here belongs to whoever is signed in."""


@bp.get("")
def index() -> ResponseReturnValue:
    return _page()


def _page(**rejected: OwnForm) -> str:
    """Render the page. rejected: a form by its kind, with its errors."""
    forms = {kind: form(formdata=None) for kind, (_model, form) in KINDS.items()}
    return render_template(
        "personas/index.html",
        personas=Persona.for_user(current_user),
        prompts=Prompt.for_user(current_user),
        forms=forms | rejected,
    )


@bp.get("/prompts")
def prompts() -> ResponseReturnValue:
    """Return the list that "/" opens."""
    return render_template("personas/_prompts.html", prompts=Prompt.for_user(current_user))


@bp.post("/<what>")
def create(what: str) -> ResponseReturnValue:
    model, form_class = _kind(what)
    form = form_class()
    if not form.validate():
        return _page(**{what: form}), 422
    try:
        with write():
            model.add(current_user, _values(form))
    except InvalidRequest as refusal:
        form.name.errors = [_(refusal.message)]
        return _page(**{what: form}), 422
    flash(_("Saved."), "message")
    return redirect_to("personas.index", _anchor=f"{what}s")


@bp.get("/<what>/<uuid:item_id>")
def edit(what: str, item_id: UUID) -> ResponseReturnValue:
    model, form_class = _kind(what)
    item = model.to_change(current_user, item_id)
    return _edit_page(what, item_id, form_class(formdata=None, obj=item))


@bp.post("/<what>/<uuid:item_id>")
def update(what: str, item_id: UUID) -> ResponseReturnValue:
    model, form_class = _kind(what)
    model.to_change(current_user, item_id)
    form = form_class()
    if not form.validate():
        return _edit_page(what, item_id, form), 422
    with write():
        model.to_change(current_user, item_id).change(_values(form))
    flash(_("Saved."), "message")
    return redirect_to("personas.index", _anchor=f"{what}s")


@bp.post("/<what>/<uuid:item_id>/delete")
def delete(what: str, item_id: UUID) -> ResponseReturnValue:
    model, _form = _kind(what)
    with write():
        db.session.delete(model.to_change(current_user, item_id))
    flash(_("Deleted."), "message")
    return redirect_to("personas.index", _anchor=f"{what}s")


def _kind(what: str) -> tuple[type[Own], type[OwnForm]]:
    if what not in KINDS:
        raise NotFound()
    return KINDS[what]


def _values(form: OwnForm) -> dict[str, Any]:
    """Return what was entered. Only administrators share."""
    return form.values | ({} if current_user.is_admin else {"is_shared": False})


def _edit_page(what: str, item_id: UUID, form: OwnForm) -> str:
    return render_template("personas/edit.html", what=what, item_id=item_id, form=form)
