"""A chat's messages as pages show them: questions with their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import select

from chatapp.auth.models import User
from chatapp.chats.models import Chat, Message, branch
from chatapp.kernel.errors import ChatNotFound, ChatNotYours, NotFound
from chatapp.kernel.extensions import db
from chatapp.rendering import open_fence

# A continued answer is read in steps; usually there is only one piece.
PIECES_AT_ONCE = 5
MOST_PIECES = 1000


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """A question and its answer. While in progress: also its turn, and the text and thoughts so far, if known."""

    question: Message | None
    answer: Message | None
    turn_id: UUID | None = None
    live_text: str | None = None
    live_thoughts: str | None = None
    opening: str = ""
    """The line that opens the code block in which the answer above was cut off, if this answer continues that block."""
    is_continued: bool = False
    """The answer ended early and the exchange below continues it."""

    @property
    def id(self) -> UUID | None:
        message = self.question or self.answer
        return message.id if message else None


@dataclass(frozen=True, slots=True)
class Versions:
    """A message's position among its versions, oldest first: ‹ number / count ›."""

    number: int
    count: int
    before_id: UUID | None
    after_id: UUID | None


def own_chat(user: User, chat_id: UUID, *, or_deleted: bool = False) -> Chat:
    """Load a chat for a page. Raises ChatNotFound for another user's too, so as not to reveal that it exists."""
    try:
        return Chat.for_user(user, chat_id, or_deleted=or_deleted)
    except ChatNotYours:
        raise ChatNotFound() from None


def own_message(user: User, message_id: UUID) -> tuple[Message, Chat]:
    """Load a message of one of a user's chats, and the chat. Raises NotFound, also for another user's."""
    message = db.session.get(Message, message_id)
    if message is None:
        raise NotFound()
    return message, own_chat(user, message.chat_id)


def shown_turns(messages: Iterable[Message]) -> list[ShownTurn]:
    """Pair each question with the answer below it, in order."""
    found: list[ShownTurn] = []
    for message in messages:
        last = found[-1] if found else None
        if message.role == "user":
            opening = ""
            if message.continues and last and last.answer:
                opening = open_fence(last.opening + last.answer.content)
                found[-1] = replace(last, is_continued=True)
            found.append(ShownTurn(message, None, opening=opening))
        elif last and last.question and last.answer is None:
            found[-1] = replace(last, answer=message)
        else:
            found.append(ShownTurn(None, message))
    return found


def opening_of(question: Message) -> str:
    """Return ShownTurn.opening for the answer to a question."""
    if not question.continues or question.parent_id is None:
        return ""
    opening = ""
    for content in _pieces(question.parent_id):
        opening = open_fence(opening + content)
    return opening


def whole_text(message: Message) -> str:
    """Return a message's text; for an answer that continues those above it, all of them as one text."""
    return "".join(_pieces(message.id)) if message.role == "assistant" else message.content


def _pieces(answer_id: UUID) -> list[str]:
    """Return the texts of an answer and of the answers above it that it continues, oldest first."""
    texts: list[str] = []
    before: UUID | None = None
    while len(texts) < MOST_PIECES:
        above = branch(answer_id, PIECES_AT_ONCE * 2, before)
        for message in reversed(above):
            if message.role == "assistant":
                texts.insert(0, message.content)
            elif not message.continues:
                return texts
        if not above or above[0].parent_id is None:
            return texts
        before = above[0].id
    return texts


def versions(messages: Sequence[Message]) -> dict[UUID, Versions]:
    """Return each message's position among its versions; messages without other versions are left out."""
    if not messages:
        return {}
    parents = [message.parent_id for message in messages if message.parent_id]
    in_place = [Message.parent_id.in_(parents)]
    if len(parents) < len(messages):
        in_place.append(Message.parent_id.is_(None))
    rows = db.session.execute(
        select(Message.id, Message.parent_id)
        .where(Message.chat_id == messages[0].chat_id, db.or_(*in_place))
        .order_by(Message.created_at, Message.id)
    )
    places: dict[UUID | None, list[UUID]] = {}
    for message_id, parent_id in rows:
        places.setdefault(parent_id, []).append(message_id)
    shown = {message.id for message in messages}
    return {
        message_id: Versions(number, len(ids), ids[number - 2] if number > 1 else None, ([*ids, None])[number])
        for ids in places.values()
        if len(ids) > 1
        for number, message_id in enumerate(ids, 1)
        if message_id in shown
    }
