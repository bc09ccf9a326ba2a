"""Failed sign-ins: after too many in a day an account is paused, and each further failure doubles the pause.

A stranger must not lock the owner out. Open logins stay open, and a browser that has signed in before carries a cookie
and is counted separately. Emails without an account are treated the same, so a pause reveals nothing.
Source: OWASP Authentication Cheat Sheet, Login Throttling; OWASP, Slow Down Online Guessing
Attacks with Device Cookies.
"""

from __future__ import annotations

import secrets

from flask import Flask, Response, current_app, request
from flask_babel import ngettext
from itsdangerous import BadData

from chatapp.auth.counts import Counts, MemoryCounts, RedisCounts
from chatapp.auth.models import canonical_email, digest
from chatapp.auth.signing import signer
from chatapp.kernel import cookies
from chatapp.kernel.config import settings
from chatapp.kernel.errors import RateLimited
from chatapp.kernel.redis import SoftRedis
from chatapp.kernel.security_log import note

A_DAY_SECONDS = 24 * 3600
A_MONTH_SECONDS = 30 * A_DAY_SECONDS
A_YEAR_SECONDS = 365 * A_DAY_SECONDS
FIRST_PAUSE_SECONDS = 60
LONGEST_PAUSE_SECONDS = 15 * 60
SALT = "device"


def init_app(app: Flask) -> None:
    url = app.extensions["settings"].redis_url
    app.extensions["tries"] = RedisCounts(SoftRedis(url)) if url else MemoryCounts()


def account_of(email: str) -> str:
    """Return a digest of the email: the counter store need not know who signs in."""
    return digest(canonical_email(email))[:32]


def scope_of(email: str) -> str:
    """Return the key to count attempts under: the account, or this browser if it has signed in to it before."""
    account, device = account_of(email), _device()
    return digest(":".join(device))[:32] if device and device[0] == account else account


def check(email: str) -> None:
    """Raise RateLimited during a pause."""
    seconds = _counts().held_seconds(f"pause:{scope_of(email)}") if settings().rate_limits else 0
    if not seconds:
        return
    note("sign-in paused", is_suspect=True, account=account_of(email))
    minutes = -(-seconds // 60)
    text = ngettext(
        "Too many wrong passwords for this account. Try again in %(num)s minute",
        "Too many wrong passwords for this account. Try again in %(num)s minutes",
        minutes,
    )
    raise RateLimited(text, retry_after_seconds=seconds)


def fail(email: str) -> None:
    """Count a wrong password, and start a pause if there were too many today."""
    scope, counts = scope_of(email), _counts()
    counts.add(f"seen:{account_of(email)}", A_MONTH_SECONDS)
    too_many = counts.add(f"failed:{scope}", A_DAY_SECONDS) - settings().sign_in_failures_per_day
    if too_many >= 0:
        # The shift is capped because too_many grows with every attempt.
        counts.hold(f"pause:{scope}", min(FIRST_PAUSE_SECONDS << min(too_many, 10), LONGEST_PAUSE_SECONDS))
    note("sign-in failed", is_suspect=True, account=account_of(email))


def since_sign_in(email: str) -> int:
    """Return the number of failed attempts since the last sign-in with this email."""
    return _counts().get(f"seen:{account_of(email)}")


def forget_seen(email: str) -> int:
    """Return the same number and reset it."""
    return _counts().take(f"seen:{account_of(email)}")


def is_somebody_new(email: str) -> bool:
    """Return whether somebody else signed in with this browser before."""
    device = _device()
    return device is not None and device[0] != account_of(email)


def know_this_browser(response: Response, email: str) -> None:
    """Set the cookie that identifies this browser at its next sign-in. It grants no access."""
    value = signer(SALT).dumps([account_of(email), secrets.token_urlsafe(12)])
    how = {"secure": settings().is_https, "httponly": True, "samesite": "Lax"}
    response.set_cookie(cookies.name(SALT), str(value), A_YEAR_SECONDS, **how)  # type: ignore[arg-type]


def _device() -> tuple[str, str] | None:
    try:
        account, random = signer(SALT).loads(request.cookies.get(cookies.name(SALT), ""))
    except (BadData, ValueError):
        return None
    return account, random


def _counts() -> Counts:
    found: Counts = current_app.extensions["tries"]
    return found
