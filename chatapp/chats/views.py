"""The list of chats, and the actions on a chat: rename, pin, archive, delete, change its settings."""

from __future__ import annotations

from itertools import chain
from typing import Any
from uuid import UUID

from flask import Blueprint, Flask, Response, before_render_template, flash, render_template, request, url_for
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from flask_babel import gettext as _
from flask_login import current_user, login_required
from jinja2 import Template

from chatapp.auth.account_views import account_page
from chatapp.auth.sessions import browser_required
from chatapp.budget.queries import usage_of
from chatapp.chats import options, queries
from chatapp.chats.forms import ChatForm, OptionsForm
from chatapp.chats.models import Chat
from chatapp.chats.sidebar import listed, shown_sidebar, sidebar
from chatapp.kernel import cookies
from chatapp.kernel.config import settings
from chatapp.kernel.database import write
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.extensions import db
from chatapp.kernel.web import is_htmx, redirect_to
from chatapp.turns import lifecycle, titles

bp = Blueprint("chats", __name__)

# A page polls once a second for the title that the model writes.
FIRST_TRIES, MAX_TRIES = 4, 25
THEMES = ("light", "dark")
# Folders of templates whose pages have no sidebar.
FRAMELESS = ("auth", "errors", "site")


@bp.app_context_processor
def shared() -> dict[str, Any]:
    theme = request.cookies.get(cookies.name("theme")) if request else None
    locale = get_locale()
    return {
        "theme_cookie": cookies.name("theme"),
        "fold_cookie": cookies.name("folded"),
        "is_folded": bool(request and request.cookies.get(cookies.name("folded"))),
        "theme": theme if theme in THEMES else "system",
        "language": str(locale or "en").replace("_", "-"),
        "direction": getattr(locale, "text_direction", "ltr"),
    }


def fill_frame(app: Flask, template: Template, context: dict[str, Any], **extra: Any) -> None:
    """Load the sidebar of a whole page before it is drawn, so that no template asks the database for anything."""
    folder, _slash, name = (template.name or "_").rpartition("/")
    if folder in FRAMELESS or name.startswith("_"):
        return
    chat = context.get("chat")
    context["my_chats"] = sidebar(current_user, open_id=chat.id if chat else None)
    context["my_budget"] = context.get("budget") or usage_of(current_user.id)


@bp.record_once
def on_registered(state: BlueprintSetupState) -> None:
    before_render_template.connect(fill_frame, state.app)


@bp.get("/chats")
@login_required
def index() -> ResponseReturnValue:
    found = sidebar(
        current_user,
        request.args.get("q", "").strip(),
        limit=request.args.get("limit", type=int) or listed(),
        archived=bool(request.args.get("archived")),
        open_id=(chat_id := request.args.get("chat", type=UUID) or _shown_chat()),
    )
    if is_htmx():
        return render_template("chats/_list.html", list=found, chat_id=chat_id)
    return render_template("chats/list.html", list=found)


@bp.get("/chats/news")
@login_required
def changes() -> ResponseReturnValue:
    """Render the list and the open chat's title again if the list differs from the version seen."""
    if shown_sidebar(_shown_chat()).version == request.args.get("seen"):
        return "", 204
    return _changed_list(_shown_chat())


@bp.get("/chats/<uuid:chat_id>/settings")
@login_required
def edit(chat_id: UUID) -> ResponseReturnValue:
    chat = queries.own_chat(current_user, chat_id)
    return _settings_page(chat, ChatForm(chat))


def _settings_page(chat: Chat, form: ChatForm) -> str:
    return render_template("chats/edit.html", chat=chat, form=form, title_chars=settings().title_chars)


@bp.app_template_global()
def default_options() -> OptionsForm:
    """Return the form of the user's defaults for the account page."""
    return OptionsForm(options.Options.of_user(current_user))


@bp.post("/account/defaults")
@browser_required
def save_defaults() -> ResponseReturnValue:
    """Save the defaults for new chats. Existing chats stay as they are."""
    form = default_options()
    if not form.validate():
        return account_page(defaults_form=form), 422
    with write():
        for name, value in form.chosen.items():
            setattr(current_user, f"default_{name}", value)
    flash(_("Saved"), "message")
    return redirect_to("auth.account", _anchor="defaults")


@bp.get("/chats/<uuid:chat_id>/menu")
@login_required
def menu(chat_id: UUID) -> ResponseReturnValue:
    return render_template("chats/_menu.html", row=queries.own_chat(current_user, chat_id))


