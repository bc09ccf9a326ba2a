"""What the pages call the entries of the ledger and the periods of a budget."""

from __future__ import annotations

from flask_babel import gettext as _


def operation_text(operation: str) -> str:
    """Say what an entry of the ledger is."""
    texts = {
        "grant": _("adjusted"),
        "reserve": _("reserved before asking the model"),
        "release": _("released at the end"),
        "charge": _("charged"),
        "reset": _("new period"),
    }
    return texts.get(operation, operation)


def period_text(period: str) -> str:
    texts = {"none": _("never"), "daily": _("every day"), "weekly": _("every week"), "monthly": _("every month")}
    return texts.get(period, period)
