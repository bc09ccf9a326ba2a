"""Signed links: one sets the site up, the others invite one person each.

Nothing of them is stored. The setup link works while there is no account, an invitation until its email has one or
its days are over. The end is inside the token, so that a clock that steps back refuses nobody.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

from flask import Flask, current_app, has_request_context, request
from flask_babel import gettext as _
from itsdangerous import BadData, URLSafeSerializer

from chatapp.auth import accounts
from chatapp.auth.models import User
from chatapp.database import now
from chatapp.errors import Forbidden, NotFound
from chatapp.services import settings

Purpose = Literal["setup", "invite"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """limit is in tokens; None means the default."""

    email: str
    is_admin: bool = False
    limit: int | None = None

    @property
    def link(self) -> str:
        """Return the address to hand to the person. Raises Forbidden where the site takes nobody in."""
        if settings().signup == "closed":
            raise Forbidden(_("This site takes no new accounts"))
        return f"{_base()}/invitations/{_sign('invite', asdict(self))}"


def read(token: str) -> Invitation:
    """Return the invitation that a token holds. Raises NotFound for a forged, an old and a used one."""
    invitation = Invitation(**_read("invite", token))
    if settings().signup == "closed" or User.by_email(invitation.email):
        raise NotFound(_("This invitation has been used. Sign in, or ask for a new one"))
    return invitation


def setup_link(app: Flask) -> str | None:
    """Return the address that makes the administrator; None once there is an account."""
    with app.app_context():
        return None if accounts.exist() else f"{_base()}/setup/{_sign('setup', {})}"


def check_setup(token: str) -> None:
    """Raise NotFound unless the token may set the site up."""
    _read("setup", token)
    if accounts.exist():
        raise NotFound(_("This site has been set up already. Sign in"))


def _sign(purpose: Purpose, content: dict[str, Any]) -> str:
    until = now() + timedelta(days=settings().invitation_days)
    signed = _signer(purpose).dumps({"until": int(until.timestamp()), **content})
    return signed if isinstance(signed, str) else signed.decode()


def _read(purpose: Purpose, token: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = _signer(purpose).loads(token)
    except BadData:
        raise NotFound(_("This link is not complete. Copy it once more")) from None
    if content.pop("until") < now().timestamp():
        raise NotFound(_("This link has expired. Ask for a new one"))
    return content


def _signer(purpose: Purpose) -> URLSafeSerializer:
    keys = [*(current_app.config["SECRET_KEY_FALLBACKS"] or ()), current_app.config["SECRET_KEY"]]
    return URLSafeSerializer(keys, salt=f"link-{purpose}", signer_kwargs={"digest_method": hashlib.sha256})


def _base() -> str:
    """Return the address that people use: the configured one, else the one this request came to, else our own."""
    if settings().public_url or not has_request_context():
        return settings().public_url or _own_address()
    return request.host_url.rstrip("/")


def _own_address() -> str:
    host = settings().host
    # Who listens everywhere is reached from here as localhost.
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - nothing is bound here
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{settings().port}"
