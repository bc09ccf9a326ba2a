"""A turn from start to end: start → run (live/process.py) → end (endings.py); stop; recover (recovery.py).

start: check the text → join the turn if this send has already started one → in one transaction save the question, the
empty answer and the turn (the database rejects a second open turn in the chat) and admit its exchange
(exchanges/admission.py) → commit → a worker starts. A rejection leaves nothing behind.

A chat is a tree, so a turn may also start above the end of a branch (Position): revise rewords a question, regenerate
answers one again, go_on asks for the rest of an answer that ended early. Each is a separate turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from flask_babel import gettext as _
from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.exc import IntegrityError

from chatapp.auth.models import User
from chatapp.chats.models import CHANGE_CHAT, MESSAGES, Chat, Message, last_below
from chatapp.exchanges.admission import Terms, admit, bounds_of
from chatapp.exchanges.models import Exchange
from chatapp.kernel.config import settings
from chatapp.kernel.database import execute_core, now, retry_write
from chatapp.kernel.errors import ChatNotFound, InvalidMessage, InvalidRequest, KeyReused, RateLimited, TurnConflict
from chatapp.kernel.extensions import db
from chatapp.kernel.text import N_, is_storable, normalise
from chatapp.providers.base import ChatRequest, PromptMessage
from chatapp.providers.registry import providers
from chatapp.turns.context import Fitted, fit, history_from
from chatapp.turns.live.process import live_turns
from chatapp.turns.models import TURNS, Started, Turn
from chatapp.turns.titles import first_line

SAME_SEND = timedelta(seconds=15)
KEY_CHARS = 200
# Sent to the model, never shown. Always in English: every model continues in the language of its own text.
CONTINUE = (
    "Go on with your answer exactly behind its last character, as one text with it: "
    "repeat nothing, begin with no remark."
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a turn goes in a chat's tree.

    question_id: an existing question to answer again. Otherwise a new question is written below parent_id (None: it is
    the first). continues: the new question only asks for the rest of the answer above.
    """

    parent_id: UUID | None = None
    question_id: UUID | None = None
    continues: bool = False


@dataclass(frozen=True, slots=True)
class _Send:
    """The request as plain values: objects do not survive a retried transaction. place None: at the end."""

    user_id: UUID
    chat_id: UUID
    text: str
    key: str | None
    joins_equal_text: bool
    place: Position | None
    model: str | None = None


def start(
    user: User,
    chat: Chat,
    text: object,
    *,
    key: str | None = None,
    joins_equal_text: bool = False,
    place: Position | None = None,
    model: str | None = None,
) -> Started:
    """Start the answer to a message, or join the turn that the same send has already started.

    place: where it goes; None means the end of the shown branch. Its branch becomes the shown one. model: the model to
    switch the chat to; None keeps the chat's.

    Raises InvalidMessage, InvalidRequest, TurnConflict, KeyReused, BudgetExceeded, Unavailable.
    """
    # Don't check an accepted question again; the limit may have changed.
    is_known = place is not None and (place.question_id is not None or place.continues)
    checked = str(text) if is_known else checked_message(text)
    if model is not None:
        providers().for_model(model)
    send = _Send(user.id, chat.id, checked, _checked_key(key), joins_equal_text, place, model)
    if (same := _same_send(send)) is not None:
        return same
    with live_turns().open_slot():
        try:
            started, terms, request = _admit_once(send)
        except IntegrityError:
            # Another request was faster: the same send, or a different one in this chat.
            db.session.rollback()
            if (same := _same_send(send)) is not None:
                return same
            raise TurnConflict() from None
        live_turns().begin(started, terms, request)
    return started


def revise(
    user: User, chat: Chat, question: Message, text: object, *, key: str | None = None, model: str | None = None
) -> Started:
    """Ask a reworded question as a new version of the old one. Raises what start does."""
    return start(user, chat, text, key=key, place=Position(question.parent_id), model=model)


def regenerate(user: User, chat: Chat, answer: Message, *, key: str | None = None, model: str | None = None) -> Started:
    """Answer a question again; the old answer is kept. Raises what start does."""
    question = _question_of(answer)
    return start(user, chat, question.content, key=key, place=Position(question_id=question.id), model=model)


def go_on(user: User, chat: Chat, answer: Message, *, key: str | None = None) -> Started:
    """Ask for the rest of an answer that ended early. Raises what start does.

    The model gets its own text and is asked to continue after it, so the rest is a separate answer: nothing is sent,
    saved or charged twice, and questions and answers alternate.
    """
    if not answer.can_go_on:
        raise InvalidRequest(_("This answer is already complete"))
    return start(user, chat, CONTINUE, key=key, place=Position(answer.id, continues=True))


