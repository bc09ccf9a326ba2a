"""Reading what a client sent: unknown fields are ignored, wrong types are refused by name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import request
from flask_babel import gettext as _
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from chatapp.chats import options
from chatapp.kernel.config import settings
from chatapp.kernel.errors import InvalidMessage, InvalidRequest
from chatapp.kernel.text import MODEL_NAME_CHARS, is_storable, normalise

# Field → (type, what to call it, may be null, its longest length in characters, or the setting that says it).
Kind = type | tuple[type, ...]
Fields = dict[str, tuple[Kind, str, bool, str | int | None]]

CHAT: Fields = {
    "title": (str, "a text", True, "title_chars"),
    "model": (str, "a text", True, MODEL_NAME_CHARS),
    "system_prompt": (str, "a text", True, "system_prompt_chars"),
    "temperature": ((int, float), "a number", True, None),
    "thinking_tokens": (int, "a whole number", True, None),
}
CHAT_CHANGES: Fields = {
    "title": (str, "a text", False, "title_chars"),
    "model": (str, "a text", False, MODEL_NAME_CHARS),
    "system_prompt": (str, "a text", False, "system_prompt_chars"),
    "temperature": ((int, float), "a number", True, None),
    "thinking_tokens": (int, "a whole number", True, None),
    "pinned": (bool, "true or false", False, None),
    "archived": (bool, "true or false", False, None),
}
DRAFT: Fields = {"text": (str, "a text", False, "body_bytes")}


def read(fields: Fields) -> dict[str, Any]:
    """Return the fields that were sent, checked and normalised; all of DRAFT's must be there. Raises InvalidRequest."""
    sent = _object(InvalidRequest)
    if "title" in fields and isinstance(sent.get("title"), str):
        sent["title"] = options.title(sent["title"])
    found = {name: _checked(name, sent[name], *rule) for name, rule in fields.items() if name in sent}
    for name, check in (("temperature", options.temperature), ("thinking_tokens", options.thinking_tokens)):
        if name in found:
            found[name] = check(found[name])
    if fields is DRAFT and "text" not in found:
        raise InvalidRequest(_("text is missing"))
    return found


def message() -> object:
    """Return what stands under message, whatever it is. Raises InvalidMessage where there is no JSON object."""
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
        raise InvalidRequest(_("%(name)s is not one of this list's", name=name)) from None


def query_key(name: str) -> str | None:
    """Return an idempotency key from the address: a UUID."""
    raw = request.args.get(name)
    if raw is None:
        return None
    try:
        return str(UUID(raw))
    except ValueError:
        raise InvalidRequest(_("%(name)s must be a UUID", name=name)) from None


def _object(refusal: type[InvalidRequest]) -> dict[str, Any]:
    if request.content_length is None and "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        # A body of unknown length is cut at the limit and would pass for whole.
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


def _checked(name: str, value: Any, kind: Kind, kind_name: str, may_be_null: bool, bound: str | int | None) -> Any:
    if value is None and may_be_null:
        return None
    if not isinstance(value, kind):
        raise InvalidRequest(_("%(name)s must be %(kind)s", name=name, kind=kind_name))
    if not isinstance(value, str):
        return value
    if not is_storable(value):
        raise InvalidRequest(
            _("%(name)s contains characters that cannot be stored (NUL or lone surrogates)", name=name)
        )
    limit = getattr(settings(), bound) if isinstance(bound, str) else bound
    if limit is not None and len(value) > limit:
        raise InvalidRequest(_("%(name)s is longer than %(limit)s characters", name=name, limit=limit))
    return normalise(value)
