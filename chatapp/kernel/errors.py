"""Every refusal and failure. No Flask in here: web.py turns these into pages, fragments and JSON.

Pages translate the messages; API clients get them in English.

ChatAppError
├── Refusal                     the request is not carried out; nothing was changed
│   ├── InvalidRequest          400  wrong type, unknown model, bad cursor: names the field
│   │   └── InvalidMessage      400
│   ├── Unauthenticated         401
│   ├── Forbidden               403
│   │   ├── ChatNotYours        403
│   │   ├── CsrfFailed          403
│   │   └── BudgetExceeded      403
│   ├── NotFound                404
│   │   └── ChatNotFound        404 (400 for an id that is not a UUID)
│   ├── NotAcceptable           406
│   ├── TurnConflict            409  the chat is already answering
│   ├── KeyReused               409  one idempotency key, two texts
│   ├── RateLimited             429
│   └── Unavailable             503  draining, full, or a store is down
└── ProviderError               the model's side failed; ends a turn, never a request
    ├── ProviderRateLimited     429 from the provider: try again in a moment
    ├── ProviderQuotaUsedUp     the site's quota or credit is used up: retrying does not help
    ├── ProviderOverloaded      503, 529: the provider is busy
    ├── ProviderTimeout         no connection, no data, or not done in time
    ├── ProviderInterrupted     the stream ended before the answer was finished
    ├── ContentBlocked          the prompt was blocked
    ├── EmptyAnswer             finished without any text
    ├── ContextTooLong          more than the model takes
    └── ProviderMisconfigured   for the operator to fix
        ├── ProviderKeyRefused  wrong or missing key
        ├── ModelNotFound       the provider does not know the model
        └── PlaceNotServed      the provider does not serve the server's location
"""

from __future__ import annotations

from chatapp.kernel.text import N_


class ChatAppError(Exception):
    """An error with a message that may be shown to users and a code for programs."""

    status = 500
    code = "INTERNAL_ERROR"
    default_message = N_("Something went wrong")

    def __init__(self, message: str | None = None, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message or self.default_message)
        self.message = message or self.default_message
        self.code = code or self.code
        self.status = status or self.status


class Refusal(ChatAppError):
    retry_after_seconds: int | None = None


class InvalidRequest(Refusal):
    status = 400
    code = "INVALID_REQUEST"
    default_message = N_("The request is not valid")


class InvalidMessage(InvalidRequest):
    code = "INVALID_MESSAGE"
    default_message = N_("Message must be between 1 and 5000 characters")


class Unauthenticated(Refusal):
    status = 401
    code = "UNAUTHENTICATED"
    default_message = N_("Please sign in")


class Forbidden(Refusal):
    status = 403
    code = "FORBIDDEN"
    default_message = N_("You do not have permission to do this")


class ChatNotYours(Forbidden):
    code = "UNAUTHORIZED_CHAT_ACCESS"
    default_message = N_("You do not have permission to access this chat")


class CsrfFailed(Forbidden):
    code = "CSRF_FAILED"
    default_message = N_("This page is out of date. Reload it and try again")


class BudgetExceeded(Forbidden):
    code = "TOKEN_LIMIT_EXCEEDED"
    default_message = N_("You have exceeded your token limit")

    def __init__(self, message: str | None = None, *, hint: str = "") -> None:
        """hint: what the user can do about it, shown on pages; programs read the code."""
        super().__init__(message)
        self.hint = hint


class NotFound(Refusal):
    status = 404
    code = "NOT_FOUND"
    default_message = N_("There is nothing here")


class ChatNotFound(NotFound):
    code = "CHAT_NOT_FOUND"
    default_message = N_("Chat not found")


class NotAcceptable(Refusal):
    status = 406
    code = "NOT_ACCEPTABLE"
    default_message = N_("This address answers text/event-stream only")


class TurnConflict(Refusal):
    status = 409
    code = "TURN_IN_PROGRESS"
    default_message = N_("This chat is already answering")


class KeyReused(Refusal):
    status = 409
    code = "KEY_REUSED"
    default_message = N_("This idempotency key was used with another text")


class RateLimited(Refusal):
    status = 429
    code = "RATE_LIMITED"
    default_message = N_("Too many requests. Wait a moment and try again")

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 60) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(Refusal):
    status = 503
    code = "SERVICE_UNAVAILABLE"
    default_message = N_("The service isn’t available right now. Try again in a moment")

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 5) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ProviderError(ChatAppError):
    """The model's side failed. Messages are written for users and never contain a key or the provider's own text.

    can_retry: the same request may succeed a moment later.
    retry_after_seconds: what the provider asked for; None if it gave no value.
    """

    code = "PROVIDER_ERROR"
    default_message = N_("The model couldn’t be reached")

    def __init__(
        self,
        message: str | None = None,
        *,
        can_retry: bool = False,
        retry_after_seconds: float | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        # The part of the request that was rejected and can be left out: "system" or "thinking".
        self.refused_part = ""
        self.can_retry = can_retry
        self.retry_after_seconds = retry_after_seconds


class ProviderRateLimited(ProviderError):
    code = "RATE_LIMIT_ERROR"
    default_message = N_("The model is busy. Try again in a moment")


class ProviderQuotaUsedUp(ProviderError):
    default_message = N_("This site’s quota with the model’s provider is used up. Please tell your administrator")


class ProviderOverloaded(ProviderError):
    default_message = N_("The model is overloaded. Try again in a moment")


class ProviderTimeout(ProviderError):
    code = "PROVIDER_TIMEOUT"
    default_message = N_("The model took too long to answer")


class ProviderInterrupted(ProviderError):
    default_message = N_("The connection to the model was lost")


class ContentBlocked(ProviderError):
    code = "CONTENT_BLOCKED"
    default_message = N_("The model’s safety rules blocked this message")


class EmptyAnswer(ProviderError):
    default_message = N_("The model gave no answer")


class ContextTooLong(ProviderError):
    default_message = N_("This is too long for the model. Shorten it or start a new chat")


class ProviderMisconfigured(ProviderError):
    default_message = N_("The connection to the model isn’t set up. Please tell your administrator")


class ProviderKeyRefused(ProviderMisconfigured):
    default_message = N_("The model’s provider refused this site’s key. Please tell your administrator")


class ModelNotFound(ProviderMisconfigured):
    default_message = N_("The provider doesn’t have this model. Choose another, or tell your administrator")


class PlaceNotServed(ProviderMisconfigured):
    default_message = N_("The provider doesn’t serve the country this site runs in. Please tell your administrator")
