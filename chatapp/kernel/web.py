"""What every response shares: one error handler for pages, fragments and JSON, security headers, request ids."""

from __future__ import annotations

import gzip
import logging
import re
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any
from uuid import UUID

from flask import Flask, Response, current_app, g, jsonify, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_limiter.errors import RateLimitExceeded
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WsgiResponse

from chatapp.kernel.config import settings
from chatapp.kernel.database import is_store_trouble
from chatapp.kernel.errors import (
    BudgetExceeded,
    ChatAppError,
    CsrfFailed,
    InvalidRequest,
    RateLimited,
    Refusal,
    Unauthenticated,
    Unavailable,
)
from chatapp.kernel.extensions import csrf, db
from chatapp.kernel.origins import split
from chatapp.kernel.security_log import note

logger = logging.getLogger(__name__)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)
LEAST_COMPRESSED_BYTES = 1000
LARGEST_INTEGER = 2**63 - 1
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: the CSRF check of an HTTPS POST needs the referrer.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
View = Callable[..., ResponseReturnValue]
REQUEST_ID = re.compile(r"[0-9a-f]{16,64}")


def init_app(app: Flask) -> None:
    # Blueprint → what makes a response of an error there; without one it is a page, a fragment or our own JSON.
    app.extensions["error_shapes"] = {}
    app.before_request(_name_the_request)
    app.after_request(_add_headers)
    app.after_request(_compress)
    app.after_request(_limit_sending)
    app.register_error_handler(Exception, answer_error)
    app.jinja_env.globals["is_htmx"] = is_htmx


def is_htmx() -> bool:
    return request.headers.get("HX-Request") == "true"


def wants_json() -> bool:
    return request.path.startswith(("/api/", "/v1/"))


def redirect_to(endpoint: str, **values: Any) -> Response:
    """Send the browser to another page: 303 for a form, HX-Redirect for htmx."""
    target = url_for(endpoint, **values)
    if is_htmx():
        return make_response("", 200, {"HX-Redirect": target})
    return make_response("", 303, {"Location": target})


def forget_storage(response: Response) -> Response:
    """Make the browser drop what our scripts stored for the user who is leaving: drafts.

    Browsers do so over https and on localhost; otherwise a script does it (drafts.js). Not when a login ends in another
    way: a user who signs in again still wants the draft.
    """
    response.headers["Clear-Site-Data"] = '"storage"'
    return response


def form_again(draw: Callable[..., str]) -> Callable[[View], View]:
    """Decorate the view of a form: if it is rejected, show its page with the reason instead of an error page.

    draw gets the reason and the view's arguments. A form sent by a script stays in place and gets a toast.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def remembered(**values: Any) -> ResponseReturnValue:
            g.form_again = lambda reason: draw(reason, **values)
            return view(**values)

        return remembered

    return decorate


def uuid_or_404(text: str, refusal: type[Refusal]) -> UUID:
    """Parse an id from a page's URL. Raises the refusal if it is not a UUID."""
    try:
        return UUID(text)
    except ValueError:
        raise refusal() from None


def whole_number(name: str) -> int | None:
    """Read a number from the query string that the database can compare; None for anything else, at any length."""
    number = request.args.get(name, type=int)
    return number if number is not None and abs(number) <= LARGEST_INTEGER else None


def _name_the_request() -> None:
    """Use the proxy's request id, so that one search finds the request in both logs; otherwise create one."""
    named = request.headers.get("X-Request-ID", "") if settings().proxy_hops else ""
    g.request_id = named if REQUEST_ID.fullmatch(named) else secrets.token_hex(8)


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if settings().is_https:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store, private")
        response.vary.update(("Cookie", "HX-Request"))
    response.headers.setdefault("X-Request-ID", g.get("request_id", ""))
    return response


def _limit_sending(response: Response) -> Response:
    """Drop a peer that reads nothing for SEND_SECONDS: gunicorn sets no timeout on its sockets.

    This also drops peers that vanished; the kernel would take 15 minutes to notice. A stream's listener reconnects with
    its position.
    """
    peer: Any = request.environ.get("gunicorn.socket")
    if peer is not None:
        peer.settimeout(settings().send_seconds)
        with suppress(OSError):  # Not TCP, or a system without this option.
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings().send_seconds * 1000))
        # The next request on this connection must not inherit it.
        response.call_on_close(lambda: peer.settimeout(None))
    return response


