"""exchanges: one table for every call to a model (2 of 3: turns, titles and usage records are carried over)

In steps of so many rows, each committed: one that is cut off goes on with those that are missing.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STEP = 2000
# What an exchange was sent on top of its texts, where it was not noted: the setting's default at that time.
OVERHEAD = 10
NAMES = {"user": "question", "answer": "answer", "system": "system", "overhead": "overhead"}
REPORTED = ("input", "cached", "output", "thoughts", "tool")
EXCHANGE_COLUMNS = (
    *("id", "user_id", "purpose", "chat_id", "model", "status", "error_code", "error_message", "finish_reason", "owner"),
    *("heartbeat_at", "stop_requested_at", "started_at", "ended_at", "day", "metering", "price", "overhead_tokens"),
    *("reserved_tokens", "max_answer_tokens", "clamped_by_budget", "parts", "counted_tokens", "charged_tokens", "method"),
    *(f"reported_{name}_tokens" for name in REPORTED),
    *("reported_tokens", "cost_microusd"),
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        tables = _reflect()
        _carry_turns(tables)
        _carry(tables, "title_turns", _of_title)
        _carry(tables, "usage_records", _of_record)


def _reflect():
    metadata = sa.MetaData()
    names = ["exchanges", "turns", "old_turns", "title_turns", "usage_records", "messages"]
    metadata.reflect(op.get_bind(), only=names)
    for table in metadata.tables.values():
        # Ids are characters in SQLite; columns of JSON are read as texts there.
        for column in table.columns:
            if isinstance(column.type, sa.CHAR) or column.name in ("id", "turn_id") or column.name.endswith("_id"):
                column.type = sa.Uuid()
    return metadata.tables


def _carry_turns(tables) -> None:
    old, records, turns, messages = (tables[name] for name in ("old_turns", "usage_records", "turns", "messages"))
    run = op.get_bind().execute
    wanted = sa.select(old, records.c.day).join(records, records.c.turn_id == old.c.id, isouter=True)
    for rows in _steps(wanted, old.c.id):
        _insert(tables["exchanges"], [_of_turn(row._mapping) for row in rows])
        _insert(
            turns,
            [
                {name: getattr(row, name) for name in ("id", "chat_id", "user_id", "question_id", "answer_id", "key")}
                | {"is_open": row.status == "in_progress", "started_at": row.started_at, "sent": _json(row.sent)}
                for row in rows
            ],
        )
        run(
            messages.update().where(messages.c.id == sa.bindparam("answer")),
            [{"answer": row.answer_id, "exchange_id": row.id} for row in rows],
        )


def _carry(tables, name, read) -> None:
    """Carry a table over: its rows that are no exchange yet."""
    old, exchanges, records = tables[name], tables["exchanges"], tables["usage_records"]
    key = old.c.turn_id if name == "usage_records" else old.c.id
    wanted = sa.select(old)
    if name == "title_turns":
        figures = [column for column in records.columns if column.name not in old.c]
        # title_turns has a column of that name too: what was held for the answer.
        figures.append(records.c.answer_tokens.label("said_tokens"))
        wanted = sa.select(old, *figures).join(records, records.c.turn_id == old.c.id, isouter=True)
    missing = ~sa.select(exchanges.c.id).where(exchanges.c.id == key).exists()
    for rows in _steps(wanted.where(missing), key):
        _insert(exchanges, [read(row._mapping) for row in rows])


def _steps(wanted, key):
    last = None
    while True:
        found = wanted.order_by(key).limit(STEP)
        rows = op.get_bind().execute(found if last is None else found.where(key > last)).all()
        if not rows:
            return
        yield rows
        last = rows[-1]._mapping[key]


def _insert(table, rows) -> None:
    dialect = op.get_bind().dialect.name
    insert = getattr(sa.dialects, dialect).insert(table) if dialect in ("sqlite", "postgresql") else table.insert()
    op.get_bind().execute(insert.on_conflict_do_nothing(), rows)


def _json(value):
    return json.loads(value) if isinstance(value, str) else value


def _exchange(**values):
    """Return a row of exchanges; what is not named is empty."""
    row = dict.fromkeys(EXCHANGE_COLUMNS) | {"owner": "", "clamped_by_budget": False, "parts": [], "counted_tokens": 0}
    row |= {"overhead_tokens": OVERHEAD, "reserved_tokens": 0, "max_answer_tokens": 0, "charged_tokens": 0}
    return row | values


def _parts(figures, methods, default):
    """Return the parts that an exchange was counted by: none where nothing was charged."""
    return [
        {"kind": kind, "modality": "text", "tokens": figures.get(f"{name}_tokens") or 0, "method": _method(methods, name, default)}
        for name, kind in NAMES.items()
    ]


def _method(methods, name, default):
    return "fixed" if name == "overhead" else methods.get(name, default)


def _of_turn(row):
    usage, reported, sent = (_json(row[name]) or {} for name in ("usage", "reported", "sent"))
    estimates = {part["role"]: part.get("tokens", 0) for part in sent or []}
    if row["status"] == "in_progress":
        kinds = {"question": "user", "system": "system"}
        parts = [
            {"kind": kind, "modality": "text", "tokens": estimates.get(role, 0), "method": "estimate"}
            for kind, role in kinds.items()
        ]
    elif "user_tokens" in usage:
        parts = _parts(usage, usage.get("methods") or {}, "estimate")
    else:
        parts = []
    has_ended = row["ended_at"] is not None
    return _exchange(
        **{name: row[name] for name in ("id", "user_id", "chat_id", "model", "status", "error_code", "finish_reason")},
        **{name: row[name] for name in ("owner", "heartbeat_at", "stop_requested_at", "started_at", "ended_at")},
        **{name: row[name] for name in ("metering", "reserved_tokens", "max_answer_tokens", "clamped_by_budget")},
        purpose="answer",
        error_message=usage.get("error_message"),
        day=row["day"] or (row["ended_at"].date() if has_ended else None),
        price=_json(row["price"]),
        overhead_tokens=estimates.get("overhead", OVERHEAD),
        parts=parts,
        counted_tokens=sum(part["tokens"] for part in parts) if has_ended else 0,
        charged_tokens=row["charged_tokens"],
        method=usage.get("method"),
        **{f"reported_{name}_tokens": reported.get(f"{name}_tokens") for name in REPORTED},
        reported_tokens=row["reported_tokens"],
        cost_microusd=row["cost_microusd"],
    )


def _of_title(row):
    has_ended = row["ended_at"] is not None
    if not has_ended:
        # What it was sent is charged when it is settled.
        sent = row["reserved_tokens"] - row["answer_tokens"]
        parts = [{"kind": "question", "modality": "text", "tokens": sent, "method": "estimate"}]
    else:
        figures = {**row, "answer_tokens": row["said_tokens"]}
        parts = _parts(figures, {}, row["method"]) if row["counted_tokens"] else []
    return _exchange(
        **{name: row[name] for name in ("id", "user_id", "chat_id", "model", "started_at", "ended_at")},
        **{name: row[name] for name in ("reserved_tokens", "charged_tokens", "cost_microusd", "reported_tokens")},
        **{f"reported_{name}_tokens": row[f"reported_{name}_tokens"] for name in REPORTED if name != "tool"},
        purpose="title",
        status="completed" if has_ended else "in_progress",
        heartbeat_at=row["started_at"],
        day=row["day"] or (row["ended_at"].date() if has_ended else None),
        metering=row["metering"] or "exchange",
        max_answer_tokens=row["answer_tokens"],
        overhead_tokens=(row["overhead_tokens"] or 0) if has_ended else 0,
        parts=parts,
        counted_tokens=row["counted_tokens"] or 0,
        method=row["method"],
    )


def _of_record(row):
    """Carry over what is left of an exchange whose chat is gone."""
    parts = _parts(row, {}, row["method"]) if row["counted_tokens"] else []
    is_title = row["status"] == "title"
    return _exchange(
        **{name: row[name] for name in ("user_id", "chat_id", "model", "ended_at", "day", "metering", "method")},
        **{name: row[name] for name in ("overhead_tokens", "counted_tokens", "charged_tokens", "cost_microusd")},
        **{f"reported_{name}_tokens": row[f"reported_{name}_tokens"] for name in REPORTED if name != "tool"},
        reported_tokens=row["reported_tokens"],
        id=row["turn_id"],
        purpose="title" if is_title else "answer",
        status="completed" if is_title else row["status"],
        heartbeat_at=row["ended_at"],
        started_at=row["ended_at"],
        parts=parts,
    )


def downgrade() -> None:
    tables = _reflect()
    exchanges, turns = tables["exchanges"], tables["turns"]
    answers = sa.select(exchanges, *(column for column in turns.columns if column.name in ("question_id", "answer_id", "key", "sent")))
    for rows in _steps(answers.join(turns, turns.c.id == exchanges.c.id), exchanges.c.id):
        _insert(tables["old_turns"], [_old_turn(row._mapping) for row in rows])
        _restore_messages(tables["messages"], rows)
    for rows in _steps(sa.select(exchanges).where(exchanges.c.ended_at.is_not(None)), exchanges.c.id):
        _insert(tables["usage_records"], [_old_record(row._mapping) for row in rows])
    for rows in _steps(sa.select(exchanges).where(exchanges.c.purpose == "title"), exchanges.c.id):
        names = ("id", "user_id", "chat_id", "model", "started_at", "ended_at", "reserved_tokens", "charged_tokens")
        _insert(
            tables["title_turns"],
            [{name: getattr(row, name) for name in names} | {"answer_tokens": row.max_answer_tokens} for row in rows],
        )


def _restore_messages(messages, rows) -> None:
    op.get_bind().execute(
        messages.update().where(messages.c.id == sa.bindparam("answer")),
        [
            {"answer": row.answer_id, "usage": _old_usage(row._mapping), "tokens_consumed": row.charged_tokens}
            for row in rows
        ],
    )


def _old_turn(row):
    names = ("id", "chat_id", "user_id", "question_id", "answer_id", "key", "model", "status", "error_code")
    more = ("finish_reason", "owner", "heartbeat_at", "stop_requested_at", "started_at", "ended_at", "metering")
    figures = ("reserved_tokens", "max_answer_tokens", "clamped_by_budget", "charged_tokens", "reported_tokens")
    return {name: row[name] for name in (*names, *more, *figures, "cost_microusd")} | {
        "sent": [*(_json(row["sent"]) or []), {"role": "overhead", "tokens": row["overhead_tokens"]}],
        "usage": _old_usage(row),
        "reported": _old_reported(row),
        "price": _json(row["price"]),
    }


def _old_reported(row):
    if row["reported_tokens"] is None:
        return None
    names = ("input", "output", "cached", "thoughts", "tool")
    return {f"{name}_tokens": row[f"reported_{name}_tokens"] or 0 for name in names} | {
        "total_tokens": row["reported_tokens"]
    }


def _old_usage(row):
    if row["ended_at"] is None:
        return None
    kinds = {kind: name for name, kind in NAMES.items()}
    parts = {kinds[part["kind"]]: part for part in _json(row["parts"]) if part["kind"] in kinds}
    total = row["reported_tokens"] if row["method"] == "reported" else row["counted_tokens"]
    return {
        **{f"{name}_tokens": part["tokens"] for name, part in parts.items() if name != "overhead"},
        "overhead_tokens": parts["overhead"]["tokens"] if "overhead" in parts else 0,
        "total_tokens": total,
        "charged_tokens": row["charged_tokens"],
        "excess_tokens": total - row["charged_tokens"],
        "method": row["method"],
        "methods": {name: part["method"] for name, part in parts.items() if part["tokens"] and name != "overhead"},
        "metering": row["metering"],
        "finish_reason": row["finish_reason"],
        "error_code": row["error_code"],
        "error_message": row["error_message"],
        "cost_microusd": row["cost_microusd"],
        "reported": _old_reported(row),
    }


def _old_record(row):
    parts = {part["kind"]: part["tokens"] for part in _json(row["parts"])}
    names = ("user_id", "model", "day", "ended_at", "metering", "counted_tokens", "charged_tokens", "reported_tokens")
    return {
        **{name: row[name] for name in (*names, "cost_microusd", "chat_id")},
        **{f"{name}_tokens": parts.get(kind, 0) for name, kind in NAMES.items()},
        **{f"reported_{name}_tokens": row[f"reported_{name}_tokens"] for name in REPORTED if name != "tool"},
        "turn_id": row["id"],
        "status": "title" if row["purpose"] == "title" else row["status"],
        "method": row["method"] or "estimate",
    }
