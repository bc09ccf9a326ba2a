"""What the application is wired from, chosen once in create_app: memory or Redis, demo or Gemini."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from chatapp.budget.pricing import PriceTable
    from chatapp.config import Settings
    from chatapp.providers.registry import Providers
    from chatapp.tokens.count import Counter
    from chatapp.turns.workers import Workers


@dataclass
class Services:
    settings: Settings
    providers: Providers
    counter: Counter
    prices: PriceTable
    turns: Workers


def services() -> Services:
    found: Services = current_app.extensions["services"]
    return found


def settings() -> Settings:
    found: Settings = current_app.extensions["settings"]
    return found
