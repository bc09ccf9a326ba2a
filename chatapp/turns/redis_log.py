"""The turn log shared through Redis: written behind, read by one reader a process. No Flask, no database.

A turn's text is one Redis string. Ten times a second a process writes what is new of all its turns, each at its
place, in one pipeline; a reader asks for the bytes behind those it has. The text only grows and every byte has one
place, so a write that is repeated changes nothing and a reader is always right. What a flush took leaves NULs, which
no text has: a reader waits, and the writer sees the length before its write and writes the whole anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any
from uuid import UUID

import gevent

from chatapp.soft_redis import SoftRedis, pipeline
from chatapp.turns.log import Ending, MemoryLog, TurnLog

WRITE_SECONDS = 0.1
EXPIRE_SECONDS = 3600


def text_key(turn_id: UUID) -> str:
    return f"chat:turn:{turn_id}:text"


def end_key(turn_id: UUID) -> str:
    return f"chat:turn:{turn_id}:end"


class RedisLog(MemoryLog):
    """Serves this process's listeners from memory, as MemoryLog does, and other processes through Redis."""

    def __init__(self, client: SoftRedis, **options: Any) -> None:
        super().__init__(**options)
        self._redis = client
        # Turn → how much of its text is in Redis, in characters and in bytes.
        self._written: dict[UUID, tuple[int, int]] = {}
        self._writer: gevent.Greenlet | None = None

    def open(self, turn_id: UUID) -> TurnLog:
        log = super().open(turn_id)
        self._written[turn_id] = (0, 0)
        if self._writer is None:
            self._writer = gevent.spawn(self._write_on)
        return log

    def end(self, turn_id: UUID, ending: Ending) -> None:
        text = self._logs[turn_id].text
        self._write({turn_id: text})
        value = json.dumps({"chars": len(text), "ending": asdict(ending)}, default=str)
        self._redis.call(lambda client: client.set(end_key(turn_id), value, ex=EXPIRE_SECONDS), None)
        self._written.pop(turn_id, None)
        super().end(turn_id, ending)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.kill()
            self._writer = None

    def _write_on(self) -> None:
        while self._written:
            gevent.sleep(WRITE_SECONDS)
            self._write({turn_id: self._logs[turn_id].text for turn_id in self._written})
        self._writer = None

    def _write(self, texts: dict[UUID, str]) -> None:
        """Write what is new of each text, in one pipeline. After a failure the next write begins at the same place."""
        news = [
            (turn_id, chars, size, text[chars:].encode())
            for turn_id, text in texts.items()
            for chars, size in [self._written[turn_id]]
            if len(text) > chars
        ]
        if not news:
            return

        def put(batch: Any) -> None:
            for turn_id, _chars, size, new in news:
                batch.strlen(text_key(turn_id))
                batch.setrange(text_key(turn_id), size, new)
                batch.expire(text_key(turn_id), EXPIRE_SECONDS)

        replies = self._redis.call(lambda client: pipeline(client, put), None)
        if replies is None:
            return
        for (turn_id, _chars, size, new), length_before in zip(news, replies[::3], strict=True):
            is_there = length_before >= size or self._write_whole(turn_id, texts[turn_id])
            if is_there and turn_id in self._written:
                self._written[turn_id] = (len(texts[turn_id]), size + len(new))

    def _write_whole(self, turn_id: UUID, text: str) -> bool:
        return bool(
            self._redis.call(lambda client: client.set(text_key(turn_id), text.encode(), ex=EXPIRE_SECONDS), False)
        )

    def fetch(self, known: dict[UUID, TurnLog]) -> None:
        """Ask for what is new of other processes' turns, all in one pipeline."""
        sizes = {turn_id: len(log.text.encode()) for turn_id, log in known.items() if log.ending is None}
        if not sizes:
            return

        def ask(batch: Any) -> None:
            for turn_id, size in sizes.items():
                batch.get(end_key(turn_id))
                batch.getrange(text_key(turn_id), size, -1)

        replies = self._redis.call(lambda client: pipeline(client, ask), None)
        for turn_id, ending, new in zip(sizes, (replies or [])[::2], (replies or [])[1::2], strict=False):
            _take(known[turn_id], ending, new)

    def stored_text(self, turn_id: UUID) -> str:
        stored: bytes | None = self._redis.call(lambda client: client.get(text_key(turn_id)), None)
        return (stored or b"").partition(b"\0")[0].decode(errors="ignore")


def _take(log: TurnLog, ending: bytes | None, new: bytes) -> None:
    if new and b"\0" not in new:
        log.append(new.decode())
    if ending:
        value = json.loads(ending)
        # Where Redis lost some of the text, the database has it all a moment later.
        if value["chars"] == len(log.text):
            fields = value["ending"]
            log.end(Ending(**fields | {"message_id": UUID(fields["message_id"])}))
