"""Forms for the admin pages."""

from __future__ import annotations

from typing import Any, get_args

from flask_babel import lazy_gettext as _l
from wtforms import BooleanField, IntegerField, SelectField, StringField
from wtforms.validators import InputRequired, Length, NumberRange, Optional, ValidationError

from chatapp.auth.forms import PageForm, check_email, email_field
from chatapp.budget.models import ResetPeriod
from chatapp.kernel.config import MAX_LIMIT_TOKENS
from chatapp.kernel.text import is_storable
from chatapp.usage.words import period_text

# Leaves room in the ledger's column for the administrator's email.
REASON_CHARS = 200


def tokens_field(label: Any, low: int, required: bool = True) -> IntegerField:
    bounds = {"low": low, "high": MAX_LIMIT_TOKENS}
    says = _l("Tokens: a whole number from %(low)s to %(high)s", **bounds)
    checks = [InputRequired(says) if required else Optional(), NumberRange(low, MAX_LIMIT_TOKENS, says)]
    return IntegerField(label, checks, invalid_value_message=says, render_kw={"min": low, "max": MAX_LIMIT_TOKENS})


class LimitForm(PageForm):
    limit = tokens_field(_l("Token limit"), 0)


class GrantForm(PageForm):
    tokens = tokens_field(_l("Tokens (negative to subtract)"), -MAX_LIMIT_TOKENS)
    reason = StringField(
        _l("Reason"),
        [
            InputRequired(_l("Enter a reason")),
            Length(max=REASON_CHARS, message=_l("Reason: at most %(limit)s characters", limit=REASON_CHARS)),
        ],
    )

    def validate_reason(self, field: StringField) -> None:
        if not (field.data or "").strip():
            raise ValidationError(_l("Enter a reason"))
        if not is_storable(field.data or ""):
            raise ValidationError(_l("Reason: contains characters that cannot be stored (NUL or lone surrogates)"))

    def validate_tokens(self, field: IntegerField) -> None:
        if field.data == 0:
            raise ValidationError(_l("Enter a whole number that is not 0"))


class PeriodForm(PageForm):
    period = SelectField(_l("Period"), choices=lambda: [(each, period_text(each)) for each in get_args(ResetPeriod)])


class InvitationForm(PageForm):
    email = email_field(autocomplete="off")
    limit = tokens_field(_l("Token limit (blank = default)"), 0, required=False)
    is_admin = BooleanField(_l("Administrator"))

    def validate_email(self, field: StringField) -> None:
        check_email(self, field)
