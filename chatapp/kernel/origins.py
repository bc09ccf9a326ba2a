"""Where a request claims to come from.

Browsers set these headers themselves: another site's page can suppress some of them but forge none.
Source: W3C Fetch Metadata Request Headers; RFC 6454; OWASP ASVS 5.0, 3.5.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from chatapp.kernel.config import settings


def is_from_us() -> bool:
    """Return whether a page of this site certainly sent the request."""
    site = request.headers.get("Sec-Fetch-Site")
    return site == "same-origin" if site is not None else _named() == _ours()


def is_from_elsewhere() -> bool:
    """Say whether a page of another site, or of another port of this host, sent the request."""
    site = request.headers.get("Sec-Fetch-Site")
    return site in ("cross-site", "same-site") or _named() not in (None, _ours())


def is_bearer() -> bool:
    """Return whether the request has a key, valid or not. The scheme's case does not matter. Source: RFC 9110, 11.1."""
    return request.headers.get("Authorization", "").partition(" ")[0].lower() == "bearer"


def split(address: str) -> tuple[str, str]:
    """Return a URL's origin and its path with query; both empty if it is not a URL, such as "http://["."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "", ""
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin, f"{parts.path}?{parts.query}" if parts.query else parts.path


def _named() -> str | None:
    """Return the origin from the Origin header, otherwise from the referrer; None if both are missing."""
    if (origin := request.headers.get("Origin")) is not None:
        return origin
    referrer = request.headers.get("Referer")
    return split(referrer)[0] if referrer else None


def _ours() -> str:
    return settings().public_url or request.host_url.rstrip("/")
