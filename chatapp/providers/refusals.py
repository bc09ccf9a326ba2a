"""Classifies the refusals of a model's server. No Flask, no database.

Servers say the same thing in many ways. We read the status, codes and types wherever they are, the reasons in Google's
details and, only for telling the kinds apart, the message. None of the server's text goes any further: a message may
contain the key. The log gets the codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from chatapp.kernel.errors import (
    ContentBlocked,
    ContextTooLong,
    ModelNotFound,
    PlaceNotServed,
    ProviderError,
    ProviderKeyRefused,
    ProviderMisconfigured,
    ProviderOverloaded,
    ProviderQuotaUsedUp,
    ProviderRateLimited,
)

CODE_KEYS = ("code", "type", "status", "reason", "quotaId", "error_type")
TEXT_KEYS = ("message", "detail", "msg", "error", "error_message", "raw")
PLACE_KEYS = ("param", "loc", "parameter", "field")
CODE = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
MOST_NODES = 500
A_LONG_WAIT_SECONDS = 3600.0
WINDOW_KEYS = ("n_ctx", "max_context_length")

TOO_LONG = re.compile(
    r"context_length|context_?window|exceed_context|max_new_tokens. must be|string_above_max_length|request_too_large|"
    r"(maximum|max|model'?s|available|the) context|context (length|window|size|limit)|too many (input )?tokens|"
    r"(prompt|input|request|message)s? (is|are|was|were)? ?too (long|large)|reduce the length|entity too large|"
    r"exceed(s|ed)? (the )?(max|limit|number|model|configured limit)[^.]{0,40}(token|length)|input token count|"
    r"maximum (number of )?tokens allowed|(maximum|max) (prompt|input|model|sequence) length|max_seq_len|"
    r"input length|must have less than \d+ tokens",
    re.IGNORECASE,
)
PLACE = re.compile(
    r"unsupported_country|location is not supported|country, region,? or territory|"
    r"not (available|supported) in your (country|region|location|territory)",
    re.IGNORECASE,
)
QUOTA = re.compile(
    r"insufficient[_ ](quota|balance|credits?|funds)|exceeded_current_quota|quota_exceeded|out of credits?|no credits?|"
    r"no_credit|credit balance|payment required|hard_limit|per[_ -]?day|daily[_ ]limit|arrears|spend(ing)?[_ ]limit|"
    r"usage_limit|余额不足|欠费",
    re.IGNORECASE,
)
# Said of used-up quotas, and by the way of limits that are over in a minute: "add a payment method at …/billing".
PLAN = re.compile(r"current quota|billing", re.IGNORECASE)
SOON = re.compile(r"per[_ -]?(min|sec)|\b[TR]PM\b|(try again|retry) in \d", re.IGNORECASE)
KEY = re.compile(
    r"api[_ -]?key|authentication|unauthori[sz]ed|unauthenticated|invalid[_ ]token|permission|access[_ ]denied",
    re.IGNORECASE,
)
MODEL = re.compile(
    r"model_not_found|deployment[_ ]?not[_ ]?found|model[_ ]not[_ ]available|no such model|unknown model|invalid model|"
    r"no endpoints found|valid model|no models? (is |are )?(currently )?loaded|"
    r"models?\b.{0,200}(not found|does not exist|not exist|not (been )?loaded|unavailable|is not supported|"
    r"decommissioned|deprecated|no longer)",
    re.IGNORECASE,
)
BLOCKED = re.compile(
    r"content_policy|content[_ ]?filter|content management policy|safety system|moderation|inappropriate content|"
    r"content exists risk|usage (policy|policies|guidelines)|data_?inspection|敏感",
    re.IGNORECASE,
)
BUSY = re.compile(r"overload|loading|capacity|unavailable|insufficient_system_resource|busy|engine_", re.IGNORECASE)

# What an error without a status is about, the most certain first.
MEANT = {
    TOO_LONG: 400,
    re.compile("rate_?limit|too many requests|resource_exhausted", re.IGNORECASE): 429,
    QUOTA: 402,
    re.compile("overload|unavailable", re.IGNORECASE): 503,
    BLOCKED: 400,
    MODEL: 404,
    re.compile(r"authentication|invalid_api_key|api key|unauthori[sz]ed|permission_", re.IGNORECASE): 401,
    re.compile(r"invalid_request|bad_?request|validation", re.IGNORECASE): 400,
}


@dataclass(frozen=True, slots=True)
class Told:
    """The content of a refusal: its codes, and its text for telling the kinds apart."""

    codes: tuple[str, ...]
    words: str
    retry_after_seconds: float | None = None
    # The parameters named in the refusal.
    places: str = ""

    @property
    def for_log(self) -> str:
        """Return the codes, which are the server's own and contain no text."""
        return ", ".join(self.codes[:5]) or "no code"


