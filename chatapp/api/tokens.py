"""Token endpoints: the counting cache, a user's usage, and the estimate for a text."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from flask_login import current_user

from chatapp.api import body, shapes
from chatapp.api.gate import require_user
from chatapp.budget.queries import estimated_days_until_limit, usage_of
from chatapp.kernel.database import release
from chatapp.kernel.errors import Forbidden
from chatapp.providers.registry import providers
from chatapp.tokens.count import counter

bp = Blueprint("tokens", __name__, url_prefix="/api")
bp.before_request(require_user)


@bp.get("/chat/token-stats")
def stats() -> ResponseReturnValue:
    return jsonify(counter().stats())


@bp.delete("/chat/token-stats")
def clear_cache() -> ResponseReturnValue:
    if not current_user.is_admin:
        raise Forbidden()
    counter().clear()
    return "", 204


@bp.get("/user/token-usage")
def usage() -> ResponseReturnValue:
    budget = usage_of(current_user.id)
    return jsonify(
        total_tokens_used=budget.total_tokens_used,
        reserved_tokens=budget.reserved_tokens,
        token_limit=budget.token_limit,
        remaining_tokens=budget.remaining_tokens,
        estimated_days_until_limit=estimated_days_until_limit(current_user.id, budget),
        last_reset_at=shapes.instant(budget.last_reset_at),
        resets_at=budget.resets_at and shapes.instant(budget.resets_at),
        reset_period=budget.reset_period,
    )


@bp.post("/tokens/estimate")
def estimate() -> ResponseReturnValue:
    text = body.draft()
    model = providers().offered(current_user.default_model)
    release()
    count = counter().count(model, text)
    return jsonify(tokens=count.tokens, method=count.method)
