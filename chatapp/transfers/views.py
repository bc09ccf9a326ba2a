"""Your data: export, import, fork, delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, flash, render_template, request, stream_with_context
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user, login_required

from chatapp.auth import passwords, sessions
from chatapp.auth.limits import limit_changes
from chatapp.auth.sessions import browser_required
from chatapp.chats import queries
from chatapp.kernel.breath import BreathingBody
from chatapp.kernel.config import settings
from chatapp.kernel.database import now, release
from chatapp.kernel.errors import InvalidRequest, NotFound
from chatapp.kernel.extensions import limiter
from chatapp.kernel.security_log import note
from chatapp.kernel.web import forget_storage, redirect_to
from chatapp.transfers import deletion, export, importing, unpacking, words
from chatapp.transfers.bounds import MEBIBYTE, Bounds, Intake, InvalidFile
from chatapp.transfers.fork import fork

bp = Blueprint("transfers", __name__)

# The form fields around the file.
FORM_BYTES = 64 * 1024


@bp.url_value_preprocessor
def allow_a_file(endpoint: str | None, _values: Any) -> None:
    """Allow signed-in users a larger body. Runs before the form is read for its CSRF token."""
    if endpoint == "transfers.create" and current_user.is_authenticated:
        request.max_content_length = max(settings().import_bytes, settings().import_zip_bytes) + FORM_BYTES
        request.environ["wsgi.input"] = BreathingBody(request.environ["wsgi.input"])


@bp.get("/account/data")
@browser_required
def index() -> ResponseReturnValue:
    return _page()


@bp.get("/account/data/chats.json")
@browser_required
def all_json() -> Response:
    name = export.file_name(_("All chats"), now(), "json")
    return _file(export.as_json(current_user.id), "application/json", name)


@bp.get("/account/data/chats.zip")
@browser_required
def all_markdown() -> Response:
    return _file(export.as_zip(current_user.id), "application/zip", export.file_name(_("All chats"), now(), "zip"))


@bp.get("/chats/<uuid:chat_id>/export.<any(json, md):kind>")
@login_required
def export_one(chat_id: UUID, kind: str) -> Response:
    chat = queries.own_chat(current_user, chat_id)
    name = export.file_name(chat.title, chat.created_at, kind)
    if kind == "json":
        return _file(export.as_json(current_user.id, chat.id), "application/json", name)
    return _file(export.as_markdown(current_user.id, chat.id), "text/markdown", name)


@bp.post("/messages/<uuid:message_id>/fork")
@login_required
@limiter.limit("20 per minute", key_func=lambda: str(current_user.id))
def fork_chat(message_id: UUID) -> ResponseReturnValue:
    """Copy a conversation up to an answer into a new chat, and open it."""
    answer, chat = queries.own_message(current_user, message_id)
    if answer.role != "assistant":
        raise NotFound()
    return redirect_to("conversation.show", chat_id=fork(chat, answer))


@bp.post("/account/data/imports")
@browser_required
@limiter.limit("20 per minute", key_func=lambda: str(current_user.id))
def create() -> ResponseReturnValue:
    """Import a file."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return _page(import_error=_("Choose a file first")), 422
    user_id = current_user.id
    release()
    intake = Intake(Bounds(unpacked_bytes=settings().import_bytes), now())
    try:
        with closing(file):
            texts = unpacking.texts_of(file.stream, intake)
        found = importing.import_texts(user_id, texts, intake)
    except (InvalidFile, InvalidRequest) as error:
        return _page(import_error=error.message), error.status
    flash(words.imported(found), "message")
    return redirect_to("transfers.index")


@bp.post("/account/data/deletion")
@browser_required
@limit_changes
def delete_account() -> ResponseReturnValue:
    """Delete the account with everything in it."""
    user_id, known = current_user.id, current_user.password_hash
    if not passwords.matches(known, request.form.get("current_password", "")):
        return _page(delete_error=_("Wrong password")), 422
    deletion.delete_user(user_id, known)
    note("account deleted", user=user_id)
    sessions.sign_out()
    flash(_("Your account and everything in it was deleted."), "message")
    return forget_storage(redirect_to("auth.show_sign_in"))


def _page(**parts: Any) -> str:
    values: dict[str, Any] = {
        "import_error": None,
        "delete_error": None,
        "import_mib": settings().import_bytes // MEBIBYTE,
    }
    values |= {"import_zip_mib": settings().import_zip_bytes // MEBIBYTE, "bounds": Bounds()} | parts
    return render_template("transfers/index.html", **values)


def _file(pieces: Iterator[Any], kind: str, name: str) -> Response:
    headers = {"Content-Disposition": export.disposition(name), "X-Accel-Buffering": "no"}
    release()
    return Response(stream_with_context(pieces), mimetype=kind, headers=headers)
