"""The conversation page: start a chat, send, follow or stop an answer, choose versions, copy a message's source."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import takewhile
from typing import Any
from uuid import UUID, uuid4, uuid5

from flask import Blueprint, Response, render_template, request, stream_with_context, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user, login_required
from markupsafe import Markup
from sqlalchemy import delete as delete_rows
from sqlalchemy import select as select_rows
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from chatapp import rendering
from chatapp.auth import sessions
from chatapp.budget import notices
from chatapp.budget.queries import usage_of
from chatapp.chats import options, queries
from chatapp.chats.models import Chat, Message
from chatapp.chats.sidebar import shown_sidebar
from chatapp.conversation import page, words
from chatapp.conversation import stream as stream_frames
from chatapp.kernel.config import settings
from chatapp.kernel.database import is_store_trouble, release, write
from chatapp.kernel.errors import KeyReused, NotFound, RateLimited, Unavailable
from chatapp.kernel.extensions import db, limiter
from chatapp.kernel.web import form_again, is_htmx, redirect_to
from chatapp.personas import choice
from chatapp.providers.base import ModelInfo
from chatapp.providers.registry import providers
from chatapp.turns import lifecycle
from chatapp.turns.lifecycle import Started
from chatapp.turns.live.listeners import ListenerSlot, for_a_while, streamed
from chatapp.turns.live.log import Ending
from chatapp.turns.live.process import live_turns
from chatapp.turns.models import Turn
from chatapp.turns.preview import preview

logger = logging.getLogger(__name__)

bp = Blueprint("conversation", __name__)

# How long a page that may not stay connected waits for text; text from another process takes a moment to arrive.
GLANCE_SECONDS = 0.1

limit_sends = limiter.shared_limit(lambda: f"{settings().sends_per_minute} per minute", scope="sends")

bp.add_app_template_global(words.ending_text)
bp.add_app_template_global(words.is_long)
bp.add_app_template_global(words.is_mendable)
bp.add_app_template_global(words.method_text)


@bp.app_template_global()
def new_key() -> str:
    """Return an idempotency key for a form: submitted twice, it starts one turn."""
    return str(uuid4())


@bp.app_template_filter()
def markdown(text: str) -> Markup:
    return rendering.render(text, _("Copy"))


@bp.app_template_global()
def model_label(model_id: str) -> str:
    """Return a model's display name; its id if it is no longer offered."""
    labels = {info.id: info.label for info in providers().models()}
    return labels.get(model_id, model_id)


@bp.app_template_global()
def offered_models() -> list[ModelInfo]:
    return providers().models()


@bp.get("/")
@login_required
def index() -> ResponseReturnValue:
    return _first_page()


def _first_page(problem: str = "") -> str:
    """Render the start page. problem: why the message was rejected."""
    model = providers().offered(current_user.default_model)
    values: dict[str, Any] = {"chat": None, "exchanges": [], "versions": {}, "turn_id": None}
    values["personas"] = choice.choices(current_user)
    return render_template("conversation/show.html", **values, **page.composer(model, problem))


@bp.post("/chats")
@form_again(_first_page)
@login_required
@limit_sends
def begin() -> ResponseReturnValue:
    """Start a chat with its first message. Its id comes from the key, so a form submitted twice starts one chat."""
    key = request.form.get("key") or str(uuid4())
    chat = _begin(uuid5(current_user.id, key))
    try:
        started = lifecycle.start(current_user, chat, page.posted_text(), key=key)
    except KeyReused:
        # An old form with a new text starts another chat.
        key = str(uuid4())
        started = lifecycle.start(current_user, _begin(uuid5(current_user.id, key)), page.posted_text(), key=key)
    except Exception:
        _forget_empty(chat.id)
        raise
    if not is_htmx() or started.joined:
        return redirect_to("conversation.show", chat_id=started.chat_id)
    return (
        started_fragment(started, is_new=True),
        200,
        {"HX-Push-Url": url_for("conversation.show", chat_id=started.chat_id)},
    )


