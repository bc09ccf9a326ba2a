"""The JSON and SSE endpoints. They parse and respond; the rules live elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from uuid import UUID

from flask import Blueprint, Response, jsonify, request, stream_with_context
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from chatapp.api import body, shapes, sse
from chatapp.api.gate import check_gate, require_user
from chatapp.api.paging import page
from chatapp.auth import sessions
from chatapp.chats import options
from chatapp.chats.models import Chat, page_upwards
from chatapp.chats.search import search
from chatapp.kernel.config import settings
from chatapp.kernel.database import release, write
from chatapp.kernel.errors import ChatNotFound
from chatapp.kernel.extensions import db, limiter
from chatapp.turns import lifecycle
from chatapp.turns.live.listeners import ListenerSlot, LoginCheck, for_a_while, streamed
from chatapp.turns.live.log import Ending, Heard, Piece
from chatapp.turns.live.process import live_turns, text_so_far
from chatapp.turns.models import Turn

bp = Blueprint("api", __name__, url_prefix="/api")

# How long a frame may wait for more text to send along.
TICK_SECONDS = 0.02
PAGE_SIZE = 50
MESSAGES_AT_ONCE = 200

limit_sends = limiter.shared_limit(lambda: f"{settings().sends_per_minute} per minute", scope="sends")


@bp.before_request
def before() -> None:
    if request.endpoint == "api.join_or_send":
        check_gate()
    require_user()


@bp.post("/chat")
def create() -> ResponseReturnValue:
    chosen = {name: value for name, value in body.chat(body.CHAT).items() if value is not None}
    chat = Chat(user_id=current_user.id, **options.for_new_chat(current_user, {}) | chosen)
    with write():
        db.session.add(chat)
    return jsonify(shapes.chat(chat)), 201


@bp.get("/chat")
def index() -> ResponseReturnValue:
    limit = body.query_int("limit", PAGE_SIZE, low=1, high=200)
    if query := request.args.get("q", "").strip():
        found = search(current_user, query, limit=limit)
        return jsonify(chats=[shapes.hit(hit) for hit in found.hits], next_cursor=None, is_complete=found.is_whole)
    chats, cursor = page(current_user.id, limit, request.args.get("cursor"))
    return jsonify(chats=[shapes.chat(chat) for chat in chats], next_cursor=cursor)


@bp.get("/chat/<chat_id>")
def show(chat_id: str) -> ResponseReturnValue:
    chat = _chat(chat_id)
    limit = body.query_int("limit", MESSAGES_AT_ONCE, low=1, high=MESSAGES_AT_ONCE)
    found, cursor = page_upwards(chat, limit, body.query_uuid("cursor"))
    messages = [shapes.message(message, text_so_far(message)) for message in found]
    last = {"messages": messages, "next_cursor": str(cursor) if cursor else None}
    return jsonify(shapes.chat(chat) | shapes.options(chat) | last)


@bp.patch("/chat/<chat_id>")
def update(chat_id: str) -> ResponseReturnValue:
    _chat(chat_id)
    fields = body.chat(body.CHAT_CHANGES)
    with write():
        chat = _chat(chat_id)
        chat.change(fields)
    return jsonify(shapes.chat(chat))


@bp.delete("/chat/<chat_id>")
def destroy(chat_id: str) -> ResponseReturnValue:
    lifecycle.delete_chat(_chat(chat_id))
    return "", 204


@bp.post("/chat/<chat_id>/message")
@limit_sends
def send(chat_id: str) -> ResponseReturnValue:
    chat = _chat(chat_id)
    text = body.message()
    with live_turns().listeners.open_slot(current_user.id) as slot:
        started = lifecycle.start(current_user, chat, text, key=request.headers.get("Idempotency-Key"))
        return _stream(started.turn_id, 0, slot)


@bp.get("/chat/<chat_id>/message")
@limit_sends
def join_or_send(chat_id: str) -> ResponseReturnValue:
    """Serve an EventSource. It cannot POST and reconnects on its own, so a reconnect never starts a turn."""
    chat = _chat(chat_id)
    last_event_id = request.headers.get("Last-Event-ID")
    if last_event_id is not None:
        return _resume(chat, last_event_id)
    with live_turns().listeners.open_slot(current_user.id) as slot:
        started = lifecycle.start(
            current_user, chat, request.args.get("msg"), key=body.query_key("key"), joins_equal_text=True
        )
        return _stream(started.turn_id, 0, slot)


@bp.post("/chat/<chat_id>/stop")
def stop(chat_id: str) -> ResponseReturnValue:
    lifecycle.stop_chat(_chat(chat_id).id)
    return "", 204


def _chat(chat_id: str) -> Chat:
    try:
        return Chat.for_user(current_user, UUID(chat_id))
    except ValueError:
        raise ChatNotFound(_("Invalid chat ID format"), status=400) from None


def _resume(chat: Chat, last_event_id: str) -> ResponseReturnValue:
    """Resume right after a position. At the end, or if the turn isn't in this chat: 204, which stops an EventSource."""
    at = sse.read_position(last_event_id)
    turn = db.session.get(Turn, at[0]) if at else None
    if at is None or turn is None or turn.chat_id != chat.id or at[1] is None:
        return "", 204
    with live_turns().listeners.open_slot(current_user.id) as slot:
        return _stream(turn.id, at[1], slot)


def _stream(turn_id: UUID, offset: int, slot: ListenerSlot) -> Response:
    slot.listen_to(turn_id)
    identity = sessions.identity()
    heard = live_turns().follow(turn_id, offset, tick_seconds=TICK_SECONDS)
    frames = _frames(turn_id, offset, for_a_while(heard, settings().stream_seconds), lambda: sessions.is_good(identity))
    release()
    return streamed(stream_with_context(frames), sse.HEADERS, slot)


def _frames(
    turn_id: UUID,
    offset: int,
    heard: Iterable[Heard],
    is_good: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
    """Yield a turn's events. is_good returns whether the login is still valid (LoginCheck)."""
    login = LoginCheck(is_good, clock)
    if offset == 0:
        yield sse.position(turn_id)
    for item in heard:
        if login.has_ended(item):
            return
        if isinstance(item, Piece):
            yield sse.piece(turn_id, item)
        elif isinstance(item, Ending):
            yield sse.ending(turn_id, item)
        else:
            yield sse.KEEP_ALIVE
