"""Forms that lead in or out, sent from a page that is older than its cookie.

Another tab has signed in meanwhile, or the browser was closed and forgot the cookie: the form has a stale CSRF token,
and loading the page again would send the same old form. So:

    the browser says that the form is ours     it is taken: no page of another site can make it say so
    nothing says where the form comes from     it is shown again, filled in, with a fresh token
    another site's page has sent it            it is refused
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
    """Decorate the view of a form that leads in or out. again answers in its place, with the view's arguments.

    Outermost: showing a form again doesn't count as a try.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def opened(**values: Any) -> ResponseReturnValue:
            return view(**values) if not is_stale() or is_from_us() else again(**values)

        opened.may_be_old = True  # type: ignore[attr-defined]
        return opened  # type: ignore[return-value]

    return decorate


def let_pass() -> bool:
    """Say whether this request may go on without a good CSRF token, and remember that it had none."""
    view = current_app.view_functions.get(request.endpoint or "")
    g.form_is_stale = hasattr(view, "may_be_old") and not is_from_elsewhere()
    return g.form_is_stale


def is_stale() -> bool:
    return bool(g.get("form_is_stale"))