@bp.get("/chats/<uuid:chat_id>")
@login_required
def show(chat_id: UUID) -> ResponseReturnValue:
    chat = queries.own_chat(current_user, chat_id)
    before = request.args.get("before", type=UUID)
    values = page.shown(chat, before=before, with_id=request.args.get("at", type=UUID))
    if is_htmx() and before:
        return render_template("conversation/_turns.html", **values, budget=usage_of(current_user.id))
    return render_template("conversation/show.html", **values, **page.composer(chat.model))


def _chat_page(problem: str, chat_id: UUID) -> str:
    chat = queries.own_chat(current_user, chat_id)
    return render_template("conversation/show.html", **page.shown(chat), **page.composer(chat.model, problem))


@bp.post("/chats/<uuid:chat_id>/messages")
@form_again(_chat_page)
@login_required
@limit_sends
def send(chat_id: UUID) -> ResponseReturnValue:
    chat = queries.own_chat(current_user, chat_id)
    text, model = page.posted_text(), request.form.get("model") or None
    try:
        started = lifecycle.start(current_user, chat, text, key=request.form.get("key") or None, model=model)
    except KeyReused:
        # An old form with a new text is a new message, not a resend.
        started = lifecycle.start(current_user, chat, text, key=str(uuid4()), model=model)
    if not is_htmx() or started.joined:
        return redirect_to("conversation.show", chat_id=chat_id)
    before_id, seen = db.session.get_one(Message, started.question_id).parent_id, request.headers.get("X-Seen")
    if seen is not None and seen != str(before_id or ""):
        # Messages were added elsewhere meanwhile; the new one belongs below them.
        return _conversation(chat_id, says=_("The answer is being written.")), 200, {"HX-Reswap": "innerHTML"}
    return started_fragment(started)


@bp.post("/drafts")
@login_required
def estimate() -> ResponseReturnValue:
    """Show what the draft would cost. A POST, because a draft does not belong in a URL; it changes nothing."""
    chat_id = request.args.get("chat", type=UUID)
    chat = queries.own_chat(current_user, chat_id) if chat_id else None
    foretold = preview(current_user.id, chat, request.form.get("text", ""), request.form.get("model"))
    return render_template("usage/_draft.html", preview=foretold)


def _edit_page(problem: str, message_id: UUID) -> str:
    message, chat = queries.own_message(current_user, message_id)
    if message.role == "assistant":
        return _chat_page(problem, chat.id)
    return _edit_form("conversation/edit.html", message, chat, problem=problem, draft=page.posted_text())


@bp.post("/messages/<uuid:message_id>/versions")
@form_again(_edit_page)
@login_required
@limit_sends
def create_version(message_id: UUID) -> ResponseReturnValue:
    """Regenerate an answer or revise a question. The old version is kept."""
    message, chat = queries.own_message(current_user, message_id)
    key = request.form.get("key") or str(uuid4())
    # The menu's choice goes before the composer's.
    model = request.form.get("with_model") or request.form.get("model") or None
    if message.role == "assistant":
        return _redrawn(lifecycle.regenerate(current_user, chat, message, key=key, model=model))
    if message.continues:
        raise NotFound()
    try:
        return _redrawn(lifecycle.revise(current_user, chat, message, page.posted_text(), key=key, model=model))
    except KeyReused:
        # An earlier page was submitted again with a different text.
        message, chat = queries.own_message(current_user, message_id)
        return _redrawn(lifecycle.revise(current_user, chat, message, page.posted_text(), model=model))


@bp.post("/messages/<uuid:message_id>/continuation")
@login_required
@limit_sends
def continue_answer(message_id: UUID) -> ResponseReturnValue:
    message, chat = queries.own_message(current_user, message_id)
    return _redrawn(lifecycle.go_on(current_user, chat, message, key=request.form.get("key") or None))


