"""The providers: chosen at startup, and again when an administrator connects a model (connections/)."""

from __future__ import annotations

from collections.abc import Sequence

from flask import current_app

from chatapp.kernel.config import Settings
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.text import N_
from chatapp.providers.base import ModelInfo, Provider
from chatapp.providers.demo import DemoProvider
from chatapp.providers.gemini import GeminiProvider
from chatapp.providers.openai import OpenAICompatibleProvider


class Providers:
    """The available models, and the provider of each."""

    def __init__(self, providers: Sequence[Provider], default_model: str | None = None) -> None:
        """Take providers in order of preference, at least one.

        default_model: None means the first model of the first provider. Raises ValueError if no provider offers it.
        """
        self._providers = tuple(providers)
        self._configured_default = default_model
        # All models that were ever available, so that one chosen a moment ago still works when a list changes.
        self._seen: dict[str, tuple[ModelInfo, Provider]] = {}
        if self.default_model not in self._offers():
            raise ValueError(f"DEFAULT_MODEL: no provider offers {self.default_model!r}. Is GEMINI_API_KEY missing?")

    @classmethod
    def from_settings(cls, settings: Settings) -> Providers:
        """Choose by configuration: Gemini if there is a key, then the OpenAI-compatible server if there is an address;
        the demo if there is neither.

        A DEFAULT_MODEL that is in no list is added to one, so that a new model needs no release: to Gemini's if its
        name says so or there is no other provider. Raises ValueError if OPENAI_MODELS cannot be parsed.
        """
        providers: list[Provider] = []
        has_gemini, chosen = (settings.gemini_api_key or "").strip(), settings.default_model or ""
        if has_gemini and chosen.startswith("models/gemini"):
            # As Google's lists write it.
            settings = settings.model_copy(update={"default_model": chosen.removeprefix("models/")})
        if has_gemini:
            providers.append(GeminiProvider.from_settings(settings))
        if settings.openai_base_url:
            known = {info.id for each in providers for info in each.models()}
            providers.append(OpenAICompatibleProvider.from_settings(settings, known))
        return cls(providers or [DemoProvider(settings.demo_pace_seconds)], settings.default_model)

    def become(self, other: Providers) -> None:
        """Offer what the other one offers, from now on. Answers in progress go on as they began.

        Raises ValueError if the configured default model is not among it.
        """
        replaced = self._providers
        self._providers, self._configured_default = other._providers, other._configured_default
        self._seen = {}
        for provider in replaced:
            if provider not in self._providers:
                provider.close()

    @property
    def is_demo(self) -> bool:
        """Whether nothing but the built-in demo answers."""
        return all(provider.name == "demo" for provider in self._providers)

    @property
    def default_model(self) -> str:
        return self._configured_default or self._providers[0].models()[0].id

    def models(self) -> list[ModelInfo]:
        """Return every available model once, the preferred ones first."""
        return [info for info, _ in self._offers().values()]

    def model(self, model_id: str) -> ModelInfo:
        """Return a model's limits. Raises InvalidRequest for an unknown one."""
        return self._offer(model_id)[0]

    def for_model(self, model_id: str) -> Provider:
        """Return a model's provider. Raises InvalidRequest for an unknown model."""
        return self._offer(model_id)[1]

    def offered(self, model_id: str | None) -> str:
        """Return a model chosen earlier if still available, otherwise the default: a saved choice is never an error."""
        return model_id if model_id in self._offers() else self.default_model

    def warm_up(self) -> None:
        for provider in self._providers:
            provider.warm_up()

    def _offers(self) -> dict[str, tuple[ModelInfo, Provider]]:
        """Return the currently available models: a server's list may arrive later, or change."""
        offers: dict[str, tuple[ModelInfo, Provider]] = {}
        for provider in self._providers:
            for info in provider.models():
                offers.setdefault(info.id, (info, provider))
        self._seen |= offers
        return offers

    def _offer(self, model_id: str) -> tuple[ModelInfo, Provider]:
        try:
            self._offers()
            return self._seen[model_id]
        except (KeyError, TypeError):
            raise InvalidRequest(N_("model: this model is not available")) from None


def providers() -> Providers:
    """Return the providers of the running application."""
    found: Providers = current_app.extensions["providers"]
    return found
