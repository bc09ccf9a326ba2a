"""The turns that this process is working on: one worker greenlet each, independent of any connection.

A worker starts a reader greenlet for the provider and waits for it. Stopping kills only the reader, so a stop never
interrupts settling. One pulse for all turns writes checkpoints and heartbeats, and learns of stops requested in other
processes. A sweep looks for turns whose owner is gone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import gevent
from flask import Flask, current_app
from sqlalchemy import Select, bindparam, case, func, or_, select, update

from chatapp.attachments.removing import Sweeper
from chatapp.budget.models import UserUsage
from chatapp.chats import housekeeping
from chatapp.chats.indexing import Indexer
from chatapp.chats.models import MESSAGES, Message
from chatapp.exchanges import owner, running, settling
from chatapp.exchanges.admission import Terms
from chatapp.exchanges.models import Exchange
from chatapp.exchanges.settling import Outcome, Produced
from chatapp.kernel.config import settings
from chatapp.kernel.database import database_now, execute_core, is_store_trouble, release, retry_write, write
from chatapp.kernel.errors import NotFound, Unavailable
from chatapp.kernel.extensions import db
from chatapp.kernel.text import N_, ModelText
from chatapp.providers.base import ChatRequest, Chunk, FinishReason, Usage
from chatapp.turns import endings, recovery, titles
from chatapp.turns.live.listeners import Listeners, LoopLag
from chatapp.turns.live.log import HEARTBEAT_SECONDS, Ending, Heard, MemoryLog, TurnLog
from chatapp.turns.live.remote import RemoteTurns
from chatapp.turns.models import Started, Turn

logger = logging.getLogger(__name__)

# A stop requested in another process takes effect at the next beat; we promise one second.
PULSE_SECONDS = 0.5
CHECKPOINT_SECONDS = 2.0
HEARTBEAT_EVERY_SECONDS = 5.0
SWEEP_SECONDS = 5.0
PURGE_SECONDS = 300.0
# Two heartbeats: after a database outage, live processes have renewed their leases by then.
TRUST_SECONDS = 10.0
# One statement for all answers. Only while an answer is open: a settled one is final.
SAVE_OPEN = (
    update(MESSAGES)
    .where(MESSAGES.c.id == bindparam("answer"), MESSAGES.c.status == "in_progress")
    .values(content=bindparam("text"), thoughts=bindparam("thought"))
)

WAS_STOPPED = Exchange.stop_requested_at.is_not(None)
IS_OVER = UserUsage.total_tokens_used + UserUsage.reserved_tokens > UserUsage.token_limit


def _of_own_turns(*columns: Any) -> Select[Any]:
    of_user = UserUsage.user_id == Exchange.user_id
    own = select(*columns).join_from(Exchange, UserUsage, of_user).where(Exchange.owner == bindparam("owner"))
    return own.where(Exchange.status == "in_progress", Exchange.purpose == "answer")


# Usually there are no stops, and one row is read for hundreds of turns.
HOW_MANY = _of_own_turns(
    func.count().label("turns"), func.sum(case((or_(WAS_STOPPED, IS_OVER), 1), else_=0)).label("marked")
)
WHICH = _of_own_turns(Exchange.id, WAS_STOPPED.label("was_stopped"), IS_OVER.label("is_over"))


@dataclass(eq=False)
class Run:
    """A turn in progress in this process, as plain values."""

    started: Started
    terms: Terms
    request: ChatRequest
    log: TurnLog
    usage: Usage | None = None
    chunks: int = 0
    finish_reason: FinishReason | None = None
    outcome: Outcome | None = None
    reader: gevent.Greenlet | None = None
    error: Exception | None = None
    checkpoint_chars: int = 0
    checkpoint_at: float = field(default_factory=lambda: time.monotonic() - CHECKPOINT_SECONDS)

    @property
    def chars(self) -> int:
        return len(self.log.text) + len(self.log.thoughts)

    @property
    def turn_id(self) -> UUID:
        return self.started.turn_id

    @property
    def answer_id(self) -> UUID:
        return self.started.answer_id

    @property
    def was_heard(self) -> bool:
        return self.chunks > 0

    @property
    def produced(self) -> Produced:
        return Produced(self.log.text, self.log.thoughts, self.usage, self.chunks)

    def stop(self, outcome: Outcome) -> None:
        """Stop reading, with this outcome. Has no effect once the reading has ended."""
        if self.outcome is not None or (self.reader is not None and self.reader.ready()):
            return
        self.outcome = outcome
        if self.reader is not None:
            self.reader.kill(block=False)

    def read(self) -> None:
        """Read the model's output to its end or to the answer's limit."""
        text, thoughts = ModelText(), ModelText()
        answer_from = 0
        for chunk in running.read(self.request):
            if chunk.restarts:
                answer_from = len(self.log.text)
                self.log.think(self.log.text)
            self._receive(chunk, text, thoughts)
        self.log.append(text.finish())
        self.log.think(thoughts.finish())
        if answer_from:
            # Only now, because listeners elsewhere could not follow a text that gets shorter.
            self.log.replace(self.log.text[answer_from:].lstrip())

    def _receive(self, chunk: Chunk, text: ModelText, thoughts: ModelText) -> None:
        self.chunks += chunk.chunks
        self.usage = chunk.usage or self.usage
        self.finish_reason = chunk.finish_reason or self.finish_reason
        if chunk.thought:
            self.log.think(thoughts.feed(chunk.thought))
        if chunk.delta and (delta := text.feed(chunk.delta)):
            self.log.append(delta)


class LiveTurns:
    def __init__(self, app: Flask, turn_log: MemoryLog) -> None:
        self._app = app
        self._log = turn_log
        self._runs: dict[UUID, Run] = {}
        self._beginning = 0
        # Title exchanges that this process is working on.
        self._titles: set[UUID] = set()
        # Exchanges that belong to no chat, and how to stop each.
        self._calls: dict[UUID, Callable[[Outcome], object]] = {}
        self._workers: set[gevent.Greenlet] = set()
        self._pulse: gevent.Greenlet | None = None
        self._sweeper: gevent.Greenlet | None = None
        self._indexer: gevent.Greenlet | None = None
        self._is_draining = False
        self._remote = RemoteTurns(app, turn_log)
        self._lag = LoopLag()
        self.listeners = Listeners()

    # Admission

    @contextmanager
    def open_slot(self) -> Iterator[None]:
        """Hold a slot for a turn that is about to start. Raises Unavailable if there is none."""
        self.admit()
        self._beginning += 1
        try:
            yield
        finally:
            self._beginning -= 1

    def admit(self) -> None:
        """Raise Unavailable if this process accepts no new turn."""
        if self._is_draining:
            raise Unavailable(N_("The service is restarting. Try again in a moment"), retry_after_seconds=5)
        if self.open_count() + self._beginning >= settings().max_open_turns:
            raise Unavailable(N_("The service is busy. Try again in a moment"), retry_after_seconds=10)
        if self._lag.seconds * 1000 > settings().max_loop_lag_ms:
            raise Unavailable(N_("The service is busy. Try again in a moment"), retry_after_seconds=5)

    def open_count(self) -> int:
        return len(self._runs) + len(self._calls)

    @contextmanager
    def holding(self, exchange_id: UUID, stop: Callable[[Outcome], object]) -> Iterator[None]:
        """Keep the lease of an exchange that belongs to no chat, and count it as open, while the block runs."""
        self.start()
        self._calls[exchange_id] = stop
        try:
            yield
        finally:
            del self._calls[exchange_id]

    # Working

    def start(self) -> None:
        """Start the background work: pulse, sweep and indexing."""
        if self._pulse is None:
            self._pulse = gevent.spawn(self._beat)
            self._sweeper = gevent.spawn(self._sweep_on)
            self._indexer = gevent.spawn(self._index_on)
            self._lag.start()

    def begin(self, started: Started, terms: Terms, request: ChatRequest) -> None:
        """Start work on a committed turn."""
        self.start()
        run = Run(started, terms, request, self._log.open(started.turn_id))
        self._runs[started.turn_id] = run
        self._workers.add(worker := gevent.spawn(self._work, run))
        worker.link(self._workers.discard)

    def _work(self, run: Run) -> None:
        with self._app.app_context():
            try:
                ending = self._settle(run)
                self._log.end(run.turn_id, ending)
            finally:
                self._runs.pop(run.turn_id, None)
            if settings().titles == "model" and ending.status == "completed" and not self._is_draining:
                titles.suggest(run.turn_id, self._titles)

    def _settle(self, run: Run) -> Ending:
        """Settle the turn and return how it ended, as stored in the database."""
        try:
            outcome = self._read(run)
            return endings.settle(run.started, run.produced, outcome, terms=run.terms) or self._settled_elsewhere(run)
        except Exception as error:
            logger.exception("Could not settle a turn", extra={"turnId": str(run.turn_id)})
            outcome = settling.failed(error, run.log.text, was_heard=run.was_heard)
        try:
            return endings.settle(run.started, run.produced, outcome, terms=run.terms) or self._settled_elsewhere(run)
        except Exception:
            # It stays open; the sweep tries again once its lease has expired.
            logger.exception("A turn was left to the sweep", extra={"turnId": str(run.turn_id)})
            return endings.unsaved(outcome, run.answer_id)

    def _settled_elsewhere(self, run: Run) -> Ending:
        """Return the ending that another process gave the turn, and adopt the text that it saved."""
        try:
            ending = retry_write(lambda: endings.stored(run.turn_id), passes=is_store_trouble)
            run.log.replace(endings.stored_answer(run.turn_id).text)
        except NotFound:
            return endings.gone(run.answer_id)
        return ending or endings.gone(run.answer_id)

    def _read(self, run: Run) -> Outcome:
        run.reader = gevent.Greenlet(self._in_context, run)
        if run.outcome is None:
            run.reader.start()
            run.reader.join()
        if run.outcome is not None:
            return run.outcome
        if (error := run.error) is None:
            run.outcome = settling.finished(run.log.text, run.finish_reason, run.terms.is_clamped)
        else:
            run.outcome = settling.failed(error, run.log.text, was_heard=run.was_heard)
            if run.outcome.code == "INTERNAL_ERROR":
                logger.error("A turn failed", exc_info=error, extra={"turnId": str(run.turn_id)})
        return run.outcome

    def _in_context(self, run: Run) -> None:
        with self._app.app_context():
            try:
                run.read()
            except Exception as error:
                # Kept for the worker. Otherwise gevent would print it to stderr, along with the run's contents.
                run.error = error

    def stop(self, turn_id: UUID, outcome: Outcome | None = None) -> bool:
        """End one of this process's turns; False if it is not ours."""
        run = self._runs.get(turn_id)
        if run is None:
            return False
        run.stop(outcome or settling.stopped())
        return True

    def drain(self) -> None:
        """Accept no new turns, and disconnect those listening to other processes' turns so that they go there."""
        self._is_draining = True
        self._remote.dismiss()

    def interrupt_all(self, seconds: float) -> None:
        """End every turn as interrupted and wait until they are settled, for at most this many seconds."""
        end = time.monotonic() + seconds
        for run in list(self._runs.values()):
            run.stop(settling.interrupted())
        for stop in list(self._calls.values()):
            stop(settling.interrupted())
        while self.open_count() and time.monotonic() < end:
            gevent.sleep(0.02)

    def close(self) -> None:
        """End the pulse, the workers and the listeners without settling, as if the process had been killed."""
        self._log.close()
        self._remote.dismiss()
        self._lag.stop()
        readers = [run.reader for run in self._runs.values()]
        greenlets = [self._pulse, self._sweeper, self._indexer, self._remote.keeper, *self._workers, *readers]
        # Inside a database driver the kill may surface as a database error and be caught: repeat until all have ended.
        while left := [greenlet for greenlet in greenlets if greenlet]:
            gevent.killall(left, block=False)
            gevent.joinall(left, timeout=0.1)
        self._pulse = self._sweeper = self._indexer = None

    # Listening

    def peek(self, turn_id: UUID) -> TurnLog:
        """Return a turn's log as far as known without the database; for another process's turn it may be empty."""
        return self._log.get(turn_id) or self._remote.peek(turn_id)

    def follow(
        self,
        turn_id: UUID,
        offset: int = 0,
        *,
        tick_seconds: float = 0.05,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        with_thoughts: bool = False,
    ) -> Iterator[Heard]:
        """Yield what TurnLog.follow does for a turn, wherever it runs.

        Holds no database connection while waiting. The caller has checked who owns the turn.
        """
        own = self._log.get(turn_id)
        with nullcontext(own) if own else self._remote.following(turn_id) as turn_log:
            yield from turn_log.follow(
                offset, tick_seconds=tick_seconds, heartbeat_seconds=heartbeat_seconds, with_thoughts=with_thoughts
            )

    # The pulse

    def _beat(self) -> None:
        heartbeat_at = float("-inf")
        while True:
            try:
                if self._runs or self._titles or self._calls:
                    with self._app.app_context():
                        instant = time.monotonic()
                        self._hear_stops()
                        if instant - heartbeat_at >= HEARTBEAT_EVERY_SECONDS:
                            self._heartbeat()
                            heartbeat_at = instant
                        self._checkpoint(instant)
            except Exception as error:
                if not is_store_trouble(error):
                    logger.exception("The pulse failed")
            gevent.sleep(PULSE_SECONDS)

    def _sweep_on(self) -> None:
        """Settle what dead processes left behind. Separate from the pulse, because settling takes time."""
        trusted_at, purged_at = time.monotonic() + TRUST_SECONDS, time.monotonic()
        attachments = Sweeper()
        while True:
            try:
                with self._app.app_context():
                    self._sweep(time.monotonic() >= trusted_at)
                    if time.monotonic() - purged_at >= PURGE_SECONDS:
                        purged_at = time.monotonic()
                        housekeeping.purge_deleted_chats()
                        housekeeping.finish_deletions()
                        attachments.step()
            except Exception as error:
                trusted_at = time.monotonic() + TRUST_SECONDS
                if not is_store_trouble(error):
                    logger.exception("The sweep failed")
            gevent.sleep(SWEEP_SECONDS)

    def _index_on(self) -> None:
        """Index new texts for the search. Works at most half of the time."""
        indexer = Indexer()
        gevent.sleep(SWEEP_SECONDS)
        while True:
            begun, has_more = time.monotonic(), False
            try:
                with self._app.app_context():
                    has_more = indexer.step()
            except Exception as error:
                if not is_store_trouble(error):
                    logger.exception("Could not update the search index")
            gevent.sleep(time.monotonic() - begun if has_more else SWEEP_SECONDS)

    def _checkpoint(self, instant: float) -> None:
        """Save what has grown since the last checkpoint: the first text within a second, then every two."""
        due = [
            run
            for run in self._runs.values()
            if run.chars > run.checkpoint_chars and instant - run.checkpoint_at >= CHECKPOINT_SECONDS
        ]
        if not due:
            return
        answers = [(run, run.chars, run.produced) for run in due]
        with write():
            execute_core(
                SAVE_OPEN,
                [
                    {"answer": run.answer_id, "text": answer.text, "thought": answer.thoughts}
                    for run, _chars, answer in answers
                ],
            )
        for run, chars, _answer in answers:
            run.checkpoint_chars, run.checkpoint_at = chars, instant

    def _heartbeat(self) -> None:
        with write() as session:
            session.execute(
                update(Exchange)
                .where(Exchange.id.in_([*self._runs, *self._titles, *self._calls]), Exchange.status == "in_progress")
                .values(heartbeat_at=database_now())
                .execution_options(synchronize_session=False)
            )

    def _hear_stops(self) -> None:
        """Stop turns that another process was asked to stop, that exceed a lowered limit, or that we no longer own."""
        ids = list(self._runs)
        mine = {"owner": owner.me()}
        found = db.session.execute(HOW_MANY, mine).one()
        rows = db.session.execute(WHICH, mine).all() if found.marked or found.turns != len(ids) else None
        release()
        if rows is None:
            return
        for row in rows:
            if row.was_stopped or row.is_over:
                self.stop(row.id, settling.stopped() if row.was_stopped else settling.out_of_budget())
        # Deleted, or considered dead by another process and settled there.
        for turn_id in set(ids) - {row.id for row in rows}:
            self.stop(turn_id, settling.interrupted())

    def _sweep(self, trusts_leases: bool) -> None:
        ours = {*self._runs, *self._titles, *self._calls}
        recovery.settle_orphans(ours, self._log.stored_text, trusts_leases=trusts_leases)


def live_turns() -> LiveTurns:
    """Return the turns of the running application's process."""
    found: LiveTurns = current_app.extensions["live_turns"]
    return found


def text_so_far(message: Message) -> str:
    """Return a message's text; for an answer in progress, the latest from its process, wherever it runs."""
    if message.status != "in_progress":
        return message.content
    turn_id = db.session.scalar(select(Turn.id).where(Turn.answer_id == message.id))
    live = live_turns().peek(turn_id).text if turn_id else ""
    # The text only grows, so take the longer of log and checkpoint.
    return max(message.content, live, key=len)
