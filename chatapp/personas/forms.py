"""The forms for a persona and for a prompt."""

from __future__ import annotations

from typing import Any

from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, Field, SelectField, StringField, TextAreaField, ValidationError
from wtforms.validators import InputRequired
from wtforms.widgets import NumberInput

from chatapp.auth.forms import PageForm
from chatapp.chats import changes
from chatapp.kernel.config import settings
from chatapp.kernel.errors import InvalidRequest
from chatapp.personas.models import NAME_CHARS
from chatapp.providers.registry import providers


def name_field() -> StringField:
    return StringField(
        _l("Name"), [InputRequired(_l("Enter a name"))], render_kw={"maxlength": NAME_CHARS, "dir": "auto"}
    )


class OwnForm(PageForm):
    name = name_field()
    is_shared = BooleanField(_l("Everybody on this site can use it"))

    def validate_name(self, field: Field) -> None:
        field.data = checked(" ".join((field.data or "").split()), field.label.text, NAME_CHARS)

    @property
    def values(self) -> dict[str, Any]:
        return {name: field.data for name, field in self._fields.items()}


class PersonaForm(OwnForm):
    instructions = TextAreaField(_l("Instructions for the model"), [InputRequired(_l("Enter instructions"))])
    model = SelectField(_l("Model"), validate_choice=False)
    temperature = StringField(_l("Temperature"), widget=NumberInput(step="0.1", min=0, max=2))

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.model.choices = [("", _l("Default")), *((info.id, info.label) for info in providers().models())]

    def validate_instructions(self, field: Field) -> None:
        field.data = checked((field.data or "").strip(), field.label.text, settings().system_prompt_chars)

    def validate_model(self, field: Field) -> None:
        field.data = field.data or None
        if field.data:
            refused_as_error(lambda: changes.model(field.data, "model"))

    def validate_temperature(self, field: Field) -> None:
        field.data = refused_as_error(lambda: changes.temperature(field.data, "temperature"))


class PromptForm(OwnForm):
    text = TextAreaField(_l("Text"), [InputRequired(_l("Enter a text"))])

    def validate_text(self, field: Field) -> None:
        field.data = checked((field.data or "").strip(), field.label.text, settings().message_chars)


def checked(text: str, name: str, limit: int) -> str:
    if not text:
        raise ValidationError(_l("%(field)s: at least one character", field=name))
    return str(refused_as_error(lambda: changes.text(text, name, limit)))


def refused_as_error(check: Any) -> Any:
    try:
        return check()
    except InvalidRequest as refusal:
        raise ValidationError(refusal.message) from None
