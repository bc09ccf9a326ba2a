"""A scripted Gemini server and a provider that talks to it through the real SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chatapp.providers.base import ChatRequest, Chunk, PromptMessage
from chatapp.providers.gemini import GeminiProvider
from tests.scripted_gemini import ScriptedGemini

KEY = "AIza-the-secret-key"


@pytest.fixture(scope="session")
def _sdk() -> None:
    """Load the SDK before any test that looks at the clock."""
    GeminiProvider(KEY).warm_up()


@pytest.fixture(scope="module")
def _server(_sdk: None) -> Iterator[ScriptedGemini]:
    server = ScriptedGemini(api_key=KEY).start()
    yield server
    server.stop()


@pytest.fixture
def server(_server: ScriptedGemini) -> ScriptedGemini:
    _server.reset()
    return _server


@pytest.fixture(scope="module", params=["rest", "sdk"])
def gemini_client(request: pytest.FixtureRequest) -> str:
    """The two clients. What holds of one holds of the other."""
    return str(request.param)


@pytest.fixture
def make_gemini(server: ScriptedGemini, gemini_client: Any) -> Iterator[Callable[..., GeminiProvider]]:
    made: list[GeminiProvider] = []

    def make(key: str = KEY, url: str = server.url, **seconds: float) -> GeminiProvider:
        limits = {"connect_seconds": 2.0, "idle_seconds": 5.0, "total_seconds": 20.0, **seconds}
        made.append(GeminiProvider(key, url, client=gemini_client, **limits))
        return made[-1]

    yield make
    for provider in made:
        provider.close()


@pytest.fixture(scope="module")
def _gemini(_server: ScriptedGemini, gemini_client: Any) -> Iterator[GeminiProvider]:
    provider = GeminiProvider(
        KEY, _server.url, connect_seconds=2, idle_seconds=5, total_seconds=20, client=gemini_client
    )
    provider.warm_up()
    yield provider
    provider.close()


@pytest.fixture
def gemini(_gemini: GeminiProvider, server: ScriptedGemini) -> GeminiProvider:
    return _gemini


@pytest.fixture
def ask() -> Callable[..., ChatRequest]:
    """Return a function that makes a request out of the messages of a dialogue, the user's first."""

    def make(*texts: str, model: str = "gemini-2.5-flash", **fields: object) -> ChatRequest:
        roles = ("user", "assistant")
        messages = tuple(PromptMessage.of_text(roles[i % 2], text) for i, text in enumerate(texts or ("Hello?",)))
        return ChatRequest(model, messages, **{"max_output_tokens": 1000, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture
def text_of() -> Callable[[list[Chunk]], str]:
    return lambda chunks: "".join(chunk.delta for chunk in chunks)
