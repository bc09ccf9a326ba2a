"""Gemini through google-genai. Everything that depends on the SDK, its objects and its errors is in this file.

SDK facts that shaped it (google-genai 3.4): there is no timeout unless a request hook sets it;
HttpOptions.timeout also sends a server deadline, which the API rejects below 10 s; connections are capped at 100 by
default, and the rest wait silently; nothing is sent before the first next(); transport errors are httpx2's own.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gevent
from gevent.lock import RLock

from chatapp.kernel.errors import ProviderError, ProviderInterrupted, ProviderMisconfigured, ProviderTimeout
from chatapp.providers.event_stream import Patience, StreamError
from chatapp.providers.gemini import wire
from chatapp.providers.gemini.wire import GOOGLE, ChunkContent, GeminiRequest, ReportedUsage
from chatapp.providers.proxy import proxy_of

if TYPE_CHECKING:
    from google.genai import Client

logger = logging.getLogger(__name__)


class SdkClient:
    """One per process: its client keeps the connections and is safe across greenlets."""

    def __init__(self, api_key: str, base_url: str | None, connect_seconds: float, idle_seconds: float) -> None:
        self._api_key = api_key
        self._base_url = base_url or None
        self._phase_seconds = {"connect": connect_seconds, "read": idle_seconds, "write": 10.0, "pool": connect_seconds}
        self._proxy = proxy_of(base_url or GOOGLE)
        self._client: Client | None = None
        self._lock = RLock()

    def warm_up(self) -> None:
        """Import the SDK, create the client, and make the SDK build its models, which it otherwise does in the first
        answer.

        Takes about 0.8 s of CPU, during which nothing else in the process runs: call it before serving requests.
        """
        self._ready_client()
        from google.genai import types

        types.GenerateContentConfig()
        types.GenerateContentResponse.model_validate({})

    def close(self) -> None:
        """Close idle connections. The next call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def open(self, call: GeminiRequest, patience: Patience) -> Iterator[list[ChunkContent]]:
        _expect_new_enum_values()
        models = self._ready_client().models
        from google.genai import types

        wished: Any = wire.wished(call.wishes)
        config = types.GenerateContentConfig(
            **wished,
            system_instruction=call.system_prompt or None,
            max_output_tokens=call.max_tokens,
            temperature=call.temperature,
            thinking_config=None if call.thinking is None else types.ThinkingConfig(**call.thinking),
            # Both are on by default and would make further, billed requests.
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            automatic_continuation=False,
        )
        contents: Any = call.contents
        chunks = models.generate_content_stream(model=call.model, contents=contents, config=config)
        try:
            while (chunk := _next(chunks, patience)) is not None:
                yield [_said(chunk)]
        finally:
            chunks.close()  # type: ignore[attr-defined]

    def count(self, model: str, text: str, patience: Patience) -> int | None:
        contents: Any = wire.contents([("user", text)])
        total = self._ready_client().models.count_tokens(model=model, contents=contents).total_tokens
        return None if total is None else wire.tokens(total)

    def translate(self, error: Exception, *, has_begun: bool, has_piece: bool) -> ProviderError:
        import httpx2
        from google.genai import errors

        if isinstance(error, ProviderError):
            return error
        if isinstance(error, StreamError):
            return ProviderTimeout()
        if isinstance(error, errors.APIError):
            headers = getattr(error.response, "headers", None)
            return wire.refusal(error.code, error.details, headers, has_piece=has_piece)
        logger.warning("Gemini call failed: %s", type(error).__name__)
        if isinstance(error, httpx2.ConnectTimeout):
            return ProviderTimeout(can_retry=True)
        if isinstance(error, httpx2.TimeoutException):
            return ProviderTimeout()
        if has_begun:
            return ProviderInterrupted(can_retry=not has_piece and isinstance(error, httpx2.NetworkError))
        if isinstance(error, httpx2.LocalProtocolError | UnicodeError):
            return (
                ProviderMisconfigured()
            )  # A key that cannot be sent: pasted with a line break, or with a non-ASCII letter.
        return ProviderError(can_retry=isinstance(error, httpx2.TransportError))

    def _ready_client(self) -> Client:
        """Return the client, created once. The import takes 0.8 s of CPU and the client 0.1 s."""
        with self._lock:
            if self._client is None:
                self._client = self._build_client()
            return self._client

    def _build_client(self) -> Client:
        import httpx2
        from google import genai

        def set_phase_timeouts(request: Any) -> None:
            request.extensions["timeout"] = dict(self._phase_seconds)

        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60.0)
        client_args = {
            "limits": limits,
            "event_hooks": {"request": [set_phase_timeouts]},
            # We read the environment ourselves, so that NO_PROXY means the same to both clients.
            "trust_env": False,
            # A redirect would carry the key to wherever it leads.
            "follow_redirects": False,
            "proxy": self._proxy and httpx2.Proxy(self._proxy.url, headers=self._proxy.headers),
        }
        options: Any = {"base_url": self._base_url, "api_version": "v1beta", "client_args": client_args}
        # enterprise=False: otherwise an environment variable could send the key to another service.
        return genai.Client(api_key=self._api_key, enterprise=False, http_options=options)


def _next(chunks: Iterator[Any], patience: Patience) -> Any:
    """Return the next chunk, None at the end. The timer runs only here, so that it cannot fire in the caller's code."""
    with gevent.Timeout(patience.seconds()) as timer:
        try:
            return next(chunks, None)
        except gevent.Timeout as expired:
            if expired is not timer:
                raise
    raise StreamError(timed_out=True)


def _said(chunk: Any) -> ChunkContent:
    """Read one of the SDK's chunks. Parts that are not text (calls, files, code) are named in the log."""
    candidate = chunk.candidates[0] if chunk.candidates else None
    parts = (candidate.content.parts if candidate and candidate.content else None) or ()
    for part in parts:
        if part.text is None:
            wire.name_part(part.model_dump(exclude_none=True, by_alias=True))
    return ChunkContent(
        "".join(part.text for part in parts if part.text and not part.thought),
        "".join(part.text for part in parts if part.text and part.thought),
        _figures(chunk.usage_metadata),
        candidate.finish_reason.name if candidate and candidate.finish_reason else None,
        bool(chunk.prompt_feedback and chunk.prompt_feedback.block_reason),
    )


def _figures(reported: Any) -> ReportedUsage | None:
    if reported is None:
        return None
    return ReportedUsage(
        reported.prompt_token_count,
        reported.candidates_token_count,
        reported.thoughts_token_count,
        reported.cached_content_token_count,
        reported.tool_use_prompt_token_count,
        reported.total_token_count,
    )


def _expect_new_enum_values() -> None:
    """Suppress the warning for enum values newer than the SDK; it keeps them by name.

    Called for each answer: the filter list is global and others may have replaced it. Adding an existing filter moves
    it to the front.
    """
    warnings.filterwarnings("ignore", message=r".* is not a valid \w+$", category=UserWarning)
