"""The forms of a connection. A key is never shown again; an empty field keeps the one that is stored."""

from __future__ import annotations

from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length, ValidationError

from chatapp.auth.forms import PageForm, check_printable
from chatapp.kernel.config import web_address
from chatapp.providers.openai import declared_models

ADDRESS_TEXT = _l("Enter an address like http://127.0.0.1:11434/v1")
MODELS_TEXT = _l("Separate names with commas, each with its context if you know it: qwen3:8b=40960")
KEY_CHARS, ADDRESS_CHARS, MODELS_CHARS = 500, 500, 4000


def key_field(html_id: str) -> PasswordField:
    checks = [Length(max=KEY_CHARS), check_printable]
    return PasswordField(_l("API key"), checks, id=html_id, render_kw={"autocomplete": "off", "maxlength": KEY_CHARS})


def check_address(form: PageForm, field: StringField) -> None:
    try:
        field.data = web_address((field.data or "").strip()) if field.data else ""
    except ValueError:
        raise ValidationError(ADDRESS_TEXT) from None


class GeminiForm(PageForm):
    key = key_field("gemini-key")

    def values(self, stored_key: str | None) -> dict[str, Any]:
        return {"base_url": None, "key": (self.key.data or "").strip() or stored_key}


class OpenAIForm(PageForm):
    address = StringField(
        _l("Address"),
        [
            InputRequired(ADDRESS_TEXT),
            Length(max=ADDRESS_CHARS),
            check_address,
        ],
        render_kw={"inputmode": "url", "autocomplete": "off", "placeholder": "http://127.0.0.1:11434/v1"},
    )
    key = key_field("openai-key")
    models = StringField(_l("Models"), [Length(max=MODELS_CHARS), check_printable], render_kw={"autocomplete": "off"})

    def validate_models(self, field: StringField) -> None:
        try:
            declared_models(field.data or "")
        except ValueError:
            raise ValidationError(
                _("Separate names with commas, each with its context if you know it: qwen3:8b=40960")
            ) from None

    def values(self, stored_key: str | None) -> dict[str, Any]:
        key = (self.key.data or "").strip() or stored_key
        return {"base_url": self.address.data, "key": key, "models": (self.models.data or "").strip()}
