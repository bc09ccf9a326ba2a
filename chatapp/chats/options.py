"""A chat's options: model, instructions, temperature and thinking. Set per chat, with defaults per user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatapp.auth.models import User
from chatapp.budget.pricing import Price, prices
from chatapp.kernel.database import now
from chatapp.personas import choice
from chatapp.providers.base import ModelInfo
from chatapp.providers.registry import providers

# Thinking budgets in tokens: none, a few steps, a page, and nearly as much as any model thinks.
THINKING_TOKENS = (0, 1_024, 4_096, 16_384)


@dataclass(frozen=True, slots=True)
class Options:
    """model None: the operator's default. temperature None: the model's default. thinking_tokens 0 or None: off."""

    model: str | None = None
    system_prompt: str = ""
    temperature: float | None = None
    thinking_tokens: int | None = None

    @classmethod
    def of_user(cls, user: User) -> Options:
        return cls(
            user.default_model,
            user.default_system_prompt or "",
            user.default_temperature,
            user.default_thinking_tokens,
        )


@dataclass(frozen=True, slots=True)
class Offer:
    """A model with its price, if known."""

    info: ModelInfo
    price: Price | None


def offers() -> list[Offer]:
    """Return every available model with today's price, None if unknown."""
    today = now().date()
    return [Offer(info, prices().at(info.id, today)) for info in providers().models()]


def for_new_chat(user: User, form: Mapping[str, str]) -> dict[str, Any]:
    """Return a new chat's columns: the user's defaults, overridden by a persona, then by the form's model."""
    defaults = Options.of_user(user)
    values: dict[str, Any] = {
        "model": providers().offered(defaults.model),
        "system_prompt": defaults.system_prompt,
        "temperature": defaults.temperature,
        "thinking_tokens": defaults.thinking_tokens,
    }
    chosen = form.get("persona")
    if chosen:
        values |= choice.chosen(user, chosen).options
        values["model"] = providers().offered(values["model"])
    if form.get("model"):
        providers().for_model(form["model"])
        values["model"] = form["model"]
    return values
