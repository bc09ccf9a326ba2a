"""Texts about an answer: how it ended and how its tokens were counted."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext as _

from chatapp.kernel.errors import (
    ModelNotFound,
    PlaceNotServed,
    ProviderKeyRefused,
    ProviderMisconfigured,
    ProviderQuotaUsedUp,
)

MENDABLE = {
    each.default_message
    for each in (ProviderMisconfigured, ProviderKeyRefused, ModelNotFound, PlaceNotServed, ProviderQuotaUsedUp)
}
FOLDED_LINES, LINE_CHARS = 12, 65


def ending_text(status: str, usage: dict[str, Any] | None) -> str:
    """Return how an answer ended, for display; "" if it ended normally. usage: Message.usage."""
    usage = usage or {}
    code = usage.get("error_code")
    if status == "completed":
        cut = {
            "length": _("The answer reached the length limit."),
            "content_filter": _("The model’s safety rules stopped this answer."),
        }
        return cut.get(usage.get("finish_reason") or "", "")
    if status == "stopped":
        if code == "TOKEN_LIMIT_EXCEEDED":
            return _("Your token budget is used up, so the answer ends here.")
        return _("You stopped this answer.")
    texts = {
        "RATE_LIMIT_ERROR": _("The model is busy. Try again in a moment."),
        "PROVIDER_TIMEOUT": _("The model took too long to answer."),
        "PROVIDER_ERROR": _("The model couldn’t answer."),
        "CONTENT_BLOCKED": _("The model’s safety rules blocked this message. Try rephrasing it."),
        "TOKEN_LIMIT_EXCEEDED": _("Your token budget is used up."),
    }
    if status == "interrupted":
        return _interrupted_text(code, has_text=bool(usage.get("answer_tokens")))
    if code == "PROVIDER_ERROR" and (message := usage.get("error_message")):
        # A message from errors.py: a wrong key is a different problem from an empty answer.
        return f"{_(message)}."
    return texts.get(code or "", _("Something went wrong while answering."))


def _interrupted_text(code: str | None, *, has_text: bool) -> str:
    """has_text: whether something of the answer had arrived."""
    if code == "PROVIDER_TIMEOUT":
        if has_text:
            return _("The model stopped responding. The partial answer is saved.")
        return _("The model stopped responding. No answer arrived.")
    if has_text:
        return _("The answer was interrupted. The partial answer is saved.")
    return _("The answer was interrupted before it began.")


def is_mendable(usage: dict[str, Any] | None) -> bool:
    """Return whether an administrator can mend what an answer failed of: the key, the address, the model, the quota."""
    return (usage or {}).get("error_message") in MENDABLE


def is_long(text: str) -> bool:
    """Return whether a message of one's own takes more lines than a page shows unasked, on a wide screen."""
    lines = text[: FOLDED_LINES * LINE_CHARS + 1].split("\n")
    return sum(1 + len(line) // LINE_CHARS for line in lines) > FOLDED_LINES


def method_text(method: str | None) -> str:
    """Return how tokens were counted, for display."""
    texts = {
        "api": _("counted by the provider"),
        "local": _("counted locally"),
        "estimate": _("estimate"),
        "reported": _("reported by the provider"),
        "fixed": _("fixed"),
    }
    return texts.get(method or "", "")
