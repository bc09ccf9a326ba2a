"""The page where an administrator connects models. What is entered is tested with the provider before it is stored."""

from __future__ import annotations

from typing import Any

import gevent
from flask import Blueprint, flash, render_template
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from chatapp.auth.sessions import browser_required
from chatapp.connections import live
from chatapp.connections.forms import GeminiForm, OpenAIForm
from chatapp.connections.models import Connection, Kind, as_settings
from chatapp.connections.words import refusal_text
from chatapp.kernel.config import Settings, settings
from chatapp.kernel.database import release, write
from chatapp.kernel.errors import Forbidden, NotFound, ProviderError, ProviderTimeout
from chatapp.kernel.extensions import db
from chatapp.kernel.security_log import note
from chatapp.kernel.web import redirect_to
from chatapp.providers.gemini import GeminiProvider
from chatapp.providers.openai import OpenAICompatibleProvider
from chatapp.providers.registry import providers

bp = Blueprint("connections", __name__, url_prefix="/admin/connections")

TEST_SECONDS = 10.0
FORMS = {"gemini": GeminiForm, "openai": OpenAIForm}
Form = GeminiForm | OpenAIForm


@bp.record_once
def on_registered(state: BlueprintSetupState) -> None:
    state.app.extensions["connections"] = live.Watch()
    state.app.before_request(live.check)


@bp.before_request
@browser_required
def require_admin() -> None:
    if not current_user.is_admin:
        raise Forbidden(_("Only administrators can open this page"))


@bp.get("")
def index() -> ResponseReturnValue:
    return _page()


def _page(**rejected: Form) -> str:
    """Render the page. rejected: a form by its kind, with its errors."""
    stored = {kind: Connection.of(kind) for kind in FORMS}  # type: ignore[arg-type]
    forms = {"gemini": GeminiForm(formdata=None), "openai": OpenAIForm(formdata=None, data=_shown(stored["openai"]))}
    return render_template(
        "connections/index.html",
        stored=stored,
        fixed={kind: live.is_set_by_environment(kind) for kind in FORMS},  # type: ignore[arg-type]
        forms=forms | rejected,
        settings=settings(),
        models=providers().models(),
        is_demo=providers().is_demo,
    )


def _shown(stored: Connection) -> dict[str, Any]:
    return {"address": stored.base_url, "models": stored.models}


@bp.post("/<kind>")
def save(kind: str) -> ResponseReturnValue:
    chosen = _kind(kind)
    form = FORMS[chosen]()
    if live.is_set_by_environment(chosen):
        raise Forbidden(_("This connection is set by the environment and can only be changed there"))
    if not form.validate():
        return _page(**{chosen: form}), 422
    values = form.values(Connection.of(chosen).key)
    if problem := _problem(chosen, values):
        form.key.errors = [problem]
        return _page(**{chosen: form}), 422
    with write():
        Connection.of(chosen).save(**values)
    live.refresh()
    note("connection saved", kind=chosen)
    flash(_("%(name)s is connected.", name=_name(chosen)), "message")
    return redirect_to("connections.index")


@bp.post("/<kind>/delete")
def delete(kind: str) -> ResponseReturnValue:
    chosen = _kind(kind)
    with write():
        db.session.delete(_stored(chosen))
    live.refresh()
    note("connection removed", kind=chosen)
    flash(_("%(name)s is disconnected.", name=_name(chosen)), "message")
    return redirect_to("connections.index")


def _kind(text: str) -> Kind:
    if text not in FORMS:
        raise NotFound()
    return text  # type: ignore[return-value]


def _name(kind: Kind) -> str:
    return "Gemini" if kind == "gemini" else _("The OpenAI-compatible server")


def _stored(kind: Kind) -> Connection:
    found = db.session.get(Connection, kind)
    if found is None:
        raise NotFound()
    return found


def _problem(kind: Kind, values: dict[str, Any]) -> str:
    """Ask the provider, and return why it cannot be used; "" if it can."""
    if kind == "gemini" and not values["key"]:
        return _("Enter a key")
    tried = settings().model_copy(update=as_settings(kind, **values))
    release()
    try:
        with gevent.Timeout(TEST_SECONDS, ProviderTimeout()):
            return _ask(kind, tried)
    except ProviderError as error:
        return refusal_text(error)


def _ask(kind: Kind, tried: Settings) -> str:
    """Make the cheapest call that shows whether the key is accepted: counting a word, or listing the models."""
    if kind == "gemini":
        gemini = GeminiProvider.from_settings(tried)
        gemini.count_tokens(gemini.models()[0].id, "Hello")
        return ""
    listed = OpenAICompatibleProvider.from_settings(tried).list_models()
    return "" if listed or tried.openai_models else _("The server lists no model that can chat. Name its models.")
