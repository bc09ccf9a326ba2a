"""A user's exchanges as CSV and JSON, streamed while they are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from chatapp.exchanges.models import NAMES, Exchange
from chatapp.usage.queries import Range

COLUMNS = (
    *("ended_at", "day", "chat_id", "chat", "turn_id", "model", "status", "metering", "method"),
    *("user_tokens", "answer_tokens", "system_tokens", "overhead_tokens", "counted_tokens", "charged_tokens"),
    *("reported_input_tokens", "reported_cached_tokens", "reported_output_tokens", "reported_thoughts_tokens"),
    *("reported_tokens", "cost_microusd"),
)
# Spreadsheets treat a cell that starts with one of these as a formula, and a chat's title can be anything.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def row(record: Exchange, title: str) -> dict[str, Any]:
    """Return an exchange by column: ids and instants as strings, tokens as numbers, None if unknown."""
    parts = {f"{name}_tokens": 0 for name in ("user", "answer", "system", "overhead")}
    parts |= {f"{NAMES.get(part['kind'], part['kind'])}_tokens": part["tokens"] for part in record.parts}
    values = {name: getattr(record, name, None) for name in COLUMNS} | parts
    values |= {"chat": title, "turn_id": record.id}
    if record.purpose == "title":
        values["status"] = "title"
    assert record.ended_at  # Open exchanges are not exported.
    values["ended_at"] = record.ended_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {name: value if value is None or isinstance(value, int) else str(value) for name, value in values.items()}


def as_csv(rows: Iterable[tuple[Exchange, str]]) -> Iterator[str]:
    yield _line(COLUMNS)
    for record, title in rows:
        yield _line(_safe(value) for value in row(record, title).values())


def as_json(rows: Iterable[tuple[Exchange, str]], chosen: Range) -> Iterator[str]:
    yield f'{{"from": "{chosen.first}", "to": "{chosen.last}", "exchanges": ['
    separator = "\n"
    for record, title in rows:
        yield separator + json.dumps(row(record, title), ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _line(values: Iterable[Any]) -> str:
    out = io.StringIO()
    # Quote everything: some spreadsheets also split lines at semicolons.
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(values)
    return out.getvalue()
