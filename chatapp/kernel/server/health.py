"""Liveness and readiness checks for supervisors and load balancers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from chatapp.kernel.database import file_was_replaced
from chatapp.kernel.errors import Unavailable
from chatapp.kernel.extensions import db, limiter
from chatapp.kernel.server import OpenTurns

bp = Blueprint("health", __name__)
limiter.exempt(bp)

PATHS = ("/healthz", "/readyz")


@bp.get("/healthz")
def alive() -> ResponseReturnValue:
    """200 while the process serves; 503 if its database file was replaced under it."""
    if file_was_replaced():
        return jsonify(status="database file replaced"), 503
    return jsonify(status="ok", **({"open_turns": _turns().open_count()} if _is_from_here() else {}))


def _turns() -> OpenTurns:
    found: OpenTurns = current_app.extensions["live_turns"]
    return found


def _is_from_here() -> bool:
    """Return whether the caller is on this machine and is not a proxy acting for somebody else."""
    is_passed_on = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return not is_passed_on and request.remote_addr in ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@bp.get("/readyz")
def ready() -> ResponseReturnValue:
    """200 while new turns are accepted and the database responds."""
    try:
        _turns().admit()
        db.session.execute(select(1))
    except (Unavailable, SQLAlchemyError) as error:
        reason = error.message if isinstance(error, Unavailable) else "The database does not respond"
        return jsonify(status=reason), 503
    return jsonify(status="ok")


def init_app(app: Flask) -> None:
    """Accept any Host header for these paths: supervisors use an IP address, which PUBLIC_URL would reject."""
    inner = app.wsgi_app

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        hosts = app.config["TRUSTED_HOSTS"]
        if hosts and environ.get("PATH_INFO") in PATHS:
            environ["HTTP_HOST"] = hosts[0]
        return inner(environ, start_response)

    app.wsgi_app = answer  # type: ignore[method-assign]
