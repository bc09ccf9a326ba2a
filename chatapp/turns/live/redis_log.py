"""The turn log shared through Redis: written in the background, read by one reader per process.

A turn's text is one Redis string, its thoughts another. Ten times a second a process writes the new parts of all its
turns in one pipeline, each at its offset; a reader asks for the bytes after those it has. The text only grows and
every byte has a fixed offset, so repeating a write changes nothing and a reader is never wrong. If Redis was flushed,
the gap is filled with NULs, which no text contains: readers wait, and the writer, which sees the length before its
write, rewrites the whole text. No Flask, no database.
"""

from __future__ import annotations

import json
import logging
from codecs import getincrementaldecoder
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from uuid import UUID

import gevent
from gevent.lock import BoundedSemaphore

from chatapp.kernel.redis import SoftRedis, pipeline
from chatapp.turns.live.log import TRACKS, Ending, MemoryLog, Track, TurnLog

logger = logging.getLogger(__name__)

WRITE_SECONDS = 0.1
EXPIRE_SECONDS = 3600


def text_key(turn_id: UUID, track: Track = "text") -> str:
    return f"chat:turn:{turn_id}:{track}"


def end_key(turn_id: UUID) -> str:
    return f"chat:turn:{turn_id}:end"


class RedisLog(MemoryLog):
    """Serves this process's listeners from memory, as MemoryLog does, and other processes through Redis."""

    def __init__(self, client: SoftRedis, **options: Any) -> None:
        super().__init__(**options)
        self._redis = client
        # Turn and track → how much of it is in Redis, in characters and in bytes.
        self._written: dict[tuple[UUID, Track], tuple[int, int]] = {}
        self._writer: gevent.Greenlet | None = None
        # Of two concurrent writes, the older one could restore a shorter text.
        self._one_write = BoundedSemaphore()

    def open(self, turn_id: UUID) -> TurnLog:
        log = super().open(turn_id)
        self._written |= {(turn_id, track): (0, 0) for track in TRACKS}
        if self._writer is None:
            self._writer = gevent.spawn(self._write_on)
        return log

    def end(self, turn_id: UUID, ending: Ending) -> None:
        texts = self._texts([(turn_id, track) for track in TRACKS])
        # This process's listeners do not wait for Redis.
        super().end(turn_id, ending)
        with self._one_write:
            try:
                self._write(texts)
            finally:
                for name in texts:
                    self._written.pop(name, None)
        value = json.dumps({"chars": len(texts[turn_id, "text"]), "ending": asdict(ending)}, default=str)
        self._redis.call(lambda client: client.set(end_key(turn_id), value, ex=EXPIRE_SECONDS), None)

    def close(self) -> None:
        super().close()
        if self._writer is not None:
            self._writer.kill()
            self._writer = None

    def _write_on(self) -> None:
        while self._written:
            gevent.sleep(WRITE_SECONDS)
            try:
                with self._one_write:
                    self._write(self._texts(self._written))
            except Exception:
                # Other processes get the rest from the database; this must not affect later turns.
                logger.exception("Could not write the turn logs")
        self._writer = None

    def _texts(self, names: Iterable[tuple[UUID, Track]]) -> dict[tuple[UUID, Track], str]:
        return {(turn_id, track): self._logs[turn_id].tracks[track] for turn_id, track in names}

    def _write(self, texts: dict[tuple[UUID, Track], str]) -> None:
        """Write the new part of each text in one pipeline. After a failure the next write starts at the same offset."""
        news = [
            (name, *self._written[name], text[self._written[name][0] :].encode())
            for name, text in texts.items()
            if name in self._written and len(text) > self._written[name][0]
        ]
        if not news:
            return

        def put(batch: Any) -> None:
            for name, _chars, size, new in news:
                batch.strlen(text_key(*name))
                batch.setrange(text_key(*name), size, new)
                batch.expire(text_key(*name), EXPIRE_SECONDS)

        replies = self._redis.call(lambda client: pipeline(client, put), None)
        if replies is None:
            return
        for (name, _chars, size, new), length_before in zip(news, replies[::3], strict=True):
            if length_before >= size or self._write_whole(text_key(*name), texts[name]):
                self._written[name] = (len(texts[name]), size + len(new))

    def _write_whole(self, key: str, text: str) -> bool:
        return bool(self._redis.call(lambda client: client.set(key, text.encode(), ex=EXPIRE_SECONDS), False))

    def fetch(self, copies: dict[UUID, TurnLog]) -> None:
        """Fetch the new parts of other processes' turns in one pipeline."""
        asked = [(turn_id, copy, copy.text) for turn_id, copy in copies.items() if copy.ending is None]
        if not asked:
            return
        # Thoughts come before the text. If there were none, later ones come from the database.
        thinking = [(turn_id, copy, copy.thoughts) for turn_id, copy, text in asked if copy.thoughts or not text]

        def ask(batch: Any) -> None:
            for turn_id, _copy, text in asked:
                # The end first: the text read after it is complete.
                batch.get(end_key(turn_id))
                batch.getrange(text_key(turn_id), len(text.encode()), -1)
            for turn_id, _copy, thoughts in thinking:
                batch.getrange(text_key(turn_id, "thoughts"), len(thoughts.encode()), -1)

        replies = self._redis.call(lambda client: pipeline(client, ask), None)
        if replies is None:
            return
        count = 2 * len(asked)
        # If the database has added text meanwhile, these bytes belong at a different offset.
        for (_turn_id, copy, thoughts), new in zip(thinking, replies[count:], strict=True):
            if copy.ending is None and copy.thoughts == thoughts:
                copy.think(_whole_characters(new))
        for (_turn_id, copy, text), ending, new in zip(asked, replies[:count:2], replies[1:count:2], strict=True):
            if copy.ending is None and copy.text == text:
                _take(copy, ending, new)

    def stored_text(self, turn_id: UUID, track: Track = "text") -> str:
        stored: bytes | None = self._redis.call(lambda client: client.get(text_key(turn_id, track)), None)
        return (stored or b"").partition(b"\0")[0].decode(errors="ignore")


def _take(copy: TurnLog, ending: bytes | None, new: bytes) -> None:
    if text := _whole_characters(new):
        copy.append(text)
    if ending:
        value = json.loads(ending)
        # If Redis lost some of the text, the database will have all of it a moment later.
        if value["chars"] == len(copy.text):
            fields = value["ending"]
            copy.end(Ending(**fields | {"message_id": UUID(fields["message_id"])}))


def _whole_characters(new: bytes) -> str:
    """Decode the bytes up to the last whole character; "" if they are not valid text: truncated or misplaced."""
    try:
        return "" if b"\0" in new else getincrementaldecoder("utf-8")().decode(new)
    except UnicodeDecodeError:
        return ""
