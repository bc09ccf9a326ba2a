"""Copies of turns that other processes are working on, or that have ended, kept while somebody here is listening.

Their text comes from the log; their end, and anything the log has lost, comes from the database.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import gevent
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from chatapp.kernel.errors import NotFound
from chatapp.turns import endings
from chatapp.turns.live.log import MemoryLog, TurnLog

logger = logging.getLogger(__name__)

FETCH_SECONDS = 0.1
POLL_SECONDS = 1.0


class RemoteTurns:
    def __init__(self, app: Flask, turn_log: MemoryLog) -> None:
        self._app = app
        self._source = turn_log
        self._logs: dict[UUID, TurnLog] = {}
        self._is_dismissed = False
        self.keeper: gevent.Greenlet | None = None

    def __len__(self) -> int:
        return len(self._logs)

    def peek(self, turn_id: UUID) -> TurnLog:
        """Return a copy with what the log has of the turn; it may be empty."""
        if turn_id in self._logs:
            return self._logs[turn_id]
        copy = self._empty()
        self._source.fetch({turn_id: copy})
        return copy

    @contextmanager
    def following(self, turn_id: UUID) -> Iterator[TurnLog]:
        """Keep a copy up to date. All listeners in this process share it."""
        is_new = turn_id not in self._logs
        copy = self._logs.setdefault(turn_id, self._empty())
        copy.listeners += 1
        try:
            if is_new:
                self._look_up({turn_id: copy})
                self._source.fetch({turn_id: copy})
            if self._is_dismissed:
                copy.dismiss()
            if not self.keeper:
                self.keeper = gevent.spawn(self._keep)
            yield copy
        finally:
            copy.listeners -= 1

    def dismiss(self) -> None:
        """Disconnect the listeners, current and future, so that they go to the processes running the turns."""
        self._is_dismissed = True
        for copy in self._logs.values():
            copy.dismiss()

    def _empty(self) -> TurnLog:
        return TurnLog(self._source.beats, is_copy=True)

    def _keep(self) -> None:
        looked_up_at = time.monotonic()
        while self._logs:
            gevent.sleep(FETCH_SECONDS)
            self._logs = {turn_id: copy for turn_id, copy in self._logs.items() if copy.listeners}
            try:
                self._source.fetch(self._logs)
                if time.monotonic() - looked_up_at >= POLL_SECONDS:
                    looked_up_at = time.monotonic()
                    self._look_up({key: copy for key, copy in self._logs.items() if copy.ending is None})
            except Exception:
                logger.exception("Could not follow turns of other processes")

    def _look_up(self, copies: dict[UUID, TurnLog]) -> None:
        """Apply what the database has: all of an ended turn, or an open turn's checkpoint if it is further along."""
        if not copies:
            return
        try:
            with self._app.app_context():
                stored = endings.stored_states(list(copies))
                for turn_id, copy in copies.items():
                    _take(turn_id, copy, *stored.get(turn_id, (None, 0, 0)))
        except SQLAlchemyError as error:
            logger.warning("Could not read other processes' turns from the database: %s", type(error).__name__)


def _take(turn_id: UUID, copy: TurnLog, status: str | None, chars: int, thought_chars: int) -> None:
    if status is None:
        copy.end(endings.gone())
    elif status != "in_progress":
        try:
            ending = endings.stored(turn_id) or endings.gone()
        except NotFound:  # Deleted since it was looked up.
            ending = endings.gone()
        else:
            answer = endings.stored_answer(turn_id)
            copy.think(answer.thoughts[len(copy.thoughts) :])
            copy.replace(answer.text)
        copy.end(ending)
    elif chars > len(copy.text) or thought_chars > len(copy.thoughts):
        answer = endings.stored_answer(turn_id)
        copy.think(answer.thoughts[len(copy.thoughts) :])
        if len(answer.text) > len(copy.text):
            copy.replace(answer.text)
