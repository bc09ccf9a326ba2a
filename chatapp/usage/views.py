"""What was used: the budget, sums and charts, the exchanges that spent it, and why each was charged."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, render_template, request, stream_with_context
from flask.typing import ResponseReturnValue
from flask_babel import format_currency, format_number
from flask_babel import gettext as _
from flask_login import current_user, login_required
from sqlalchemy import Row, select

from chatapp.budget import notices
from chatapp.budget.queries import estimated_days_until_limit
from chatapp.chats.models import Chat
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import now, write
from chatapp.kernel.errors import InvalidRequest, NotFound
from chatapp.kernel.extensions import db
from chatapp.kernel.web import is_htmx, redirect_to
from chatapp.turns.models import Turn
from chatapp.usage import export, words
from chatapp.usage.charts import chart
from chatapp.usage.explain import explain
from chatapp.usage.queries import PRESETS, Grouping, exchanges, read_range, report, titles_since

bp = Blueprint("usage", __name__)

SHOWN_EXCHANGES = 50

bp.add_app_template_global(words.operation_text)


@bp.app_template_filter()
def dollars(microusd: int) -> str:
    """Show micro-dollars, to the last of them."""
    shown: str = format_currency(microusd / 1_000_000, "USD", "¤#,##0.00####", currency_digits=False)
    return shown


@bp.app_template_filter()
def signed(figure: int) -> str:
    """Show a change, with a real minus."""
    sign = "+" if figure > 0 else "−" if figure < 0 else ""
    return f"{sign}{format_number(abs(figure))}"


@bp.get("/usage")
@login_required
def index() -> ResponseReturnValue:
    shown_budget = notices.shown(current_user.id)
    budget = shown_budget["budget"]
    by, refusal = _grouping(), None
    try:
        chosen = read_range(request.args, budget.timezone)
    except InvalidRequest as error:
        chosen, refusal = read_range({}, budget.timezone), error
    shown = report(current_user.id, chosen, by)
    page = render_template(
        "usage/index.html",
        refusal=refusal,
        **shown_budget,
        days_left=(days_left := estimated_days_until_limit(current_user.id, budget)),
        is_enough=bool(days_left and budget.resets_at and days_left > (budget.resets_at - now()).days),
        report=shown,
        presets=PRESETS,
        tokens_chart=chart(shown, lambda sums: sums.charged, lambda sums: sums.reported),
        cost_chart=chart(shown, lambda sums: sums.cost_microusd),
        recent=_recent(),
        titles=titles_since(current_user.id, budget.last_reset_at),
    )
    return page, refusal.status if refusal else 200


@bp.get("/usage/exchanges/<uuid:answer_id>")
@login_required
def show(answer_id: UUID) -> ResponseReturnValue:
    """Explain why an exchange was charged what it was."""
    template = "usage/_exchange.html" if is_htmx() else "usage/exchange.html"
    return render_template(template, explained=explain(current_user, answer_id))


@bp.get("/usage/export.<kind>")
@login_required
def download(kind: str) -> ResponseReturnValue:
    if kind not in ("csv", "json"):
        raise NotFound()
    user_id = current_user.id
    chosen = read_range(request.args, current_user.timezone)
    rows = exchanges(user_id, chosen)
    lines = export.as_csv(rows) if kind == "csv" else export.as_json(rows, chosen)
    headers = {"Content-Disposition": f'attachment; filename="usage-{chosen.first}-{chosen.last}.{kind}"'}
    mimetype = "text/csv" if kind == "csv" else "application/json"
    return Response(stream_with_context(lines), content_type=f"{mimetype}; charset=utf-8", headers=headers)


@bp.post("/usage/notices/seen")
@login_required
def put_notices_away() -> ResponseReturnValue:
    user_id = current_user.id
    with write():
        notices.put_away(user_id)
    if not is_htmx():
        return redirect_to("usage.index")
    return render_template("conversation/_notice.html", **notices.shown(user_id))


def _grouping() -> Grouping:
    by = request.args.get("by", "model")
    if by == "model" or by == "chat":
        return by  # type: ignore[return-value]
    raise InvalidRequest(_("by: must be model or chat"))


def _recent() -> list[Row[tuple[Exchange, UUID, str | None, bool]]]:
    """Return the last answers that have ended, newest first, each with its message, its chat's title and whether that
    is deleted."""
    found = (
        select(Exchange, Turn.answer_id, Chat.title, Chat.deleted_at.is_not(None).label("is_deleted"))
        .join(Turn, Turn.id == Exchange.id)
        .join(Chat, Chat.id == Turn.chat_id)
        .where(Exchange.user_id == current_user.id, Exchange.ended_at.is_not(None))
        .order_by(Exchange.started_at.desc())
        .limit(SHOWN_EXCHANGES)
    )
    return list(db.session.execute(found))
