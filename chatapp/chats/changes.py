"""What may stand in a chat's fields, checked once. Forms and JSON bodies only translate what was sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from flask_babel import gettext as _

from chatapp.kernel.config import settings
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.text import is_storable, normalise
from chatapp.providers.registry import providers

# All providers take temperatures from 0; 2 is the highest of Gemini's and of OpenAI's.
MAX_TEMPERATURE = 2.0
MAX_THINKING_TOKENS = 65_536


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a chat as they are stored; None stays None. Raises InvalidRequest."""
    return {name: None if value is None else CHECKS[name](value, name) for name, value in values.items()}


def title(value: str, name: str) -> str:
    """Return a title with one blank between its words."""
    if not (words := value.split()):
        raise InvalidRequest(_("%(field)s: at least one character", field=_("Title")))
    return text(" ".join(words), name, settings().title_chars)


def text(value: str, name: str, limit: int) -> str:
    """Return a text with its line ends made one kind. limit: characters."""
    if not is_storable(value):
        raise InvalidRequest(
            _("%(name)s contains characters that cannot be stored (NUL or lone surrogates)", name=name)
        )
    value = normalise(value)
    if len(value) > limit:
        raise InvalidRequest(_("%(name)s is longer than %(limit)s characters", name=name, limit=limit))
    return value


def model(value: str, name: str) -> str:
    """Return the name of a model that is on offer."""
    providers().for_model(value)
    return value


def temperature(value: object, name: str) -> float | None:
    """Return a temperature given as a number or as its text; None for a blank one."""
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= MAX_TEMPERATURE:
        raise InvalidRequest(_("temperature must be a number from 0 to %(high)s", high=int(MAX_TEMPERATURE)))
    return number


def thinking_tokens(value: object, name: str) -> int | None:
    """Return an allowance to think given as a whole number or its text; None for a blank one."""
    if value is None or value == "":
        return None
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= MAX_THINKING_TOKENS):
        raise InvalidRequest(_("thinking_tokens must be a whole number from 0 to %(high)s", high=MAX_THINKING_TOKENS))
    return int(text)


def flag(value: bool, name: str) -> bool:
    return value


CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "title": title,
    "model": model,
    "system_prompt": lambda value, name: text(value, name, settings().system_prompt_chars),
    "temperature": temperature,
    "thinking_tokens": thinking_tokens,
    "pinned": flag,
    "archived": flag,
}
