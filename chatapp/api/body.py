"""Parses what a client sent. Unknown fields are ignored; a wrong type is rejected with the field's name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import request
from flask_babel import gettext as _
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from chatapp.chats import changes
from chatapp.kernel.config import settings
from chatapp.kernel.errors import InvalidMessage, InvalidRequest

# Field → (type, what to call it, may be null).
Fields = dict[str, tuple[type | tuple[type, ...], str, bool]]

CHAT: Fields = {
    "title": (str, "a string", True),
    "model": (str, "a string", True),
    "system_prompt": (str, "a text", True),
    "temperature": ((int, float), "a number", True),
    "thinking_tokens": (int, "a whole number", True),
}
CHAT_CHANGES: Fields = CHAT | {
    "title": (str, "a string", False),
    "model": (str, "a string", False),
    "system_prompt": (str, "a text", False),
    "pinned": (bool, "true or false", False),
    "archived": (bool, "true or false", False),
}


def chat(fields: Fields) -> dict[str, Any]:
    """Return the fields of a chat that were sent, as they are stored. Raises InvalidRequest."""
    sent = _object(InvalidRequest)
    for name, rule in fields.items():
        if name in sent:
            _check_type(name, sent[name], *rule)
    if fields is CHAT and sent.get("model") == "":
        sent["model"] = None
    return changes.checked({name: sent[name] for name in fields if name in sent})


def draft() -> str:
    """Return the text to count. Raises InvalidRequest."""
    sent = _object(InvalidRequest)
    if "text" not in sent:
        raise InvalidRequest(_("text is missing"))
    _check_type("text", sent["text"], str, "a text", False)
    return changes.text(sent["text"], "text", settings().body_bytes)


def field(name: str, limit: int) -> str:
    """Return the body's one text field. Raises InvalidRequest."""
    sent = _object(InvalidRequest)
    _check_type(name, sent.get(name), str, "a text", False)
    return changes.text(sent[name], name, limit)


def message() -> object:
    """Return the body's "message", of whatever type. Raises InvalidMessage if the body is not a JSON object."""
    return _object(InvalidMessage).get("message")


def query_int(name: str, default: int, *, low: int, high: int) -> int:
    raw = request.args.get(name)
    if raw is None:
        return default
    if not raw.isascii() or not raw.isdigit() or len(raw) > 9 or not low <= int(raw) <= high:
        raise InvalidRequest(
            _("%(name)s must be a whole number from %(low)s to %(high)s", name=name, low=low, high=high)
        )
    return int(raw)


def query_uuid(name: str) -> UUID | None:
    raw = request.args.get(name)
    try:
        return UUID(raw) if raw else None
    except ValueError:
        raise InvalidRequest(_("%(name)s is not valid for this list", name=name)) from None


def query_key(name: str) -> str | None:
    """Return the idempotency key, a UUID, from the query string."""
    raw = request.args.get(name)
    if raw is None:
        return None
    try:
        return str(UUID(raw))
    except ValueError:
        raise InvalidRequest(_("%(name)s must be a UUID", name=name)) from None


def _object(refusal: type[InvalidRequest]) -> dict[str, Any]:
    if request.content_length is None and "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        # A body of unknown length is truncated at the limit and would look complete.
        raise InvalidRequest(_("Send the body with a Content-Length"), status=411)
    if request.content_length and request.content_length > settings().body_bytes:
        raise InvalidRequest(_("The body is larger than %(limit)s bytes", limit=settings().body_bytes), status=413)
    if not request.is_json:
        raise InvalidRequest(_("Send JSON, with Content-Type: application/json"), status=415)
    try:
        sent = request.get_json()
    except RequestEntityTooLarge:
        raise
    except (BadRequest, RecursionError, UnicodeDecodeError):
        raise refusal(_("The body is not valid JSON")) from None
    if not isinstance(sent, dict):
        raise refusal(_("The body must be a JSON object"))
    return sent


def _check_type(name: str, value: Any, kind: type | tuple[type, ...], kind_name: str, may_be_null: bool) -> None:
    if not (isinstance(value, kind) or (value is None and may_be_null)):
        raise InvalidRequest(_("%(name)s must be %(kind)s", name=name, kind=kind_name))
