"""A title from the model, if TITLES=model: a separate exchange after a chat's first answer.

Whatever goes wrong, the chat keeps its first line as its title, and nobody waits. A chat that was renamed meanwhile
keeps that name.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from contextlib import closing
from dataclasses import dataclass
from uuid import UUID, uuid4

import gevent
from sqlalchemy import select, update

from chatapp.chats.models import CHATS, Chat, Message
from chatapp.exchanges import running, settling
from chatapp.exchanges.admission import Bounds, Terms, admit
from chatapp.exchanges.models import Exchange
from chatapp.exchanges.settling import Outcome, Produced, Settled
from chatapp.kernel.database import execute_core, release, retry_write
from chatapp.kernel.errors import BudgetExceeded, ProviderTimeout
from chatapp.kernel.extensions import db
from chatapp.kernel.text import clean_model_text
from chatapp.providers.base import ChatRequest, PromptMessage
from chatapp.tokens.estimate import calibrated
from chatapp.turns.models import Turn

logger = logging.getLogger(__name__)

TITLE_CHARS = 60
# More than a title needs: some models start with a polite phrase.
BOUNDS = Bounds(longest=64, least_answer=16)
SHOWN_CHARS = 1000
ASKED_SECONDS = 20
SETTLE_SECONDS = 30
INSTRUCTIONS = (
    "Write a title for this conversation: at most six words, in its language, without quotation marks. "
    "Answer with the title only."
)
FENCE = re.compile(r"`{3}|~{3}")
LABEL = re.compile(r"^(?:title|titel|titre|título)\s*[:–-]\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Job:
    id: UUID
    chat_id: UUID
    old_title: str
    terms: Terms


def suggest(turn_id: UUID, in_progress: set[UUID]) -> None:
    """Name the chat whose first turn has just ended, if its title is still its first line. Never raises.

    in_progress: holds the exchange's id while this process is working on it.
    """
    exchange_id = uuid4()
    in_progress.add(exchange_id)
    try:
        job = retry_write(lambda: _begin(exchange_id, turn_id))
        release()
        if job is not None:
            _finish(job, *_ask(job.terms))
    except BudgetExceeded:
        return
    except Exception:
        # The sweep settles the reservation.
        logger.exception("Could not make a title", extra={"turnId": str(turn_id)})
    finally:
        in_progress.discard(exchange_id)


def of_chat(chat_id: UUID) -> Exchange | None:
    """Return the exchange for a chat's title."""
    found = select(Exchange).where(Exchange.chat_id == chat_id, Exchange.purpose == "title")
    return db.session.scalar(found.limit(1))


def first_line(text: str) -> str:
    """Return a chat's default title: the first line of its first message that is not blank or a code fence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _shortened(next((line for line in lines if not FENCE.match(line)), lines[0]))


def clean(text: str) -> str:
    """Return a model's title as one short line without markup and invisible characters; "" if nothing is left."""
    line = next((line for line in clean_model_text(text).splitlines() if line.strip(" #*_`\"'")), "")
    seen = "".join(char for char in line if char == "\t" or unicodedata.category(char)[0] != "C")
    words = LABEL.sub("", " ".join(seen.split()).strip("#*_`\"'“”„«»‘’ "))
    return _shortened(words.strip("*_`\"'“”„«»‘’ ").rstrip(". "))


def _shortened(line: str) -> str:
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def _begin(exchange_id: UUID, turn_id: UUID) -> _Job | None:
    """Admit the exchange; None if the chat needs no title. Raises BudgetExceeded and then leaves nothing behind."""
    answer = db.aliased(Message)
    row = db.session.execute(
        select(Chat, Message.content, answer.content.label("answer"))
        .join(Turn, Turn.chat_id == Chat.id)
        .join(Message, Message.id == Turn.question_id)
        .join(answer, answer.id == Turn.answer_id)
        .where(
            Turn.id == turn_id,
            answer.status == "completed",
            Message.parent_id.is_(None),
            Chat.deleted_at.is_(None),
        )
    ).one_or_none()
    if row is None or row.Chat.title != first_line(row.content) or of_chat(row.Chat.id):
        return None
    chat, shown = row.Chat, f"{row.content[:SHOWN_CHARS]}\n\n---\n\n{row.answer[:SHOWN_CHARS]}"
    asked = Terms(
        purpose="title",
        user_id=chat.user_id,
        chat_id=chat.id,
        model=chat.model,
        texts={"question": shown, "system": INSTRUCTIONS},
        estimates={"system": calibrated(INSTRUCTIONS), "question": calibrated(shown)},
    )
    return _Job(exchange_id, chat.id, chat.title, admit(exchange_id, asked, BOUNDS))


def _ask(terms: Terms) -> tuple[Produced, Outcome]:
    request = ChatRequest(
        model=terms.model,
        messages=(PromptMessage.of_text("user", terms.texts["question"]),),
        max_output_tokens=terms.answer_tokens,
        system_prompt=INSTRUCTIONS,
        thinking_tokens=0,
    )
    said, usage, reason = "", None, None
    try:
        with gevent.Timeout(ASKED_SECONDS, ProviderTimeout()), closing(running.read(request)) as chunks:
            for chunk in chunks:
                said += chunk.delta
                usage, reason = chunk.usage or usage, chunk.finish_reason or reason
    except Exception as error:
        logger.info("No title was made: %s", type(error).__name__)
        return Produced(said, usage=usage), settling.failed(error, said, was_heard=usage is not None)
    return Produced(said, usage=usage), settling.finished(said, reason, is_clamped=False)


def _finish(job: _Job, produced: Produced, outcome: Outcome) -> None:
    title = clean(produced.text)

    def save(_settled: Settled) -> None:
        if title:
            is_unchanged = (CHATS.c.id == job.chat_id) & (CHATS.c.title == job.old_title)
            execute_core(update(CHATS).where(is_unchanged).values(title=title))

    settling.settle(job.id, produced, outcome, terms=job.terms, save=save, seconds=SETTLE_SECONDS)