def read(body: Any, headers: Mapping[str, str] | None = None) -> Told:
    """Read a refusal. body is the parsed JSON of any shape, or bytes."""
    body = _parsed(body)
    codes, words, places, delay = [], [], [], None
    for key, value in _pairs(body):
        if key in CODE_KEYS and CODE.fullmatch(text := str(value)) and not isinstance(value, bool):
            codes.append(text)
        if isinstance(value, str) and key in (*TEXT_KEYS, *CODE_KEYS):
            words.append(value[:2000])
        if key in WINDOW_KEYS and isinstance(value, int):
            words.append(f"{key} {value}")
        if key in PLACE_KEYS and isinstance(value, str):
            places.append(value[:100])
        if key == "retryDelay" and isinstance(value, str):
            delay = _seconds(value.removesuffix("s"))
    waits = (delay, retry_after_seconds(headers or {}))
    wait = next((each for each in waits if each is not None), None)
    return Told(tuple(dict.fromkeys(codes)), " ".join(words)[:8000], wait, " ".join(places)[:1000])


def error_for(status: int, told: Told) -> ProviderError:
    """Return our own error for a refusal. status: from HTTP, or from the body."""
    said, wait = f"{' '.join(told.codes)} {told.words}", told.retry_after_seconds
    if status == 413 or (status in (400, 422, 500) and TOO_LONG.search(said)):
        return ContextTooLong()
    if status != 429 and PLACE.search(said):
        return PlaceNotServed()
    if status == 402 or (status in (400, 403, 429) and is_quota(said)) or (status == 429 and is_long(wait)):
        return ProviderQuotaUsedUp(code="RATE_LIMIT_ERROR" if status == 429 else None, retry_after_seconds=wait)
    if status == 429:
        return ProviderRateLimited(can_retry=True, retry_after_seconds=wait)
    if BLOCKED.search(said) and status in (400, 403, 422):
        return ContentBlocked()
    if status in (400, 403, 404, 409, 410, 422, 500) and MODEL.search(said):
        return ModelNotFound()
    if status in (404, 405) or status < 400:
        return ProviderMisconfigured()  # Nothing is at this address, or it is elsewhere.
    if status in (401, 403) or (status == 400 and KEY.search(said)):
        return ProviderKeyRefused()
    if status in (503, 529) or (status >= 500 and BUSY.search(said)):
        return ProviderOverloaded(can_retry=True, retry_after_seconds=wait)
    return ProviderError(can_retry=status >= 500 or status in (408, 425), retry_after_seconds=wait)


def is_quota(said: str) -> bool:
    """Say whether a refusal tells of a quota that no waiting of some minutes brings back."""
    return bool(QUOTA.search(said) or (PLAN.search(said) and not SOON.search(said)))


def is_long(seconds: float | None) -> bool:
    """Return whether a wait is too long for a user in front of a page."""
    return seconds is not None and seconds >= A_LONG_WAIT_SECONDS


def status_in(body: Any, default: int) -> int:
    """Return the HTTP status that an error object in a stream states or that its codes imply."""
    told = read(body)
    for code in told.codes:
        if code.isdigit() and 400 <= int(code) <= 599:
            return int(code)
    said = f"{' '.join(told.codes)} {told.words}"
    return next((status for words, status in MEANT.items() if words.search(said)), default)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the wait from Retry-After, which holds seconds or a date. None if missing or unreadable."""
    text = str(headers.get("retry-after") or headers.get("Retry-After") or "").strip()
    if (seconds := _seconds(text)) is not None:
        return seconds
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and len(text) < 20 and text.replace(".", "", 1).isdecimal() else None


def _parsed(body: Any) -> Any:
    if not isinstance(body, bytes):
        return body
    text = body.decode(errors="replace")
    parsed = _json(text)
    return {"message": text} if parsed is None else parsed


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its plain value, outermost first; also from JSON inside a string, as some proxies send."""
    waiting, seen = [("message", value)], 0
    while waiting and seen < MOST_NODES:
        key, value = waiting.pop(0)
        seen += 1
        if isinstance(value, dict):
            waiting += [(str(name), each) for name, each in value.items()]
        elif isinstance(value, list):
            waiting += [(key, each) for each in value]
        else:
            yield key, value
            if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
                inner = _json(value)
                waiting += [(key, inner)] if inner is not None else []
