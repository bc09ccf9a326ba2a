"""Gemini's REST calls. The SDK's handling of a chunk costs several times as much (bench/streaming.py).

A reply may have any shape; unexpected content is skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from chatapp.kernel.errors import ProviderError
from chatapp.providers.event_stream import JsonServer, Patience, Refused, cause_of, most_bytes, network_failure
from chatapp.providers.events import UNREADABLE, parsed
from chatapp.providers.gemini import wire
from chatapp.providers.gemini.wire import GOOGLE, ChunkContent, GeminiRequest, ReportedUsage
from chatapp.providers.pace import Pace
from chatapp.providers.passed_over import name_once

logger = logging.getLogger(__name__)


class RestClient:
    def __init__(self, api_key: str, base_url: str | None, connect_seconds: float, pace: Pace) -> None:
        self._headers = {"x-goog-api-key": api_key}
        self._server = JsonServer(base_url or GOOGLE, connect_seconds, pace)

    def warm_up(self) -> None:
        """Do nothing: the first call is not slow."""

    def close(self) -> None:
        self._server.close()

    def open(self, call: GeminiRequest, patience: Patience) -> Iterator[list[ChunkContent]]:
        """Source: Gemini API v1beta, models.streamGenerateContent with alt=sse."""
        path = _path(call.model, "streamGenerateContent?alt=sse")
        arriving = self._server.stream(path, self._headers, _body(call), patience, most_bytes(call.max_tokens))
        try:
            for events in arriving:
                yield from _merged(events)
        finally:
            arriving.close()

    def count(self, model: str, text: str, patience: Patience) -> int | None:
        """Source: Gemini API v1beta, models.countTokens."""
        body = {"contents": wire.contents([("user", text)])}
        reply = _dict(_json(self._server.ask("POST", _path(model, "countTokens"), self._headers, body, patience)))
        return wire.tokens(reply["totalTokens"]) if isinstance(reply.get("totalTokens"), int) else None

    def translate(self, error: Exception, *, has_begun: bool, has_piece: bool) -> ProviderError:
        if isinstance(error, ProviderError):
            return error
        if isinstance(error, Refused | _Error):
            body = error.body if isinstance(error, _Error) else _json(error.body)
            status = error.code if isinstance(error, _Error) else error.status
            headers = error.headers if isinstance(error, Refused) else None
            return wire.refusal(status, body, headers, has_piece=has_piece)
        logger.warning("Gemini call failed: %s", cause_of(error))
        return network_failure(error, has_begun=has_begun, has_piece=has_piece)


class _Error(Exception):
    """An error object instead of a chunk."""

    def __init__(self, code: Any, body: Any) -> None:
        super().__init__("error object")
        self.code = code
        self.body = body


def _path(model: str, method: str) -> str:
    return f"/v1beta/models/{quote(model, safe='')}:{method}"


def _body(call: GeminiRequest) -> dict[str, Any]:
    settings = {
        "temperature": call.temperature,
        "maxOutputTokens": call.max_tokens,
        "thinkingConfig": call.thinking,
        **{_camel(name): value for name, value in wire.wished(call.wishes).items()},
    }
    body: dict[str, Any] = {
        "contents": call.contents,
        "generationConfig": {name: value for name, value in settings.items() if value is not None},
    }
    if call.system_prompt:
        body["systemInstruction"] = {"parts": [{"text": call.system_prompt}]}
    return body


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _merged(events: list[bytes]) -> Iterator[list[ChunkContent]]:
    """Yield the content of chunks that arrived together; if one fails, first what came before it."""
    chunks: list[ChunkContent] = []
    try:
        for data in events:
            chunk = parsed(data)
            if chunk is UNREADABLE and (data[:1] not in b"{[" or data == b"[DONE]"):
                # Words, most likely to keep the connection open. The answer still needs a proper end.
                name_once("Gemini", "an event", "no JSON")
                continue
            if chunk is UNREADABLE:
                raise ValueError
            # A proxy that drops alt=sse returns all chunks as one list.
            chunks += map(_said, chunk if isinstance(chunk, list) else [chunk])
    except Exception:
        yield chunks
        raise
    yield chunks


def _said(chunk: Any) -> ChunkContent:
    """Read one chunk. Raises _Error for an error object; logs the names of parts that are not text."""
    if (error := wire.error_of(chunk)) is not None:
        raise _Error(error.get("code"), chunk)
    if not isinstance(chunk, dict):
        name_once("Gemini", "an event", chunk)
    chunk = _dict(chunk)
    candidate = _dict(_first(chunk.get("candidates")))
    text = thought = ""
    parts = _dict(candidate.get("content")).get("parts")
    for part in parts if isinstance(parts, list) else ():
        words = part.get("text") if isinstance(part, dict) else None
        if not isinstance(words, str):
            wire.name_part(part if isinstance(part, dict) else [type(part).__name__])
            continue
        if part.get("thought") is True:
            thought += words
        else:
            text += words
    finish = candidate.get("finishReason")
    used = chunk.get("usageMetadata")
    return ChunkContent(
        text,
        thought,
        _figures(used) if isinstance(used, dict) else None,
        finish if isinstance(finish, str) and finish else None,
        bool(_dict(chunk.get("promptFeedback")).get("blockReason")),
    )


def _figures(reported: dict[str, Any]) -> ReportedUsage:
    return ReportedUsage(
        reported.get("promptTokenCount"),
        reported.get("candidatesTokenCount"),
        reported.get("thoughtsTokenCount"),
        reported.get("cachedContentTokenCount"),
        reported.get("toolUsePromptTokenCount"),
        reported.get("totalTokenCount"),
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _json(body: bytes) -> Any:
    found = parsed(body)
    return None if found is UNREADABLE else found
