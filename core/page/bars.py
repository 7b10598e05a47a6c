"""Horizontal bars, one row each: name, bar, number. `charts.html.j2` draws them as text and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.page.axis import Axis, axis_over


@dataclass(frozen=True)
class Bar:
    """One row.

    Attributes:
        value: the bar's end; no bar where it is not finite.
        text: the number as it is written beside the bar.
        low, high: of its interval, if it has one.
        kind: CSS class of its colour.
        hover: more about it, shown when the mouse points at the row.
    """

    name: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    kind: str = "int8"
    hover: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars from zero in the order given; whiskers are the intervals, a dashed line is `limit`.

    Attributes:
        title: the quantity and its unit.
        scale: further numbers that the axis has room for, so that two charts compare.
    """

    title: str
    rows: Sequence[Bar]
    limit: float | None = None
    scale: Sequence[float] = ()

    @property
    def axis(self) -> Axis:
        """Shows every bar, whisker and limit, and zero."""
        ends = [value for row in self.rows for value in (row.value, row.low, row.high)]
        return axis_over([*ends, self.limit, 0.0, *self.scale])