@bp.post("/messages/<uuid:message_id>/selection")
@login_required
def select(message_id: UUID) -> ResponseReturnValue:
    """Show another version of a message, and the branch below it."""
    message, chat = queries.own_message(current_user, message_id)
    chat_id = chat.id
    lifecycle.choose(chat, message)
    if not is_htmx():
        return redirect_to("conversation.show", chat_id=chat_id, at=message_id, _anchor=f"m{message_id}")
    return _conversation(chat_id, with_id=message_id)


@bp.get("/messages/<uuid:message_id>/edit")
@login_required
def edit(message_id: UUID) -> ResponseReturnValue:
    message, chat = queries.own_message(current_user, message_id)
    if message.role != "user" or message.continues:
        raise NotFound()
    return _edit_form("conversation/_edit.html" if is_htmx() else "conversation/edit.html", message, chat)


def _edit_form(template: str, message: Message, chat: Chat, **refused: str) -> str:
    values = {"draft": message.content, "problem": "", **refused}
    return render_template(template, message=message, chat=chat, **values)


@bp.get("/messages/<uuid:message_id>")
@login_required
def show_message(message_id: UUID) -> ResponseReturnValue:
    """Render a question as in the conversation; cancelling an edit returns to it."""
    message, chat = queries.own_message(current_user, message_id)
    if message.role != "user" or not is_htmx():
        return redirect_to("conversation.show", chat_id=chat.id, _anchor=f"m{message_id}")
    return render_template("conversation/_question.html", message=message, versions=queries.versions([message]))


@bp.get("/chats/<uuid:chat_id>/news")
@login_required
def changes(chat_id: UUID) -> ResponseReturnValue:
    """Render the conversation again if its last message is not the one seen. at: a message to include."""
    chat = queries.own_chat(current_user, chat_id)
    if str(chat.head_id) == request.args.get("seen"):
        return "", 204
    says = _("Conversation updated.")
    return _conversation(chat_id, with_id=request.args.get("at", type=UUID), says=says)


@bp.get("/turns/<uuid:turn_id>/stream")
def stream(turn_id: UUID) -> ResponseReturnValue:
    """Follow a turn. A refusal is a stream that ends at once; after any other response htmx would retry forever."""
    turn = _own_turn(turn_id)
    # A HEAD has no body, so its listener slot would never be released.
    if turn is None or request.method == "HEAD":
        return Response([stream_frames.DONE], headers=stream_frames.HEADERS)
    try:
        with live_turns().listeners.open_slot(current_user.id) as slot:
            slot.listen_to(turn_id)
            # Until the response owns the slot, any failure here must release it.
            return streamed(_frames_of(turn, slot), stream_frames.HEADERS, slot)
    except (RateLimited, Unavailable):
        return Response([stream_frames.DONE], headers=stream_frames.HEADERS)


def _frames_of(turn: Turn, slot: ListenerSlot) -> Iterable[str]:
    turn_id, answer_id, identity = turn.id, turn.answer_id, sessions.identity()
    opening = queries.opening_of(db.session.get_one(Message, turn.question_id))
    tick = stream_frames.tick_seconds(request.headers.get("Sec-CH-UA-Mobile"), request.headers.get("User-Agent", ""))
    follow = partial(live_turns().follow, turn_id, tick_seconds=tick, with_thoughts=True)
    if slot.may_stay(identity[1]):
        heard = for_a_while(follow(), settings().stream_seconds)
    else:
        # Send what there is so far; the page asks again half a second later and holds no connection meanwhile.
        heard = takewhile(lambda item: item is not None, follow(heartbeat_seconds=GLANCE_SECONDS))
    release()
    frames = stream_frames.frames(
        answer_id, heard, _ended(turn_id), lambda: sessions.is_good(identity), opening=opening, tick_seconds=tick
    )
    return stream_with_context(frames)


@bp.post("/turns/<uuid:turn_id>/cancellation")
@login_required
def stop(turn_id: UUID) -> ResponseReturnValue:
    turn = Turn.for_user(current_user, turn_id)
    chat_id = turn.chat_id
    lifecycle.stop(turn_id)
    return ("", 204) if is_htmx() else redirect_to("conversation.show", chat_id=chat_id)


