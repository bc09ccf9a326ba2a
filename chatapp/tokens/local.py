"""Exact local counts, with a SentencePiece model that the operator provides (TOKENIZER_FILE).

Without a file there is no such layer. One that is set and cannot be used stops the start: an operator who asked for
exact counts must not get estimates unawares.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from gevent.threadpool import ThreadPool

logger = logging.getLogger(__name__)

# About a millisecond. Longer texts go to a thread: the library releases the GIL, so this process's streams go on.
INLINE_CHARACTERS = 2_000
# Callers wait on the hub, and only up to the count deadline.
THREADS = 2


class LocalTokenizer:
    """name identifies the file, so that a count made with an old file is never used for a new one."""

    def __init__(self, file: Path, sha256: str | None = None) -> None:
        """Load the model. Raises ValueError naming the setting and what is wrong."""
        try:
            model = file.read_bytes()
        except OSError as error:
            raise ValueError(f"TOKENIZER_FILE: {file}: {error.strerror}") from None
        digest = hashlib.sha256(model).hexdigest()
        if sha256 and digest != sha256.strip().lower():
            raise ValueError(f"TOKENIZER_SHA256: {file} has the SHA-256 {digest}, not the one that is set")
        self._processor = _processor(file, model)
        self._threads: ThreadPool | None = None
        self.name = digest[:16]
        logger.info("Counting with the tokenizer %s, SHA-256 %s", file.name, digest)

    def count(self, text: str) -> int:
        """Return the tokens of a text. The caller sets the deadline (gevent.Timeout)."""
        # The library rejects lone surrogates.
        text = text.encode("utf-8", "replace").decode() if not text.isascii() else text
        if len(text) <= INLINE_CHARACTERS:
            return self._count(text)
        # Created by the process that counts: threads do not survive a fork.
        self._threads = self._threads or ThreadPool(THREADS)
        tokens: int = self._threads.spawn(self._count, text).get()
        return tokens

    def _count(self, text: str) -> int:
        return len(self._processor.encode(text))


def _processor(file: Path, model: bytes) -> Any:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise ValueError("TOKENIZER_FILE: needs sentencepiece. Install it: pip install '.[tokenizer]'") from None
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError:
        raise ValueError(f"TOKENIZER_FILE: {file} is no SentencePiece model") from None
    return processor
