"""The geometry of a chart: which rectangle goes where. Rendered by templates/usage/_chart.html, without scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chatapp.usage.queries import Bar, Group, Report, Sums

# The drawing is stretched to its box, so these are relative units of its width and height.
WIDTH, HEIGHT = 1000, 100
GAP = 0.24
SLIM = 90
# The round figures between two powers of ten, in tenths.
STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)


@dataclass(frozen=True, slots=True)
class Segment:
    series: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One bar: its position, its segments from the bottom up, and where to mark a second figure, if any."""

    bar: Bar
    x: float
    width: float
    whole_x: float
    whole_width: float
    segments: list[Segment]
    mark_y: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    top: int
    """The round figure at the top edge."""
    columns: list[Column]
    groups: list[Group]


def chart(report: Report, figure: Callable[[Sums], int], mark: Callable[[Sums], int] | None = None) -> Chart:
    """Stack the groups of each bar by a figure. mark: a second figure for the whole bar, drawn as a line across it."""
    marks = [mark(bar.total) if mark else 0 for bar in report.bars]
    top = nice_top(max([*marks, *(figure(bar.total) for bar in report.bars)], default=0))
    step = WIDTH / len(report.bars)
    columns = []
    for place, (bar, marked) in enumerate(zip(report.bars, marks, strict=True)):
        segments, ground = [], float(HEIGHT)
        for series, group in enumerate(report.shown):
            height = HEIGHT * figure(bar.groups.get(group.key, Sums())) / top
            ground -= height
            if height:
                segments.append(Segment(series, round(ground, 3), round(height, 3)))
        whole_x = place * step
        width = min(step * (1 - GAP), SLIM)
        columns.append(
            Column(
                bar=bar,
                x=round(whole_x + (step - width) / 2, 2),
                width=round(width, 2),
                whole_x=round(whole_x, 2),
                whole_width=round(step, 2),
                segments=segments,
                mark_y=round(HEIGHT - HEIGHT * marked / top, 3) if marked else None,
            )
        )
    return Chart(top, columns, report.shown)


def nice_top(figure: int) -> int:
    """Return a round figure that is at or slightly above this one."""
    power = 10 ** max(0, len(str(figure)) - 1)
    tops = (step * power // 10 for step in STEPS if step * power % 10 == 0)
    return next(top for top in tops if top >= figure)
