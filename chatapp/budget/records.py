"""What each exchange came to, kept for the usage page when its chat is long gone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chatapp.budget.models import UsageRecord
from chatapp.kernel.database import execute
from chatapp.kernel.zones import zone
from chatapp.providers.base import Usage

RECORDS = UsageRecord.metadata.tables["usage_records"]


@dataclass(frozen=True, slots=True)
class Spent:
    """An exchange that has ended. parts: user, answer, system and overhead → counted tokens, absent where none."""

    turn_id: UUID
    user_id: UUID
    chat_id: UUID
    model: str
    status: str
    metering: str
    method: str
    parts: dict[str, int]
    charged_tokens: int
    reported: Usage | None
    cost_microusd: int | None


def keep(spent: Spent, instant: datetime, timezone: str) -> None:
    """Save a record. Inside the transaction that settles the exchange; timezone is the user's."""
    reported = spent.reported
    execute(
        RECORDS.insert(),
        {
            "turn_id": spent.turn_id,
            "user_id": spent.user_id,
            "chat_id": spent.chat_id,
            "model": spent.model,
            "day": instant.astimezone(zone(timezone)).date(),
            "ended_at": instant,
            "status": spent.status,
            "metering": spent.metering,
            "method": spent.method,
            **{f"{name}_tokens": spent.parts.get(name, 0) for name in ("user", "answer", "system", "overhead")},
            "counted_tokens": sum(spent.parts.values()),
            "charged_tokens": spent.charged_tokens,
            "reported_input_tokens": reported and reported.input_tokens,
            "reported_cached_tokens": reported and reported.cached_tokens,
            "reported_output_tokens": reported and reported.output_tokens,
            "reported_thoughts_tokens": reported and reported.thoughts_tokens,
            "reported_tokens": reported and reported.total_tokens,
            "cost_microusd": spent.cost_microusd,
        },
    )
