"""The forms of the administration."""

from __future__ import annotations

from typing import Any

from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, IntegerField, StringField
from wtforms.validators import InputRequired, Length, NumberRange, Optional, ValidationError

from chatapp.auth.forms import PageForm, check_email, email_field
from chatapp.budget.ledger import MAX_LIMIT_TOKENS

# With the name of who gave it, it fits into the ledger's column.
REASON_CHARS = 200


def limit_field(label: Any, required: bool) -> IntegerField:
    bounds = NumberRange(0, MAX_LIMIT_TOKENS, _l("Enter a whole number from 0 on"))
    return IntegerField(
        label, [InputRequired() if required else Optional(), bounds], render_kw={"min": 0, "inputmode": "numeric"}
    )


class LimitForm(PageForm):
    limit = limit_field(_l("Limit in tokens"), required=True)


class GrantForm(PageForm):
    tokens = IntegerField(
        _l("Tokens, a negative number for a correction"),
        [InputRequired(), NumberRange(-MAX_LIMIT_TOKENS, MAX_LIMIT_TOKENS)],
    )
    reason = StringField(_l("Why"), [InputRequired(), Length(max=REASON_CHARS)])

    def validate_reason(self, field: StringField) -> None:
        if not field.data.strip():
            raise ValidationError(_l("Say why"))

    def validate_tokens(self, field: IntegerField) -> None:
        if not field.data:
            raise ValidationError(_l("Enter a whole number that is not 0"))


class InvitationForm(PageForm):
    email = email_field(autocomplete="off")
    limit = limit_field(_l("Limit in tokens, empty for the default"), required=False)
    is_admin = BooleanField(_l("Administrator"))

    def validate_email(self, field: StringField) -> None:
        check_email(self, field)
