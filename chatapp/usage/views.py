"""What was used: the budget, and the exchanges that spent it."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required
from sqlalchemy import Row, select

from chatapp.budget.queries import estimated_days_until_limit, usage_of
from chatapp.chats.models import Chat
from chatapp.extensions import db
from chatapp.turns.models import Turn

bp = Blueprint("usage", __name__)

SHOWN_EXCHANGES = 50


@bp.get("/usage")
@login_required
def index() -> ResponseReturnValue:
    budget = usage_of(current_user.id)
    return render_template(
        "usage/index.html",
        budget=budget,
        days_left=estimated_days_until_limit(current_user.id, budget),
        recent=_recent(),
    )


def _recent() -> list[Row[tuple[Turn, str | None, bool]]]:
    """Return the last turns that have ended, newest first, each with its chat's title and whether that is deleted."""
    found = (
        select(Turn, Chat.title, Chat.deleted_at.is_not(None).label("is_deleted"))
        .join(Chat, Chat.id == Turn.chat_id)
        .where(Turn.user_id == current_user.id, Turn.ended_at.is_not(None))
        .order_by(Turn.started_at.desc())
        .limit(SHOWN_EXCHANGES)
    )
    return list(db.session.execute(found))
