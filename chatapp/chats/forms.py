"""Forms for a chat's settings and for the defaults of new chats."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_babel import format_number
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import Field, SelectField, StringField, TextAreaField, ValidationError
from wtforms.widgets import NumberInput

from chatapp.auth.forms import PageForm
from chatapp.chats import changes, options
from chatapp.kernel.errors import InvalidRequest


class OptionsForm(PageForm):
    """A chat's options. Fields that are not sent keep their value and are not checked."""

    # Not checked against the choices: a chat may use a model that is no longer offered.
    model = SelectField(_l("Model"), id="option-model", validate_choice=False)
    system_prompt = TextAreaField(_l("Instructions for the model"), id="option-prompt")
    temperature = StringField(_l("Temperature"), id="option-temperature", widget=NumberInput(step="0.1", min=0, max=2))
    thinking_tokens = SelectField(_l("Thinking"), id="option-thinking", validate_choice=False)

    def __init__(self, chosen: Any) -> None:
        """chosen: Options or a Chat."""
        super().__init__(obj=chosen)
        self.offers = options.offers()
        self.model.choices = [(offer.info.id, offer.info.label) for offer in self.offers]
        self.thinking_tokens.choices = _allowances(self.thinking_tokens.data)

    @property
    def chosen(self) -> dict[str, Any]:
        """The fields that were sent: column → value."""
        return {field.name: field.data for field in self if field.name in request.form}

    def validate_model(self, field: Field) -> None:
        _check(field)

    def validate_system_prompt(self, field: Field) -> None:
        _check(field)

    def validate_temperature(self, field: Field) -> None:
        _check(field)

    def validate_thinking_tokens(self, field: Field) -> None:
        _check(field)


class ChatForm(OptionsForm):
    title = StringField(_l("Title"), id="chat-title")

    def validate_title(self, field: Field) -> None:
        _check(field)


def _check(field: Field) -> None:
    """Check a field that was sent, and put what will be stored in its place."""
    if not field.raw_data:
        return
    value = field.data.strip() if field.name == "system_prompt" else field.data
    try:
        field.data = changes.CHECKS[field.name](value, field.label.text)
    except InvalidRequest as refusal:
        raise ValidationError(refusal.message) from None


def _allowances(current: str | None) -> list[tuple[str, str]]:
    """Return the choices for thinking, plus the current value if it is none of them."""
    words = (_("Minimal"), _("Short"), _("Medium"), _("Maximum"))
    known = list(zip(map(str, options.THINKING_TOKENS), words, strict=True))
    if not current or current in map(str, options.THINKING_TOKENS):
        return known
    return [*known, (current, _("%(n)s tokens", n=format_number(int(current)) if current.isdecimal() else current))]
