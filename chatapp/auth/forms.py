"""Forms for signing in and for the account page."""

from __future__ import annotations

import zoneinfo
from functools import cache
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, SelectField, StringField, ValidationError
from wtforms.validators import InputRequired, Length

from chatapp.auth import passwords
from chatapp.auth.accounts import clean_email
from chatapp.kernel import zones
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.i18n import LOCALES

REGIONS = "Africa America Antarctica Arctic Asia Atlantic Australia Europe Indian Pacific"


class PageForm(FlaskForm):
    class Meta:
        # CSRF is checked once per request, in sessions.py.
        csrf = False


def email_field(autocomplete: str = "username") -> StringField:
    attributes = {"type": "email", "autocomplete": autocomplete, "maxlength": 254}
    return StringField(_l("Email"), [InputRequired(_l("Enter an email address"))], render_kw=attributes)


def password_field(label: Any, autocomplete: str) -> PasswordField:
    return PasswordField(label, [InputRequired(_l("Enter a password"))], render_kw={"autocomplete": autocomplete})


def check_email(form: FlaskForm, field: StringField) -> None:
    try:
        field.data = clean_email(field.data or "")
    except InvalidRequest as refusal:
        raise ValidationError(refusal.message) from None


def check_printable(form: FlaskForm, field: StringField) -> None:
    if field.data and not field.data.isprintable():
        raise ValidationError(_("Use letters, digits and signs only"))


class SignInForm(PageForm):
    email = email_field()
    password = password_field(_l("Password"), "current-password")
    next = HiddenField()


class NewPasswordForm(PageForm):
    """A new password for an account whose email is already known."""

    password = password_field(_l("Password"), "new-password")

    def __init__(self, email: str = "") -> None:
        super().__init__()
        self.account_email = email

    def validate_password(self, field: PasswordField) -> None:
        if found := passwords.problem(field.data or "", self.account_email):
            raise ValidationError(found)


class NewAccountForm(NewPasswordForm):
    """A password and the browser's time zone, if JavaScript could determine it."""

    timezone = HiddenField(render_kw={"data-zone": True})

    @property
    def zone(self) -> str:
        name = zones.known(self.timezone.data or "")
        return name if name in time_zones() else "UTC"


class RegisterForm(NewAccountForm):
    email = email_field()

    def __init__(self) -> None:
        super().__init__()
        self.account_email = self.email.data or ""

    def validate_email(self, field: StringField) -> None:
        check_email(self, field)


class ChangePasswordForm(NewPasswordForm):
    current_password = password_field(_l("Current password"), "current-password")
    password = password_field(_l("New password"), "new-password")


class KeyForm(PageForm):
    key_name = StringField(
        _l("Purpose"),
        [Length(max=100), check_printable],
        render_kw={"maxlength": 100, "autocomplete": "off"},
    )


@cache
def time_zones() -> list[str]:
    """Return the familiar zone names, UTC first."""
    regions = tuple(f"{region}/" for region in REGIONS.split())
    return ["UTC", *sorted(name for name in zoneinfo.available_timezones() if name.startswith(regions))]


class PreferencesForm(PageForm):
    """Fields that are not sent keep their value: the theme switch sends only the theme."""

    timezone = SelectField(_l("Time zone"), choices=time_zones)
    locale = SelectField(_l("Language"), choices=lambda: {"": _("Browser language"), **LOCALES})
    theme = SelectField(
        _l("Appearance"),
        choices=lambda: {"system": _("System"), "light": _("Light"), "dark": _("Dark")},
    )