def _compress(response: Response) -> Response:
    """Compress a page. Streams are left alone: a compressor would hold pieces back.

    The only secret in a page, the CSRF token, is signed anew each second, so whatever a page's length reveals about it
    (BREACH) is out of date before the next attempt.
    """
    is_page = response.mimetype == "text/html" and not response.is_streamed and not response.direct_passthrough
    if not is_page or (response.content_length or 0) < LEAST_COMPRESSED_BYTES:
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings.quality("gzip") > 0:
        response.set_data(gzip.compress(response.get_data(), 5, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response


def answer_error(error: Exception) -> WsgiResponse:
    """Turn any error into a page, a fragment or JSON. Unexpected errors show only a request id."""
    if isinstance(error, HTTPException) and error.code and error.code < 400:
        return error.get_response()
    refusal = _as_refusal(error)
    if refusal.status == 403 and not isinstance(refusal, BudgetExceeded):
        note("refused", is_suspect=True, code=refusal.code, method=request.method, endpoint=request.endpoint)
    if refusal.status >= 500 and not isinstance(refusal, Refusal):
        logger.error("Unexpected error", exc_info=error, extra={"requestId": g.get("request_id")})
    db.session.rollback()
    if (shape := current_app.extensions["error_shapes"].get(request.blueprint)) is not None:
        shaped: Response = shape(refusal)
        return shaped
    response = _response(refusal)
    response.status_code = refusal.status
    if isinstance(refusal, Refusal) and refusal.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_after_seconds)
    if isinstance(error, HTTPException):
        for name, value in error.get_headers():
            if name.lower() in ("allow", "www-authenticate"):
                response.headers[name] = value
    return response


def _as_refusal(error: Exception) -> ChatAppError:
    if isinstance(error, ChatAppError):
        return error
    if isinstance(error, RateLimitExceeded):
        return RateLimited(_("Too many requests. Wait a moment and try again"), retry_after_seconds=_window(error))
    if isinstance(error, CSRFError):
        return CsrfFailed()
    if isinstance(error, HTTPException):
        return _from_http(error)
    if is_store_trouble(error):
        logger.warning("The database did not accept a request: %s", type(error).__name__)
        return Unavailable()
    return ChatAppError(_("Something went wrong. Reference: %(id)s", id=g.get("request_id", "")))


def _window(error: RateLimitExceeded) -> int:
    limit = getattr(error, "limit", None)
    return limit.limit.get_expiry() if limit is not None else 60


def _from_http(error: HTTPException) -> ChatAppError:
    """Give werkzeug's errors our codes. Their English descriptions are fine for programs."""
    if error.code == 401:
        return Unauthenticated()
    codes = {403: "FORBIDDEN", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 406: "NOT_ACCEPTABLE", 429: "RATE_LIMITED"}
    message = _("There is nothing here") if error.code == 404 else (error.description or error.name)
    refusal = InvalidRequest(message, status=error.code, code=codes.get(error.code or 400, "INVALID_REQUEST"))
    refusal.__cause__ = error
    return refusal


def _response(error: ChatAppError) -> Response:
    if wants_json():
        return jsonify({"status": "error", "message": error.message, "code": error.code})
    if is_htmx() and isinstance(error, Unauthenticated):
        return make_response("", 401, {"HX-Redirect": url_for("auth.show_sign_in", next=_page_of_htmx())})
    if is_htmx():
        return _fragment(error)
    if isinstance(error, Unauthenticated):
        return _to_sign_in(error)
    if "form_again" in g:
        # If the chat is gone or the database is down, there is no form to show.
        with suppress(ChatAppError, SQLAlchemyError):
            return make_response(g.form_again(_in_words(error)))
    return make_response(
        render_template("errors/show.html", error=error, text=_in_words(error), draft=_not_taken(error))
    )


def _not_taken(error: ChatAppError) -> str:
    """Return the message of a form that was turned away; never another site's: it would appear beside our token."""
    if not isinstance(error, Unavailable) or "text" not in request.form:
        return ""
    try:
        csrf.protect()
    except CSRFError:
        return ""
    return request.form["text"]


def _in_words(error: ChatAppError) -> str:
    """Return what went wrong, in the page's language."""
    if isinstance(error.__cause__, HTTPException) and error.status != 404:
        return _("This request couldn’t be understood")
    if isinstance(error, BudgetExceeded):
        return " ".join((_("This message doesn’t fit into your remaining token budget."), error.hint)).strip()
    return _(error.message)


def _page_of_htmx() -> str | None:
    """Return the path of the page that htmx is on; after signing in, the user returns to it."""
    return split(request.headers.get("HX-Current-URL", ""))[1].partition("?")[0] or None


def _to_sign_in(error: ChatAppError) -> Response:
    back = request.full_path.rstrip("?") if request.method == "GET" else ""
    error.status = 303
    return make_response("", 303, {"Location": url_for("auth.show_sign_in", next=back or None)})


def _fragment(error: ChatAppError) -> Response:
    """Show a toast and leave the page, including the draft, as it is."""
    response = make_response(render_template("_toast.html", text=_in_words(error), code=error.code))
    response.headers["HX-Retarget"] = "#toasts"
    response.headers["HX-Reswap"] = "beforeend"
    return response
