"""Signed links: one sets up the site, the others invite one person each.

A link's content is in its signed token. The setup link works while there is no account; an invitation works until it
is used, revoked or expired. The database keeps the digests until then (models.Link), so no old link can recreate a
deleted account. The token holds its expiry, not its creation time, so a clock that is set back rejects no link.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flask import Flask, has_request_context, request
from flask_babel import gettext as _
from itsdangerous import BadData

from chatapp.auth import accounts
from chatapp.auth.models import Link, User, canonical_email, digest
from chatapp.auth.signing import signer
from chatapp.kernel.config import settings
from chatapp.kernel.database import now, write
from chatapp.kernel.errors import Forbidden, NotFound

Purpose = Literal["setup", "invite"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """limit is in tokens; None means the default."""

    email: str
    is_admin: bool = False
    limit: int | None = None

    def issue(self) -> str:
        """Return the URL for the invited person. Raises Forbidden if sign-up is closed."""
        if settings().signup == "closed":
            raise Forbidden(_("This site accepts no new accounts"))
        token = _sign("invite", asdict(self))
        with write():
            Link.note(_digest(token), self.email, self.is_admin, _expiry("invite", token))
        return f"{_base()}/invitations/{token}"


def read(token: str) -> Invitation:
    """Return a token's invitation. Raises NotFound if it is forged, expired, used or revoked."""
    invitation = content_of(token)
    if settings().signup == "closed" or User.by_email(invitation.email) or Link.is_closed(_digest(token)):
        raise NotFound(_("This invitation was already used. Sign in, or ask for a new one"))
    return invitation


def content_of(token: str) -> Invitation:
    """Return a token's invitation even if it was used. Raises NotFound if it is forged or expired."""
    content = _read("invite", token)
    return Invitation(content["email"], content["is_admin"], content["limit"])


def close(token: str, purpose: Purpose = "invite") -> None:
    """Close a link for good. Call inside write(). Raises NotFound if it is forged, expired or already closed."""
    Link.close(_digest(token), _expiry(purpose, token))


def revoke(link_or_email: str) -> None:
    """Revoke an invitation by its link, or all invitations of an email. Raises NotFound if none is open."""
    token = link_or_email.strip().rpartition("/invitations/")[2]
    with write():
        if "/invitations/" in link_or_email:
            close(token)
        elif not Link.close_all(canonical_email(link_or_email)):
            raise NotFound(_("There is no open invitation for %(email)s", email=link_or_email))


def setup_link(app: Flask, port: int | None = None) -> str | None:
    """Return the URL that creates the administrator; None once there is an account.

    port: the server's port, if the system chose it.
    """
    with app.app_context():
        return None if accounts.exist() else f"{_base(port)}/setup/{_sign('setup', {})}"


def check_setup(token: str) -> None:
    """Raise NotFound unless the token may set the site up."""
    _read("setup", token)
    if accounts.exist() or Link.is_closed(_digest(token)):
        raise NotFound(_("This site is already set up. Sign in"))


def _sign(purpose: Purpose, content: dict[str, Any]) -> str:
    until = now() + timedelta(days=settings().invitation_days)
    # The random part distinguishes invitations made in the same second.
    signed = signer(f"link-{purpose}").dumps(
        {"until": int(until.timestamp()), "id": secrets.token_urlsafe(6), **content}
    )
    return signed if isinstance(signed, str) else signed.decode()


def _read(purpose: Purpose, token: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = signer(f"link-{purpose}").loads(token)
    except BadData:
        raise NotFound(_("This link is incomplete. Copy it again")) from None
    if content["until"] < now().timestamp():
        raise NotFound(_("This link has expired. Ask for a new one"))
    return content


def _expiry(purpose: Purpose, token: str) -> datetime:
    return datetime.fromtimestamp(_read(purpose, token)["until"], UTC)


def _digest(token: str) -> str:
    """Hash only the signed part: the last character of a signature can be written in four ways."""
    return digest(token.rpartition(".")[0])


def _base(port: int | None = None) -> str:
    """Return the public base URL: the configured one, otherwise the one this request used, otherwise our own."""
    if settings().public_url or not has_request_context():
        return settings().public_url or _own_address(port or settings().port)
    return request.host_url.rstrip("/")


def _own_address(port: int) -> str:
    host = settings().host
    # A server that listens on all addresses is reached as localhost.
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - nothing is bound here
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
