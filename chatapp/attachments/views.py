"""The API's attachments of a chat: upload as a raw body or as a form, look at, describe, download, delete."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from uuid import UUID

from flask import Blueprint, Response, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from chatapp.api import body, shapes
from chatapp.api.gate import require_user
from chatapp.attachments import adding, bounds, removing
from chatapp.attachments.models import ALT_CHARS, Attachment
from chatapp.attachments.refusals import AttachmentTooLarge
from chatapp.attachments.store import store
from chatapp.chats.models import Chat
from chatapp.kernel.breath import Breath, BreathingBody
from chatapp.kernel.config import settings
from chatapp.kernel.database import release, write
from chatapp.kernel.errors import ChatNotFound, InvalidRequest, NotFound
from chatapp.kernel.extensions import limiter
from chatapp.transfers.export import disposition

bp = Blueprint("attachments", __name__, url_prefix="/api/chat/<chat_id>/attachments")
bp.before_request(require_user)

# The form around a file.
FORM_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
# A file is never shown as a page of ours, whatever is in it. <img> still shows pictures.
FILE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}


@bp.url_value_preprocessor
def allow_a_file(endpoint: str | None, _values: Any) -> None:
    """Allow signed-in users a larger body. Runs before a form is read for its CSRF token."""
    if endpoint == "attachments.create" and current_user.is_authenticated:
        request.max_content_length = settings().attachment_bytes + FORM_BYTES
        request.environ["wsgi.input"] = BreathingBody(request.environ["wsgi.input"])


@bp.before_request
def check_switch() -> None:
    if not settings().attachments:
        raise NotFound()


@bp.post("")
@limiter.limit("60 per minute", key_func=lambda: str(current_user.id))
def create(chat_id: str) -> ResponseReturnValue:
    chat = _chat(chat_id)
    _check_length()
    user_id, model, found_id = current_user.id, chat.model, chat.id
    release()
    with adding.open_slot(user_id), _received() as (name, file):
        attachment_id = adding.add(user_id, found_id, name, file)
    return jsonify(_shape(Attachment.in_chat(found_id, attachment_id), model)), 201


@bp.get("")
def index(chat_id: str) -> ResponseReturnValue:
    chat = _chat(chat_id)
    return jsonify(attachments=[_shape(each, chat.model) for each in Attachment.of_chat(chat.id)])


@bp.get("/<uuid:attachment_id>")
def show(chat_id: str, attachment_id: UUID) -> ResponseReturnValue:
    chat = _chat(chat_id)
    return jsonify(_shape(Attachment.in_chat(chat.id, attachment_id), chat.model))


@bp.patch("/<uuid:attachment_id>")
def update(chat_id: str, attachment_id: UUID) -> ResponseReturnValue:
    """Change the description that stands in for a picture."""
    _chat(chat_id)
    alt = body.field("alt", ALT_CHARS)
    with write():
        chat = _chat(chat_id)
        attachment = Attachment.in_chat(chat.id, attachment_id)
        attachment.alt = alt
    return jsonify(_shape(attachment, chat.model))


@bp.delete("/<uuid:attachment_id>")
def destroy(chat_id: str, attachment_id: UUID) -> ResponseReturnValue:
    attachment = Attachment.in_chat(_chat(chat_id).id, attachment_id)
    removing.remove(Attachment.id == attachment.id)
    return "", 204


@bp.get("/<uuid:attachment_id>/content")
def content(chat_id: str, attachment_id: UUID) -> ResponseReturnValue:
    attachment = Attachment.in_chat(_chat(chat_id).id, attachment_id)
    return _file(attachment, "content", attachment.media_type)


@bp.get("/<uuid:attachment_id>/thumbnail")
def thumbnail(chat_id: str, attachment_id: UUID) -> ResponseReturnValue:
    attachment = Attachment.in_chat(_chat(chat_id).id, attachment_id)
    if not attachment.has_thumb:
        raise NotFound()
    return _file(attachment, "thumb", "image/jpeg")


def _chat(chat_id: str) -> Chat:
    try:
        return Chat.for_user(current_user, UUID(chat_id))
    except ValueError:
        raise ChatNotFound(_("Invalid chat ID format"), status=400) from None


def _shape(attachment: Attachment, model: str) -> dict[str, Any]:
    names = ("name", "alt", "kind", "media_type", "bytes", "width", "height", "pages", "characters")
    place: dict[str, Any] = {"chat_id": str(attachment.chat_id), "attachment_id": attachment.id}
    return {
        "id": str(attachment.id),
        **{name: getattr(attachment, name) for name in names},
        "tokens": _tokens(attachment, model),
        "method": "estimate",
        "created_at": shapes.instant(attachment.created_at),
        "url": url_for("attachments.content", **place),
        "thumbnail_url": url_for("attachments.thumbnail", **place) if attachment.has_thumb else None,
    }


def _tokens(attachment: Attachment, model: str) -> int:
    if attachment.kind == "image":
        return bounds.picture(model, attachment.width or 1, attachment.height or 1)
    if attachment.kind == "pdf":
        return bounds.pdf(model, attachment.pages or 1)
    return attachment.text_tokens or 0


# Receiving


def _check_length() -> None:
    """Refuse a body without a length, which would be cut at the limit and look whole, and one that is too large."""
    if request.content_length is None and "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        raise InvalidRequest(_("Send the body with a Content-Length"), status=411)
    around = FORM_BYTES if request.mimetype == "multipart/form-data" else 0
    if (request.content_length or 0) > settings().attachment_bytes + around:
        raise _too_large()


def _too_large() -> AttachmentTooLarge:
    return AttachmentTooLarge(_("The file is larger than %(limit)s MiB", limit=settings().attachment_bytes // 2**20))


@contextmanager
def _received() -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the file of an upload: a real file, which is gone afterwards."""
    name, source = _sent()
    breathe, size = Breath(), 0
    with tempfile.TemporaryFile() as file:
        while piece := source.read(PIECE_BYTES):
            file.write(piece)
            size += len(piece)
            breathe()
        if not size:
            raise InvalidRequest(_("The file is empty"))
        if size > settings().attachment_bytes:
            raise _too_large()
        file.flush()
        yield name, file


