"""A title by the model, where TITLES=model: a short generation of its own after the first answer of a chat.

begin: in one transaction note it and reserve its budget → ask, for a few seconds at most → in one transaction settle
and name the chat, unless somebody has named it meanwhile. It has its own id in the ledger, with one reserve, one
release and one charge as a turn has. Whatever goes wrong, the chat keeps its first line for a title, and nobody waits.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import gevent
from sqlalchemy import CursorResult, select, update

from chatapp.budget import ledger, records
from chatapp.budget.pricing import prices
from chatapp.chats.models import Chat, Message
from chatapp.kernel.config import settings
from chatapp.kernel.database import database_now, now, release, retry_write
from chatapp.kernel.errors import BudgetExceeded, ProviderTimeout
from chatapp.kernel.extensions import db
from chatapp.kernel.text import clean_model_text
from chatapp.providers.base import ChatRequest, PromptMessage, Usage
from chatapp.providers.registry import providers
from chatapp.tokens.count import TokenCount, counter, weakest
from chatapp.tokens.estimate import calibrated
from chatapp.turns import settle
from chatapp.turns.models import TitleTurn, Turn

log = logging.getLogger(__name__)

TITLE_CHARS = 60
# More than a title needs: some models begin with a word of politeness.
ANSWER_TOKENS = 64
MIN_ANSWER_TOKENS = 16
SHOWN_CHARS = 1000
ASKED_SECONDS = 20
# Whoever began it is gone, or has given up long ago.
LEFT_AFTER = timedelta(seconds=90)
INSTRUCTIONS = (
    "Write a title for this conversation: at most six words, in its language, without quotation marks. "
    "Answer with the title only."
)
FENCE = re.compile(r"`{3}|~{3}")
LABEL = re.compile(r"^(?:title|titel|titre|título)\s*[:–-]\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Job:
    id: UUID
    user_id: UUID
    chat_id: UUID
    old_title: str
    text: str
    model: str
    reserved: int
    answer_tokens: int


def suggest(turn_id: UUID) -> None:
    """Name the chat whose first turn has just ended, if it still has its first line for a title. Never raises."""
    try:
        job = retry_write(lambda: _begin(turn_id))
        release()
        if job is not None:
            _finish(job, *_ask(job))
    except BudgetExceeded:
        return
    except Exception:
        # What was held is settled by the sweep.
        log.exception("A title could not be made", extra={"turnId": str(turn_id)})


def settle_left() -> None:
    """Settle what a process that is gone left open: what it had sent is charged."""
    late = select(TitleTurn).where(TitleTurn.ended_at.is_(None), TitleTurn.started_at < database_now() - LEFT_AFTER)
    jobs = [
        _Job(row.id, row.user_id, row.chat_id, "", "", row.model, row.reserved_tokens, row.answer_tokens)
        for row in db.session.scalars(late)
    ]
    release()
    for job in jobs:
        retry_write(partial(_close, job, job.reserved - job.answer_tokens))


def first_line(text: str) -> str:
    """Return the title that a chat has by itself: the first line of its first message that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _shortened(next((line for line in lines if not FENCE.match(line)), lines[0]))


def clean(text: str) -> str:
    """Return a model's title as one short line without marks and unseen signs; "" where nothing is left."""
    line = next((line for line in clean_model_text(text).splitlines() if line.strip(" #*_`\"'")), "")
    seen = "".join(char for char in line if char == "\t" or unicodedata.category(char)[0] != "C")
    words = LABEL.sub("", " ".join(seen.split()).strip("#*_`\"'“”„«»‘’ "))
    return _shortened(words.strip("*_`\"'“”„«»‘’ ").rstrip(". "))


