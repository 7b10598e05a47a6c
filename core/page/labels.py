"""Labels beside points, placed so that none lies over another label or over a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FONT_PX = 12
LINE_PX = 16
CHAR_PX = 0.64 * FONT_PX  # of wide fonts such as DejaVu Sans and Verdana
GAP_PX = 10  # from the middle of a point to its label


@dataclass(frozen=True)
class Box:
    """A rectangle, px; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """True if they share an area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        """True if no part is outside of `other`."""
        inside = other.left <= self.left and self.right <= other.right
        return inside and other.top <= self.top and self.bottom <= other.bottom


def text_px(text: str) -> float:
    """An upper estimate of the width of `text`."""
    return len(text) * CHAR_PX


def place(
    points: Sequence[tuple[float, float]], labels: Sequence[str], frame: Box, blocked: Sequence[Box] = ()
) -> list[Box | None]:
    """A box inside `frame` for each label, as near to its point as the boxes before it and all points allow.

    Args:
        points: their middles, px.
        labels: of the same points; "" gets no box.
        blocked: where no label may lie, such as on the whiskers of intervals.

    Returns:
        In the order of `labels`; None also where no place is left, as in a frame full of labels.
    """
    taken = [Box(x - GAP_PX + 2, y - GAP_PX + 2, x + GAP_PX - 2, y + GAP_PX - 2) for x, y in points]
    taken += blocked
    found: list[Box | None] = []
    for point, label in zip(points, labels, strict=True):
        boxes = (box for box in _around(*point, text_px(label), frame) if box.within(frame))
        free = next((box for box in boxes if not any(box.overlaps(other) for other in taken)), None) if label else None
        found.append(free)
        taken += [free] if free else []
    return found


def _around(x: float, y: float, width: float, frame: Box) -> Iterator[Box]:
    """Boxes at both sides of a point, then above and below it, then line by line farther away."""
    lines = int((frame.bottom - frame.top) / LINE_PX) + 1
    for line in range(lines):
        lefts = [x + GAP_PX, *([x - width / 2] if line else []), x - GAP_PX - width]
        lefts += [frame.left, frame.right - width] if line else []
        for left in lefts:
            for step in (-line, line) if line else (0,):
                top = y + step * LINE_PX - LINE_PX / 2
                yield Box(left, top, left + width, top + LINE_PX)
