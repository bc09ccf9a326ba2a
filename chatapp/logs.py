"""Logging: a line a record, readable or JSON. No line holds message texts, keys or cookies."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatapp.config import Settings

STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
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


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in _extra(record).items())
        return f"{line} {extra}" if extra else line


def without_dropped_peers(record: logging.LogRecord) -> bool:
    """Pass over gunicorn's record of a peer that took nothing for SEND_SECONDS: dropping it is what we want."""
    error = record.exc_info[1] if record.exc_info else None
    return not (record.getMessage().startswith("Socket error") and isinstance(error, TimeoutError))


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in STANDARD}


def init_app(settings: Settings) -> None:
    """Set up the root of this package's loggers once; gunicorn keeps its own."""
    root = logging.getLogger("chatapp")
    root.setLevel(settings.log_level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root.handlers = [handler]
    root.propagate = False
