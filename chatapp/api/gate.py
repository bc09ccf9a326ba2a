"""Access checks for the API.

The guard on GET …/message: a request with a side effect must come from our own page's script, or with a key. It is
checked before anything is read or written. Another site's page, another port of this host, a link, an image, a frame
and a prefetch can all make the browser send the cookie; none of them can make these headers.
Source: W3C Fetch Metadata Request Headers; OWASP ASVS 5.0, 3.5.3.
"""

from __future__ import annotations

import re

from flask import request
from flask_login import current_user
from werkzeug.exceptions import MethodNotAllowed

from chatapp.kernel.errors import CsrfFailed, NotAcceptable, Unauthenticated
from chatapp.kernel.origins import is_bearer, is_from_elsewhere, is_from_us

EVENT_STREAM = re.compile(r"text/event-stream\b", re.ASCII)
REFUSED = "This address can only be used by this site's own pages"


def require_user() -> None:
    """Raise Unauthenticated for a request without a login or key."""
    if not current_user.is_authenticated:
        raise Unauthenticated()


def check_gate() -> None:
    """Raise CsrfFailed, NotAcceptable, or MethodNotAllowed for HEAD, which would send and never get the answer."""
    if request.method == "HEAD":
        raise MethodNotAllowed(["GET", "POST"])
    if not is_bearer() and not _may_be_our_script():
        raise CsrfFailed(REFUSED)
    if not EVENT_STREAM.match(request.headers.get("Accept", "")):
        raise NotAcceptable()
    # Last, because it loads the login. Without a login, require_user answers 401 instead.
    if not is_bearer() and not is_from_us() and current_user.is_authenticated:
        raise CsrfFailed(REFUSED)


def _may_be_our_script() -> bool:
    """Return whether nothing in the headers rules it out. Browsers omit Sec-Fetch-* over plain HTTP."""
    headers = request.headers
    if is_from_elsewhere() or "Sec-Purpose" in headers or "Purpose" in headers:
        return False
    return "Sec-Fetch-Site" not in headers or (
        headers["Sec-Fetch-Site"] == "same-origin"
        and headers.get("Sec-Fetch-Dest") == "empty"
        and headers.get("Sec-Fetch-Mode") in ("cors", "same-origin")
    )
