"""Sign-in, sign-out and sign-up forms sent from a page that is older than its cookie.

Another tab has signed in meanwhile, or the browser was closed and lost the cookie. The form then has a stale CSRF
token, and reloading the page would send the same form again. So it depends on where the form comes from:

    our own page, says the browser     accepted: no other site's page can make the browser say so
    unknown                            shown again, filled in, with a fresh token
    another site's page                rejected
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import current_app, g, request
from flask.typing import ResponseReturnValue

from chatapp.kernel.origins import is_from_elsewhere, is_from_us

View = TypeVar("View", bound=Callable[..., Any])


def may_be_old(again: Callable[..., ResponseReturnValue]) -> Callable[[View], View]:
    """Decorate the view of such a form. `again` is called in its place, with the view's arguments.

    Must be the outermost decorator, so that showing a form again doesn't count as an attempt.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def opened(**values: Any) -> ResponseReturnValue:
            return view(**values) if not is_stale() or is_from_us() else again(**values)

        opened.may_be_old = True  # type: ignore[attr-defined]
        return opened  # type: ignore[return-value]

    return decorate


def let_pass() -> bool:
    """Return whether this request may proceed without a valid CSRF token, and remember that it had none."""
    view = current_app.view_functions.get(request.endpoint or "")
    g.form_is_stale = hasattr(view, "may_be_old") and not is_from_elsewhere()
    return g.form_is_stale


def is_stale() -> bool:
    return bool(g.get("form_is_stale"))
