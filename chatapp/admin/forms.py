"""The forms of the administration."""

from __future__ import annotations

from typing import Any

from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, IntegerField, StringField
from wtforms.validators import InputRequired, NumberRange, Optional

from chatapp.auth.forms import PageForm, check_email, email_field

MAX_LIMIT_TOKENS = 10**15


def limit_field(label: Any, required: bool) -> IntegerField:
    bounds = NumberRange(0, MAX_LIMIT_TOKENS, _l("Enter a whole number from 0 on"))
    return IntegerField(
        label, [InputRequired() if required else Optional(), bounds], render_kw={"min": 0, "inputmode": "numeric"}
    )


class LimitForm(PageForm):
    limit = limit_field(_l("Limit in tokens"), required=True)


class InvitationForm(PageForm):
    email = email_field(autocomplete="off")
    limit = limit_field(_l("Limit in tokens, empty for the default"), required=False)
    is_admin = BooleanField(_l("Administrator"))

    def validate_email(self, field: StringField) -> None:
        check_email(self, field)
