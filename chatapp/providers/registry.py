"""Which providers there are: chosen once, at the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from chatapp.errors import InvalidRequest
from chatapp.providers.base import ModelInfo, Provider
from chatapp.providers.demo import DemoProvider
from chatapp.providers.gemini import MODELS, GeminiProvider, gemini_model
from chatapp.text import N_


class Providers:
    """The models on offer, and who serves each."""

    def __init__(self, providers: Sequence[Provider], default_model: str | None = None) -> None:
        """Take providers in order of preference, at least one.

        default_model: None means the first model of the first provider. Raises ValueError where nobody offers it.
        """
        self._providers = tuple(providers)
        self._offers: dict[str, tuple[ModelInfo, Provider]] = {}
        for provider in self._providers:
            for info in provider.models():
                self._offers.setdefault(info.id, (info, provider))
        self.default_model = default_model or self._providers[0].models()[0].id
        if self.default_model not in self._offers:
            raise ValueError(f"DEFAULT_MODEL: no provider offers {self.default_model!r}. Is GEMINI_API_KEY missing?")

    @classmethod
    def from_settings(
        cls,
        *,
        gemini_api_key: str | None = None,
        gemini_base_url: str | None = None,
        gemini_client: Literal["rest", "sdk"] = "rest",
        default_model: str | None = None,
        demo_pace_seconds: float = 0.02,
        connect_seconds: float = 5,
        idle_seconds: float = 60,
        total_seconds: float = 600,
    ) -> Providers:
        """Choose by what is configured: Gemini with a key, the demo without one, never both.

        A default_model newer than the table of Gemini's models is added to it, so that a new model needs no release.
        """
        key = (gemini_api_key or "").strip()
        if not key:
            return cls([DemoProvider(demo_pace_seconds)], default_model)
        known = {info.id for info in MODELS}
        added = (gemini_model(default_model),) if default_model and default_model not in known else ()
        gemini = GeminiProvider(
            key,
            gemini_base_url,
            connect_seconds,
            idle_seconds,
            total_seconds,
            models=added + MODELS,
            client=gemini_client,
        )
        return cls([gemini], default_model)

    def models(self) -> list[ModelInfo]:
        """Return every model on offer, each once, the preferred ones first."""
        return [info for info, _ in self._offers.values()]

    def model(self, model_id: str) -> ModelInfo:
        """Return a model's limits. Raises InvalidRequest for an unknown one."""
        return self._offer(model_id)[0]

    def for_model(self, model_id: str) -> Provider:
        """Return who serves a model. Raises InvalidRequest for an unknown one."""
        return self._offer(model_id)[1]

    def offered(self, model_id: str | None) -> str:
        """Return a model chosen earlier if it is still on offer, else the default: a saved choice is never an error."""
        return model_id if model_id in self._offers else self.default_model

    def warm_up(self) -> None:
        for provider in self._providers:
            provider.warm_up()

    def _offer(self, model_id: str) -> tuple[ModelInfo, Provider]:
        try:
            return self._offers[model_id]
        except (KeyError, TypeError):
            raise InvalidRequest(N_("model: this model is not on offer")) from None