def choose(chat: Chat, message: Message) -> None:
    """Show the branch through a message: below it, the one with the newest message."""
    chat_id, head_id = chat.id, last_below(message.id)
    # The statement itself checks for an open turn: one that starts right now must end on the shown branch.
    is_open = select(Turn.id).where(Turn.chat_id == chat_id, Turn.is_open).exists()
    chosen = update(Chat).where(Chat.id == chat_id, ~is_open).values(head_id=head_id)
    if retry_write(lambda: cast(CursorResult[Any], db.session.execute(chosen)).rowcount) != 1:
        raise TurnConflict()


def stop(turn_id: UUID) -> None:
    """Ask a turn to end, wherever it runs. What it has so far is saved and charged; an ended turn stays as it is."""
    if live_turns().stop(turn_id):
        return
    retry_write(
        lambda: db.session.execute(
            update(Exchange)
            .where(Exchange.id == turn_id, Exchange.status == "in_progress")
            .values(stop_requested_at=now())
        )
    )


def stop_chat(chat_id: UUID) -> None:
    """Stop the turn in progress, if there is one."""
    turn = Turn.open_in(chat_id)
    if turn is not None:
        stop(turn.id)


def delete_chat(chat: Chat) -> None:
    """Stop what a chat answers, and hide it."""
    chat_id = chat.id
    stop_chat(chat_id)

    def hide() -> None:
        if found := db.session.get(Chat, chat_id):
            found.delete()

    retry_write(hide)


def checked_message(text: object) -> str:
    """Return the cleaned text, which is measured, saved, counted and sent as it is. Raises InvalidMessage."""
    limit = settings().message_chars
    if not isinstance(text, str):
        raise InvalidMessage(_("message must be a text"))
    if not is_storable(text):
        raise InvalidMessage(_("message contains characters that cannot be stored (NUL or lone surrogates)"))
    text = normalise(text).strip()
    if not 1 <= len(text) <= limit:
        raise InvalidMessage(_("Message must be between 1 and %(limit)s characters", limit=limit))
    return text


def _checked_key(key: str | None) -> str | None:
    if key is None or (1 <= len(key) <= KEY_CHARS and key.isascii() and key.isprintable() and " " not in key):
        return key
    raise InvalidRequest(_("Idempotency-Key must be 1 to %(limit)s visible ASCII characters", limit=KEY_CHARS))


def _same_send(send: _Send) -> Started | None:
    """Return the turn that this same send started earlier: by its key, or by its text for the GET form."""
    if send.key is None and not send.joins_equal_text:
        return None
    found = (
        select(Turn, Message.content)
        .join(Message, Message.id == Turn.question_id)
        .join(Exchange, Exchange.id == Turn.id)
        .where(Turn.chat_id == send.chat_id)
        .order_by(Turn.started_at.desc())
        .limit(1)
    )
    if send.key is not None:
        row = db.session.execute(found.where(Turn.key == send.key)).one_or_none()
        if row is not None and row.content != send.text:
            raise KeyReused()
    else:
        is_recent = db.or_(Turn.is_open, Exchange.ended_at > now() - SAME_SEND)
        row = db.session.execute(found.where(Message.content == send.text, is_recent)).one_or_none()
    if row is None:
        return None
    turn = row.Turn
    return Started(turn.id, turn.chat_id, turn.question_id, turn.answer_id, joined=True)


def _admit_once(send: _Send) -> tuple[Started, Terms, ChatRequest]:
    """Admit, retrying transient errors.

    If the connection broke after the commit but before its confirmation, the next attempt finds the turn. It is then
    started here, not joined as if another process were working on it.
    """
    admitted: list[tuple[Started, Terms, ChatRequest]] = []

    def attempt() -> tuple[Started, Terms, ChatRequest]:
        if not admitted or db.session.get(Turn, admitted[-1][0].turn_id) is None:
            admitted.append(_admit(send))
        return admitted[-1]

    return retry_write(attempt)