def _sent() -> tuple[str, IO[bytes]]:
    """Return the name and the body, or the one file of a form."""
    if request.mimetype != "multipart/form-data":
        return request.args.get("name", ""), request.stream
    sent = request.files.get("file")
    if sent is None and not request.form and not request.files:
        # A body that is cut short, or names a file in another coding, is read as an empty form.
        raise InvalidRequest(_("The form is incomplete or can’t be read"))
    if sent is None or not sent.filename:
        raise InvalidRequest(_("Choose a file first"))
    return sent.filename, sent.stream


# Handing out


class _Pieces:
    """A file in pieces, for werkzeug's ranges. It yields to others: a fast reader never makes them wait."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._breathe = file, Breath()
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def __iter__(self) -> _Pieces:
        return self

    def __next__(self) -> bytes:
        self._breathe()
        if piece := self._file.read(PIECE_BYTES):
            return piece
        raise StopIteration


def _file(attachment: Attachment, part: str, media_type: str) -> Response:
    try:
        file = store().open(attachment.user_id, attachment.id, part)
    except FileNotFoundError:
        raise NotFound() from None
    size = file.seek(0, 2)
    file.seek(0)
    kind = "text/plain; charset=utf-8" if attachment.kind == "text" else media_type
    headers = FILE_HEADERS | {"Content-Disposition": disposition(attachment.name)}
    response = Response(_Pieces(file), content_type=kind, headers=headers, direct_passthrough=True)
    response.content_length = size
    response.set_etag(attachment.sha256 + ("" if part == "content" else f"-{part}"))
    release()
    try:
        response.make_conditional(request, accept_ranges=True, complete_length=size)
    except RequestedRangeNotSatisfiable:
        file.close()
        raise
    return response