@bp.get("/chats/<uuid:chat_id>/title")
@login_required
def rename(chat_id: UUID) -> ResponseReturnValue:
    return render_template(
        "chats/_rename.html", row=queries.own_chat(current_user, chat_id), title_chars=settings().title_chars
    )


@bp.get("/chats/<uuid:chat_id>/naming")
@login_required
def title_status(chat_id: UUID) -> ResponseReturnValue:
    """Show the title that the model gave a chat; until then, return a fragment that asks again."""
    queries.own_chat(current_user, chat_id)
    tries = request.args.get("tries", 1, type=int)
    title = titles.of_chat(chat_id)
    # The title starts a moment after the answer has ended; without budget it never does.
    is_coming = title.is_open if title else tries < FIRST_TRIES
    if is_coming and tries < MAX_TRIES:
        return render_template("chats/_naming.html", chat_id=chat_id, tries=tries + 1)
    return _changed_list(chat_id) if title else ""


@bp.route("/chats/<uuid:chat_id>", methods=["POST", "PATCH"])
@login_required
def update(chat_id: UUID) -> ResponseReturnValue:
    chat = queries.own_chat(current_user, chat_id)
    form = ChatForm(chat)
    if not form.validate():
        if is_htmx():
            raise InvalidRequest(" ".join(chain.from_iterable(form.errors.values())))
        return _settings_page(chat, form), 422
    changes = form.chosen | {name: bool(request.form[name]) for name in ("pinned", "archived") if name in request.form}
    with write():
        queries.own_chat(current_user, chat_id).change(changes)
    if not is_htmx():
        flash(_("Saved"), "message")
        return redirect_to("chats.edit" if "from" in request.form else "conversation.show", chat_id=chat_id)
    if changes.get("archived"):
        # If the chat is open, a notice on the page says so and offers the undo.
        undo = "" if _shown_chat() == chat_id else url_for("chats.unarchive", chat_id=chat_id)
        return _changed_list(_shown_chat(), _("Chat archived"), undo)
    return _changed_list(_shown_chat())


@bp.delete("/chats/<uuid:chat_id>")
@login_required
def destroy(chat_id: UUID) -> ResponseReturnValue:
    lifecycle.delete_chat(queries.own_chat(current_user, chat_id))
    if _shown_chat() == chat_id:
        return _go_after_deletion(chat_id)
    return _changed_list(_shown_chat(), _("Chat deleted"), url_for("chats.restore", chat_id=chat_id))


@bp.post("/chats/<uuid:chat_id>/delete")
@login_required
def delete(chat_id: UUID) -> ResponseReturnValue:
    """Delete from a plain form, which can only POST."""
    lifecycle.delete_chat(queries.own_chat(current_user, chat_id))
    return _go_after_deletion(chat_id)


@bp.post("/chats/<uuid:chat_id>/restoration")
@login_required
def restore(chat_id: UUID) -> ResponseReturnValue:
    """Undo a deletion while the chat's rows still exist."""
    with write():
        queries.own_chat(current_user, chat_id, or_deleted=True).restore()
    if "open" in request.args:
        return redirect_to("conversation.show", chat_id=chat_id)
    return _changed_list(_shown_chat()) if is_htmx() else redirect_to("conversation.show", chat_id=chat_id)


@bp.post("/chats/<uuid:chat_id>/unarchive")
@login_required
def unarchive(chat_id: UUID) -> ResponseReturnValue:
    with write():
        queries.own_chat(current_user, chat_id).change({"archived": False})
    return _changed_list(_shown_chat()) if is_htmx() else redirect_to("chats.index", archived="1")


def _shown_chat() -> UUID | None:
    """Return the chat that is open in the browser, from the URL that htmx reports."""
    last = request.headers.get("HX-Current-URL", "").split("?")[0].rstrip("/").rpartition("/")[2]
    try:
        return UUID(last)
    except ValueError:
        return None


def _go_after_deletion(chat_id: UUID) -> Response:
    flash((_("Chat deleted"), url_for("chats.restore", chat_id=chat_id, open=1)), "undo")  # type: ignore[arg-type]
    return redirect_to("conversation.index")


def _changed_list(chat_id: UUID | None, said: str = "", undo: str = "") -> str:
    """Render the list. said: what was done; undo: the URL that reverts it."""
    shown = db.session.get(Chat, chat_id) if chat_id else None
    if shown is not None and shown.user_id != current_user.id:
        shown = None
    return render_template(
        "chats/_changed.html", list=shown_sidebar(chat_id), chat_id=chat_id, chat=shown, said=said, undo=undo
    )
