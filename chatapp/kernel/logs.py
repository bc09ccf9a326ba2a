"""Logging: one line per record, as text or JSON. No line contains message texts, keys or cookies."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatapp.kernel.config import Settings

MAX_SAID_CHARS = 300
STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:
        """Format a traceback without the row values that database errors quote, which may be private text."""
        parts: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None:
            parts.insert(0, "".join(traceback.format_tb(error.__traceback__)) + _named(error))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "Traceback (most recent call last):\n" + "\nand then:\n".join(parts)


def _named(error: BaseException) -> str:
    """Return an error's name and first line. PostgreSQL quotes row values below it or, in class 22, within it."""
    cause = getattr(error, "orig", None) or error
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    state = getattr(cause, "sqlstate", None) or ""
    if state.startswith("22"):
        return f"{name}: SQLSTATE {state}"
    return f"{name}: {str(error).partition(chr(10))[0][:MAX_SAID_CHARS]}"


class JsonFormatter(Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _extra(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in _extra(record).items())
        return f"{line} {extra}" if extra else line


def without_dropped_peers(record: logging.LogRecord) -> bool:
    """Filter out gunicorn's record of a peer that read nothing for SEND_SECONDS: dropping it is intended."""
    error = record.exc_info[1] if record.exc_info else None
    return not (record.getMessage().startswith("Socket error") and isinstance(error, TimeoutError))


def without_request_lines(record: logging.LogRecord) -> bool:
    """Cut what gunicorn quotes from a request: its request line, and so its URL, may contain a message or a key."""
    said = record.getMessage()
    for beginning in ("Invalid request from ip=", "Error handling request "):
        if said.startswith(beginning):
            named = said.removeprefix(beginning).partition(": ")[0].partition("?")[0]
            record.msg, record.args = beginning + named.partition("/")[0].strip(), ()
    return True


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in STANDARD}


def init_app(settings: Settings) -> None:
    """Set up this package's root logger once; gunicorn has its own."""
    root = logging.getLogger("chatapp")
    root.setLevel(settings.log_level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root.handlers = [handler]
    root.propagate = False
