"""The Gemini models, and how to control thinking in each family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatapp.providers.base import ModelInfo

# Tokens allowed for each thinking level on top of the answer. Google publishes no figures for levels; these are ours.
# Thoughts beyond them reduce the answer, which then ends with "length". They also determine the level for a budget.
LEVEL_TOKENS = {"MINIMAL": 512, "LOW": 2048, "MEDIUM": 8192, "HIGH": 24_576}


@dataclass(frozen=True, slots=True)
class Thinking:
    """How to control a model family's thinking. Budgets in tokens; a family has either a budget or levels."""

    can_be_off: bool = False
    min_budget_tokens: int = 0
    max_budget_tokens: int = 0
    lowest_level: str = ""

    @property
    def max_tokens(self) -> int:
        return self.max_budget_tokens or (LEVEL_TOKENS["HIGH"] if self.lowest_level else 0)

    @property
    def min_tokens(self) -> int:
        return 0 if self.can_be_off else self.min_budget_tokens or LEVEL_TOKENS.get(self.lowest_level, 0)

    def settings(self, tokens: int | None) -> tuple[dict[str, Any] | None, int]:
        """Return the SDK's thinking config for a budget, and what it adds to the output limit, in tokens."""
        if not (self.lowest_level or self.max_budget_tokens):
            return None, 0
        if tokens is None:
            return {"include_thoughts": True}, 0
        if self.can_be_off and tokens < max(1, self.min_budget_tokens):
            # Less than the minimum means none: the budget is a limit, and its reservation must never be exceeded.
            return {"thinking_budget": 0}, 0
        shown = {"include_thoughts": True} if tokens > 0 else {}
        if self.lowest_level:
            level = self._level(tokens)
            return shown | {"thinking_level": level}, max(tokens, LEVEL_TOKENS[level])
        budget = min(max(tokens, self.min_budget_tokens), self.max_budget_tokens)
        return shown | {"thinking_budget": budget}, budget

    def _level(self, tokens: int) -> str:
        fitting = [level for level, needed_tokens in LEVEL_TOKENS.items() if needed_tokens <= tokens]
        return max([self.lowest_level, *fitting], key=list(LEVEL_TOKENS).index)


# By the longest matching prefix of the model's name. Sources, November 2026: ai.google.dev/gemini-api/docs/thinking
# (budgets of 2.5), docs.cloud.google.com "Developer's guide to Gemini 3.5 Flash" and "Thinking" (levels of 3.x; LOW is
# the one that all of them know). Older families reject any thinking config.
THINKING: Mapping[str, Thinking] = {
    "gemini-2.5-flash-lite": Thinking(can_be_off=True, min_budget_tokens=512, max_budget_tokens=24_576),
    "gemini-2.5-flash": Thinking(can_be_off=True, min_budget_tokens=1, max_budget_tokens=24_576),
    "gemini-2.5-pro": Thinking(min_budget_tokens=128, max_budget_tokens=32_768),
    "gemini-3-flash": Thinking(lowest_level="MINIMAL"),
    "gemini-3.1-flash-lite": Thinking(lowest_level="MINIMAL"),
    "gemini-3.5-flash-lite": Thinking(lowest_level="MINIMAL"),
    "gemini-1": Thinking(),
    "gemini-2": Thinking(),
    "gemini-": Thinking(lowest_level="LOW"),
    "": Thinking(),
}


def thinking_of(model: str) -> Thinking:
    return THINKING[max((start for start in THINKING if model.startswith(start)), key=len)]


def gemini_model(model: str, label: str = "") -> ModelInfo:
    """Return what is known about a Gemini model; the limits are those of all text models since 2.5."""
    thinking = thinking_of(model)
    return ModelInfo(model, label or model, 1_048_576, 65_536, thinking.min_tokens, thinking.max_tokens)


# Source: ai.google.dev/gemini-api/docs/models and /deprecations, November 2026. 2.5 Flash and 2.5 Pro are to be
# shut down on 2026-12-01; their names will then lead to 3.5 Flash-Lite (at the same price) and 3.8 Flash.
MODELS: tuple[ModelInfo, ...] = (
    gemini_model("gemini-3.5-flash-lite", "Gemini 3.5 Flash-Lite"),
    gemini_model("gemini-3.8-flash", "Gemini 3.8 Flash"),
    gemini_model("gemini-3.1-pro-preview", "Gemini 3.1 Pro (preview)"),
    gemini_model("gemini-3.5-flash", "Gemini 3.5 Flash"),
    gemini_model("gemini-3-flash-preview", "Gemini 3 Flash (preview)"),
    gemini_model("gemini-3.1-flash-lite", "Gemini 3.1 Flash-Lite"),
    gemini_model("gemini-2.5-flash", "Gemini 2.5 Flash"),
    gemini_model("gemini-2.5-pro", "Gemini 2.5 Pro"),
    gemini_model("gemini-2.5-flash-lite", "Gemini 2.5 Flash-Lite"),
)
