"""The wire format of the API's stream (Server-Sent Events, WHATWG HTML 9.2), exactly as the contract defines it."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

from chatapp.turns.live.listeners import sse_headers
from chatapp.turns.live.log import Ending, Piece

HEADERS = sse_headers("no-cache, no-transform")
KEEP_ALIVE = ": keep-alive\n\n"
POSITION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,9}|end)\Z")


def position(turn_id: UUID) -> str:
    """Return an event without data that gives an EventSource its position before the first piece."""
    return f"id: {turn_id}:0\n\n"


def piece(turn_id: UUID, heard: Piece) -> str:
    """Return a piece as one event. Text that a client could mistake for metadata is wrapped in JSON."""
    last_id = f"{turn_id}:{heard.end}"
    reset = _event(last_id, _json({"reset": True})) if heard.reset else ""
    if not heard.text:
        return reset
    if heard.text.startswith("{"):
        return reset + _event(last_id, _json({"chunk": heard.text, "done": False}))
    # Only \n can end a line here: \r was converted to \n on input.
    return reset + _event(last_id, heard.text.replace("\n", "\ndata: "))


def ending(turn_id: UUID, heard: Ending) -> str:
    """Return the final event: metadata of a completed turn, or the error that ended it."""
    figures = {
        "tokens_used": heard.tokens_used,
        "message_id": str(heard.message_id),
        "remaining_tokens": heard.remaining_tokens,
        "calculation_method": heard.method,
        "finish_reason": heard.finish_reason,
    }
    if heard.code is None:
        return _event(f"{turn_id}:end", _json({"done": True} | figures))
    return _event(f"{turn_id}:end", _json({"error": True, "message": heard.message, "code": heard.code} | figures))


def read_position(last_event_id: str) -> tuple[UUID, int | None] | None:
    """Return turn and offset (None = the end) of a Last-Event-ID, or None if it is not one of ours."""
    match = POSITION.match(last_event_id)
    if match is None:
        return None
    return UUID(match[1]), None if match[2] == "end" else int(match[2])


def _event(last_id: str, data: str) -> str:
    return f"id: {last_id}\ndata: {data}\n\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