def _shortened(line: str) -> str:
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def _begin(turn_id: UUID) -> _Job | None:
    """Note the generation and hold its budget. Raises BudgetExceeded; then nothing is left behind."""
    answer = db.aliased(Message)
    row = db.session.execute(
        select(Chat, Message.content, answer.content.label("answer"))
        .join(Turn, Turn.chat_id == Chat.id)
        .join(Message, Message.id == Turn.question_id)
        .join(answer, answer.id == Turn.answer_id)
        .where(Turn.id == turn_id, Turn.status == "completed", Message.parent_id.is_(None), Chat.deleted_at.is_(None))
    ).one_or_none()
    if row is None or row.Chat.title != first_line(row.content) or TitleTurn.of_chat(row.Chat.id):
        return None
    chat = row.Chat
    text = f"{row.content[:SHOWN_CHARS]}\n\n---\n\n{row.answer[:SHOWN_CHARS]}"
    title_id = uuid4()
    estimated = calibrated(text) + calibrated(INSTRUCTIONS)
    held = ledger.reserve(
        chat.user_id,
        title_id,
        input_tokens=-(-estimated * 105 // 100) + settings().overhead_tokens,
        max_answer=ANSWER_TOKENS,
        min_answer=MIN_ANSWER_TOKENS,
    )
    job = _Job(title_id, chat.user_id, chat.id, chat.title, text, chat.model, held.tokens, held.answer_tokens)
    db.session.add(
        TitleTurn(
            id=title_id,
            user_id=chat.user_id,
            chat_id=chat.id,
            model=chat.model,
            reserved_tokens=held.tokens,
            answer_tokens=held.answer_tokens,
        )
    )
    db.session.flush()
    return job


def _ask(job: _Job) -> tuple[str, Usage | None, bool]:
    """Return what the model says, what it reports, and whether it may have worked."""
    request = ChatRequest(
        model=job.model,
        messages=(PromptMessage("user", job.text),),
        max_output_tokens=job.answer_tokens,
        system_prompt=INSTRUCTIONS,
        thinking_tokens=0,
    )
    said, usage = "", None
    try:
        with gevent.Timeout(ASKED_SECONDS, ProviderTimeout()):
            with closing(providers().for_model(job.model).stream(request)) as chunks:  # type: ignore[type-var]
                for chunk in chunks:
                    said += chunk.delta
                    usage = chunk.usage or usage
    except Exception as error:
        log.info("No title was made: %s", type(error).__name__)
        return said, usage, settle.failed(error, said, was_heard=usage is not None).is_charged
    return said, usage, True


def _finish(job: _Job, said: str, usage: Usage | None, is_charged: bool) -> None:
    charged = 0
    parts: dict[str, TokenCount] = {}
    if is_charged:
        parts = counter().count_all(job.model, {"user": job.text, "answer": said}, INSTRUCTIONS)
        total = sum(part.tokens for part in parts.values()) + settings().overhead_tokens
        if settings().metering == "provider" and usage is not None:
            total = usage.total_tokens
        charged = min(total, job.reserved)
    title = clean(said)

    def finish() -> None:
        if _close(job, charged, parts, usage) and title:
            db.session.execute(
                update(Chat).where(Chat.id == job.chat_id, Chat.title == job.old_title).values(title=title)
            )

    retry_write(finish, seconds=30)
    log.info("A title was made", extra={"chatId": str(job.chat_id), "total_tokens": charged})


def _close(job: _Job, charged: int, parts: dict[str, TokenCount] | None = None, usage: Usage | None = None) -> bool:
    """Settle it, once, and note what it came to. False where another did, or where it went with its user."""
    closing_it = (
        update(TitleTurn)
        .where(TitleTurn.id == job.id, TitleTurn.ended_at.is_(None))
        .values(ended_at=(instant := now()), charged_tokens=charged)
    )
    result = db.session.execute(closing_it.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    if result.rowcount != 1:
        return False
    budget = ledger.settle(job.user_id, job.id, job.reserved, charged)
    records.keep(_spent(job, charged, parts or {}, usage), instant, budget.timezone)
    return True


def _spent(job: _Job, charged: int, parts: dict[str, TokenCount], usage: Usage | None) -> records.Spent:
    price = prices().at(job.model, now().date())
    overhead = {"overhead": settings().overhead_tokens} if parts else {}
    return records.Spent(
        turn_id=job.id,
        user_id=job.user_id,
        chat_id=job.chat_id,
        model=job.model,
        status="title",
        metering=settings().metering,
        method=weakest(list(parts.values())) if parts else "estimate",
        parts={name: count.tokens for name, count in parts.items()} | overhead,
        charged_tokens=charged,
        reported=usage,
        cost_microusd=price.cost_microusd(usage) if price and usage else None,
    )
