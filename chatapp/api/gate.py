"""The guard of GET …/message: a request with a side effect that must come from our own page's script, or from a key.

Checked before anything is read or written. Another site's page, another port of this host, a link, an image, a frame
and a prefetch can all make the browser send the cookie; none of them can make these headers.
Source: W3C Fetch Metadata Request Headers; OWASP ASVS 5.0, 3.5.3.
"""

from __future__ import annotations

import re

from flask import request
from werkzeug.exceptions import MethodNotAllowed

from chatapp.errors import CsrfFailed, NotAcceptable
from chatapp.services import settings

EVENT_STREAM = re.compile(r"text/event-stream\b", re.ASCII)


def check_gate() -> None:
    """Raise CsrfFailed, NotAcceptable or, for a HEAD, MethodNotAllowed: it would send and never hear the answer."""
    if request.method == "HEAD":
        raise MethodNotAllowed(["GET", "POST"])
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        _check_origin()
    if not EVENT_STREAM.match(request.headers.get("Accept", "")):
        raise NotAcceptable()


def _check_origin() -> None:
    headers = request.headers
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        is_ours = (
            site == "same-origin"
            and headers.get("Sec-Fetch-Dest") == "empty"
            and headers.get("Sec-Fetch-Mode") in ("cors", "same-origin")
        )
    else:
        is_ours = headers.get("Origin") in (None, settings().public_url or request.host_url.rstrip("/"))
    if not is_ours or "Sec-Purpose" in headers or "Purpose" in headers:
        raise CsrfFailed("This address can only be used by this site's own pages")
