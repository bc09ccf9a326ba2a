"""The personas that one person may choose for a new chat: their own and the shared ones, then those built in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask_babel import gettext as _

from chatapp.auth.models import User
from chatapp.kernel.errors import InvalidRequest
from chatapp.personas.builtin import PERSONAS
from chatapp.personas.models import Persona


@dataclass(frozen=True, slots=True)
class Choice:
    """name and line are for display, in the reader's language; line may be empty."""

    id: str
    name: str
    line: str
    system_prompt: str
    model: str | None
    temperature: float | None

    @property
    def options(self) -> dict[str, Any]:
        """A new chat's columns; without a model where the persona has none."""
        values = {"persona": self.name, "system_prompt": self.system_prompt, "temperature": self.temperature}
        return values | ({"model": self.model} if self.model else {})


def choices(user: User) -> list[Choice]:
    return [_of_row(each) for each in Persona.for_user(user)] + [_of_builtin(each.id) for each in PERSONAS]


def chosen(user: User, id: str) -> Choice:
    """Return the persona with this id. Raises InvalidRequest if there is none that the user may choose."""
    if id in _BUILTIN:
        return _of_builtin(id)
    try:
        found = Persona.seen_by(user, UUID(id))
    except ValueError:
        found = None
    if found is None:
        raise InvalidRequest(_("persona: no persona has this name"))
    return _of_row(found)


_BUILTIN = {each.id: each for each in PERSONAS}


def _of_builtin(id: str) -> Choice:
    each = _BUILTIN[id]
    return Choice(id, _(each.name), _(each.line), each.system_prompt, None, each.temperature)


def _of_row(row: Persona) -> Choice:
    return Choice(str(row.id), row.name, "", row.instructions, row.model, row.temperature)
