"""The Flask extensions, made once and bound to the application in create_app."""

from __future__ import annotations

from flask_babel import Babel
from flask_limiter import Limiter
from flask_login import LoginManager, current_user
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from chatapp.kernel.config import settings

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


db = SQLAlchemy(model_class=Base)
migrate = Migrate()
login_manager = LoginManager()
csrf = CSRFProtect()
babel = Babel()


def _caller() -> str:
    return str(current_user.id)


def _is_nobody() -> bool:
    """Visitors who are not signed in have other limits, by address and account (auth/limits.py)."""
    return not current_user.is_authenticated


# Sends also have a tighter limit of their own. An empty key would mean no limit at all.
limiter = Limiter(
    key_func=_caller,
    application_limits=[lambda: f"{settings().calls_per_minute} per minute"],
    application_limits_exempt_when=_is_nobody,
)
