"""Figures that servers report, of any type."""

from __future__ import annotations

from typing import Any

MAX_REPORTED_TOKENS = 10**9


def tokens(figure: Any) -> int:
    """Return a reported figure as a number that can be stored; 0 for anything else. int64 may arrive as a string."""
    if isinstance(figure, str) and figure.isascii() and figure.isdigit():
        figure = int(figure[:20])
    if isinstance(figure, float) and figure.is_integer():
        figure = int(figure)
    is_number = isinstance(figure, int) and not isinstance(figure, bool)
    return min(max(figure, 0), MAX_REPORTED_TOKENS) if is_number else 0
