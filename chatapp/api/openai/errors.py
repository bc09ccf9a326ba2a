"""Errors in OpenAI's shape, with the status at which clients stop or try again.

402 is the only status at which all of them stop at once; x-should-retry keeps OpenAI's own libraries from buying again
what was charged. Retry-After is from 1 to 60 s, because some clients sleep for whatever they are told.
"""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from chatapp.kernel import errors
from chatapp.kernel.errors import ChatAppError, InvalidRequest, ProviderError, Refusal
from chatapp.kernel.text import N_

INVALID, SERVER = "invalid_request_error", "server_error"
MOST_WAIT_SECONDS = 60
WAIT_SECONDS = 10
NO_RETRY = {"x-should-retry": "false"}
# Error → status, type, code. The first that fits.
KINDS: tuple[tuple[type[ChatAppError], int, str, str | None], ...] = (
    (errors.Unauthenticated, 401, INVALID, "invalid_api_key"),
    (errors.BudgetExceeded, 402, "insufficient_quota", "insufficient_quota"),
    (errors.RateLimited, 429, "requests", "rate_limit_exceeded"),
    (errors.Unavailable, 503, SERVER, "overloaded"),
    (errors.ProviderRateLimited, 429, "requests", "upstream_rate_limited"),
    (errors.ProviderQuotaUsedUp, 502, SERVER, "upstream_misconfigured"),
    (errors.ProviderMisconfigured, 502, SERVER, "upstream_misconfigured"),
    (errors.ContentBlocked, 400, INVALID, "content_filter"),
    (errors.ContextTooLong, 400, INVALID, "context_length_exceeded"),
    (errors.ProviderTimeout, 504, SERVER, "upstream_error"),
    (errors.ProviderError, 502, SERVER, "upstream_error"),
)
CODES_BY_STATUS = {404: "unknown_url", 405: "unknown_url", 413: "request_too_large"}


class FieldWrong(InvalidRequest):
    """A field of the request that cannot be obeyed. param: its path, such as messages[2].content."""

    def __init__(self, message: str, param: str | None, *, status: int = 400, kind: str | None = None) -> None:
        super().__init__(message, status=status)
        self.param = param
        self.kind = kind


class CallBroken(ProviderError):
    """A call that ended without an answer after the model had worked: it was charged."""

    default_message = N_("The answer was interrupted. You can ask again")


def body_of(error: ChatAppError) -> dict[str, Any]:
    _status, kind, code = _kind_of(error)
    param = error.param if isinstance(error, FieldWrong) else None
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}


def response_to(error: ChatAppError) -> Response:
    response = jsonify(body_of(error))
    response.status_code, _kind, code = _kind_of(error)
    if _is_final(code):
        response.headers.extend(NO_RETRY)
    if response.status_code in (429, 503):
        asked = error.retry_after_seconds if isinstance(error, Refusal | ProviderError) else None
        response.headers["Retry-After"] = str(round(min(max(asked or WAIT_SECONDS, 1), MOST_WAIT_SECONDS)))
    if response.status_code == 405:
        response.headers["Allow"] = "GET, POST"
    return response


def _kind_of(error: ChatAppError) -> tuple[int, str, str | None]:
    if isinstance(error, CallBroken):
        return 502, SERVER, "upstream_interrupted"
    if isinstance(error, FieldWrong):
        return error.status, INVALID, error.kind
    for kind, status, name, code in KINDS:
        if isinstance(error, kind):
            return status, name, code
    if error.status < 500:
        return error.status, INVALID, CODES_BY_STATUS.get(error.status)
    return error.status, SERVER, "internal_error"


def _is_final(code: str | None) -> bool:
    return code in ("insufficient_quota", "upstream_misconfigured", "upstream_interrupted")
