"""What tokens cost: a table by model and day, in whole micro-dollars. No database.

A price that is not in the table is reported as unknown; nothing is guessed. See prices.toml for the source.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from flask import current_app

from chatapp.providers.base import Usage

TABLE = Path(__file__).with_name("prices.toml")
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per million tokens. The long_ prices apply above long_from input tokens."""

    model: str
    since: str
    input: int
    output: int
    cached: int
    source: str
    long_from: int | None = None
    long_input: int = 0
    long_output: int = 0
    long_cached: int = 0

    def cost_microusd(self, usage: Usage) -> int:
        """Return an exchange's cost, rounded half up. Input includes cached tokens; output includes thinking."""
        is_long = self.long_from is not None and usage.input_tokens > self.long_from
        of_input, of_output, of_cached = (
            (self.long_input, self.long_output, self.long_cached) if is_long else (self.input, self.output, self.cached)
        )
        cached = min(usage.cached_tokens, usage.input_tokens)
        fresh = usage.input_tokens - cached + usage.tool_tokens
        return (fresh * of_input + cached * of_cached + usage.output_tokens * of_output + MICRO // 2) // MICRO

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class PriceTable:
    """Known prices. A model's price on a day is the latest one already in effect."""

    def __init__(self, own_file: Path | None = None) -> None:
        """Read the operator's own file, then the built-in table. Raises ValueError naming the file and the entry."""
        self._prices = (_read(own_file) if own_file else []) + _read(TABLE)

    def at(self, model: str, day: date) -> Price | None:
        """Return a model's price on a day; None if unknown."""
        known = [price for price in self._prices if price.model == model and price.since <= day.isoformat()]
        # max returns the first of equals, so the operator's own price wins.
        return max(known, key=lambda price: price.since, default=None)


def from_dict(stored: dict[str, Any] | None) -> Price | None:
    return Price(**stored) if stored else None


def _read(path: Path) -> list[Price]:
    try:
        table = tomllib.loads(path.read_text(), parse_float=Decimal)
    except OSError as error:
        raise ValueError(f"PRICES_FILE: {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"PRICES_FILE: {path}: {error}") from None
    return [_price(path, number, entry) for number, entry in enumerate(table.get("price", []), 1)]


def _price(path: Path, number: int, entry: dict[str, Any]) -> Price:
    try:
        amounts = {
            name: _micro(entry.get(name, 0))
            for name in ("input", "output", "cached", "long_input", "long_output", "long_cached")
            if name in entry or name in ("input", "output", "cached")
        }
        since = entry["since"]
        if not isinstance(since, date) or not {"model", "input", "output"} <= entry.keys():
            raise ValueError("model, since (a day), input and output are needed")
        return Price(
            model=str(entry["model"]),
            since=since.isoformat(),
            source=str(entry.get("source", path.name)),
            long_from=entry.get("long_from"),
            **amounts,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"PRICES_FILE: {path}: price {number}: {error}") from None


def _micro(dollars: Any) -> int:
    amount = Decimal(dollars) * MICRO
    if amount < 0 or amount != int(amount):
        raise ValueError("a price is a number of dollars, not below 0, with at most six decimals")
    return int(amount)


def prices() -> PriceTable:
    """Return the prices of the running application."""
    found: PriceTable = current_app.extensions["prices"]
    return found