@bp.get("/messages/<uuid:message_id>.md")
@login_required
def source(message_id: UUID) -> ResponseReturnValue:
    """Return a message's source; a continued answer in one piece."""
    message, _chat = queries.own_message(current_user, message_id)
    return Response(queries.whole_text(message), content_type="text/plain; charset=utf-8")


def started_fragment(started: Started, is_new: bool = False) -> str:
    """Render a turn that has just started and what changes around it."""
    chat = db.session.get_one(Chat, started.chat_id)
    question, answer = (db.session.get_one(Message, key) for key in (started.question_id, started.answer_id))
    listed = shown_sidebar(chat.id)
    return render_template(
        "conversation/_started.html",
        chat=chat,
        exchange=queries.ShownTurn(question, answer, started.turn_id, opening=queries.opening_of(question)),
        versions={},
        turn_id=started.turn_id,
        list=None if listed.version == request.headers.get("X-List-Version") else listed,
        is_new=is_new,
        key=str(uuid4()),
        **notices.shown(current_user.id),
        message_chars=settings().message_chars,
        models=providers().models(),
        model=chat.model,
    )


def _redrawn(started: Started) -> ResponseReturnValue:
    """Show a turn that did not start at the end of the chat: everything below that place has changed."""
    if not is_htmx():
        return redirect_to("conversation.show", chat_id=started.chat_id, _anchor=f"m{started.answer_id}")
    return _conversation(started.chat_id, says=_("The answer is being written."))


def _conversation(chat_id: UUID, *, with_id: UUID | None = None, says: str = "") -> str:
    chat = db.session.get_one(Chat, chat_id)
    return render_template(
        "conversation/_conversation.html",
        **page.shown(chat, with_id=with_id),
        list=shown_sidebar(chat_id),
        key=str(uuid4()),
        **notices.shown(current_user.id),
        says=says,
    )


def _ended(turn_id: UUID) -> Callable[[Ending], str | None]:
    def draw(ending: Ending) -> str | None:
        """Render the end from the database, which has all of it by now; "" if the chat was deleted.

        None if the database does not respond. A bug also gives "": otherwise the page would reconnect forever.
        """
        try:
            turn = db.session.get(Turn, turn_id)
            if turn is None:
                return ""
            answer = db.session.get_one(Message, turn.answer_id)
            return render_template(
                "conversation/_ended.html",
                message=answer,
                versions=queries.versions([answer]),
                question=(question := db.session.get_one(Message, turn.question_id)),
                names_chat=settings().titles == "model"
                and question.parent_id is None
                and turn.exchange.status == "completed",
                turn_id=(open_turn := Turn.open_in(turn.chat_id)) and open_turn.id,
                **notices.shown(turn.user_id),
            )
        except Exception as error:
            if is_store_trouble(error):
                logger.warning("Could not render the end of an answer: %s", type(error).__name__)
                return None
            logger.exception("Could not render the end of an answer")
            return ""
        finally:
            release()

    return draw


def _own_turn(turn_id: UUID) -> Turn | None:
    try:
        return Turn.for_user(current_user, turn_id) if current_user.is_authenticated else None
    except NotFound:
        return None


def _begin(chat_id: UUID) -> Chat:
    user_id, values = current_user.id, options.for_new_chat(current_user, request.form)
    try:
        with write() as session:
            if session.get(Chat, chat_id) is None:
                session.add(Chat(id=chat_id, user_id=user_id, **values))
    except IntegrityError:
        # The same form was submitted twice at once, and the other request was faster.
        db.session.rollback()
    return queries.own_chat(current_user, chat_id)


def _forget_empty(chat_id: UUID) -> None:
    """Remove a chat whose first message was rejected, unless another request is adding one."""
    with suppress(SQLAlchemyError), write() as session:
        has_messages = select_rows(Message.id).where(Message.chat_id == chat_id).exists()
        session.execute(delete_rows(Chat).where(Chat.id == chat_id, Chat.head_id.is_(None), ~has_messages))