def _admit(send: _Send) -> tuple[Started, Terms, ChatRequest]:
    """Save the question and the turn and reserve the budget, in one transaction; the caller commits."""
    chat = db.session.get(Chat, send.chat_id, populate_existing=True)
    if chat is None or chat.deleted_at is not None:
        raise ChatNotFound()
    _check_share(send.user_id)
    # A model that is no longer offered (a key was added or removed) must not make the chat unusable.
    model = providers().offered(send.model or chat.model)
    place = send.place or Position(chat.head_id)
    started = Started(uuid4(), chat.id, place.question_id or uuid4(), uuid4())
    bounds = bounds_of(model, chat.thinking_tokens, settings().metering)
    prompt = system_prompt_of(chat)
    fitted = fit(providers().model(model), prompt, send.text, history_from(_above(place)), bounds.longest)
    if place.continues and not fitted.history:
        raise InvalidMessage(_("This answer is too long for this model to continue"))
    _save_messages(send, started, place, model)
    # Here the database rejects a second open turn and a second use of a key, before any budget is reserved.
    _save_turn(send, started, _sent(prompt, fitted, started.question_id, send.text))
    asked = Terms(
        purpose="answer",
        user_id=send.user_id,
        chat_id=chat.id,
        model=model,
        texts={"question": send.text, "system": prompt},
        estimates={
            "system": fitted.system_tokens,
            "history": sum(fitted.history_tokens),
            "question": fitted.question_tokens,
        },
    )
    terms = admit(started.turn_id, asked, replace(bounds, longest=fitted.longest))
    shown = {"model": model, "head_id": started.answer_id, "title": chat.title or first_line(send.text)}
    execute_core(CHANGE_CHAT, {"chat": chat.id, "updated_at": now(), **shown})
    request = ChatRequest(
        model=model,
        messages=(*map(_as_prompt, fitted.history), PromptMessage.of_text("user", send.text)),
        max_output_tokens=terms.answer_tokens,
        system_prompt=prompt,
        temperature=chat.temperature,
        thinking_tokens=min(chat.thinking_tokens or 0, terms.thinking_tokens),
    )
    return started, terms, request


def _check_share(user_id: UUID) -> None:
    """Raise RateLimited if the user has too many answers in progress: all users share the slots."""
    own = select(func.count()).select_from(Turn).where(Turn.user_id == user_id, Turn.is_open)
    if (db.session.scalar(own) or 0) >= settings().max_user_turns:
        raise RateLimited(
            N_("Too many of your answers are in progress. Wait for one to finish"), retry_after_seconds=10
        )


def _above(place: Position) -> UUID | None:
    """Return the message above the question at a position."""
    return db.session.get_one(Message, place.question_id).parent_id if place.question_id else place.parent_id


def _save_messages(send: _Send, started: Started, place: Position, model: str) -> None:
    """Save the empty answer, and the question unless it exists already."""
    question = {
        "id": started.question_id,
        "chat_id": started.chat_id,
        "parent_id": place.parent_id,
        "role": "user",
        "content": send.text,
        "continues": place.continues,
        "status": "completed",
        "model": model,
        "exchange_id": None,
    }
    answer = {
        **question,
        "id": started.answer_id,
        "parent_id": started.question_id,
        "role": "assistant",
        "content": "",
        "continues": False,
        "status": "in_progress",
        "exchange_id": started.turn_id,
    }
    execute_core(MESSAGES.insert(), [answer] if place.question_id else [question, answer])


def _save_turn(send: _Send, started: Started, sent: list[dict[str, Any]]) -> None:
    turn = {
        "id": started.turn_id,
        "chat_id": started.chat_id,
        "user_id": send.user_id,
        "question_id": started.question_id,
        "answer_id": started.answer_id,
        "key": send.key,
        "sent": sent,
    }
    execute_core(TURNS.insert(), turn)


def _question_of(answer: Message) -> Message:
    question = db.session.get(Message, answer.parent_id) if answer.parent_id else None
    if answer.role != "assistant" or question is None or question.role != "user":
        raise InvalidRequest(_("Only an answer to a question can be regenerated"))
    return question


def _sent(prompt: str, fitted: Fitted, question_id: UUID, text: str) -> list[dict[str, Any]]:
    """Return what the model is sent, oldest first, with estimates: the bill shows it, even if it changes later."""
    return [
        {"role": "system", "tokens": fitted.system_tokens, "text": prompt},
        *(
            {"role": message.role, "message_id": str(message.id), "tokens": tokens}
            for message, tokens in zip(fitted.history, fitted.history_tokens, strict=True)
        ),
        {"role": "user", "message_id": str(question_id), "tokens": fitted.question_tokens},
    ]


def _as_prompt(message: Message) -> PromptMessage:
    return PromptMessage.of_text("assistant" if message.role == "assistant" else "user", message.content)


def system_prompt_of(chat: Chat) -> str:
    return chat.system_prompt or settings().system_prompt
