"""Points and lines in a plane as SVG, laid out for several widths, of which the page shows the one that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from core.page.axis import Axis
from core.page.labels import FONT_PX, GAP_PX, Box, place, text_px

WIDTHS = {"narrow": 350, "small": 480, "medium": 720, "wide": 980}  # px, by the CSS class that shows the layout
HEIGHT = 360
TOP, RIGHT, BOTTOM = 26, 14, 40  # of the frame, px
DIGIT_PX, TICK_GAP_PX, TICK_EVERY_PX = 0.64 * FONT_PX, 8, 90
SHAPES = {  # paths around 0, 0; one a backend, so that points differ by more than colour
    "circle": "M-7 0a7 7 0 1 0 14 0a7 7 0 1 0 -14 0",
    "square": "M-6 -6h12v12h-12z",
    "diamond": "M0 -8L8 0L0 8L-8 0z",
    "triangle": "M0 -8L8 6L-8 6z",
    "cross": "M-2.5 -7h5v4.5h4.5v5h-4.5v4.5h-5v-4.5h-4.5v-5h4.5z",
}


@dataclass(frozen=True)
class Mark:
    """A point, its label ("" for none), the CSS class of its colour, and its text under the mouse.

    Attributes:
        x_ends, y_ends: of its intervals; whiskers beyond the frame end there.
        ring: it stands out.
    """

    x: float
    y: float
    label: str
    kind: str
    shape: str = "circle"
    text: str = ""
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None
    ring: bool = False


@dataclass(frozen=True)
class Line:
    """Straight pieces through points; `dash` as SVG's stroke-dasharray."""

    points: Sequence[tuple[float, float]]
    kind: str = "soft"
    dash: str = ""


@dataclass(frozen=True)
class Drawn:
    """A mark in its place, px from the top left, and the box of its label; None where it has none."""

    mark: Mark
    x: float
    y: float
    label: Box | None

    @property
    def anchor(self) -> tuple[str, float]:
        """SVG's text-anchor, and the x at which the text of the label starts, ends, or has its middle."""
        assert self.label is not None
        if self.label.left >= self.x:
            return "start", self.label.left
        if self.label.right <= self.x:
            return "end", self.label.right
        return "middle", (self.label.left + self.label.right) / 2

    @property
    def leader(self) -> tuple[float, float] | None:
        """The end of a line to a label that is not beside the point: the nearest place of its box."""
        box = self.label
        if box is None or box.top < self.y < box.bottom:
            return None
        return min(max(self.x, box.left), box.right), min(max(self.y, box.top), box.bottom)


@dataclass(frozen=True)
class Plot:
    """Marks and lines over two axes.

    Attributes:
        title: says in words what the picture shows.
        limit: a dashed line at that height.
        beside: labels stand to the right of the frame, which leaves them room there, as the names of lines do.
    """

    title: str
    x_title: str
    y_title: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    lines: Sequence[Line] = field(default=())
    limit: float | None = None
    limit_text: str = ""
    beside: bool = False

    def layouts(self) -> dict[str, Layout]:
        """The drawing in each of `WIDTHS`."""
        return {name: Layout(self, width) for name, width in WIDTHS.items()}

    @property
    def alt(self) -> str:
        """The title and every point in words, for readers who do not see the picture."""
        return f"{self.title}. {'; '.join(mark.text or mark.label for mark in self.marks)}"


@dataclass(frozen=True)
class Layout:
    """A plot at one width, px."""

    plot: Plot
    width: int
    height: int = HEIGHT

    @property
    def frame(self) -> Box:
        """The area between the axes."""
        widest = max((len(f"{tick:.6g}") for tick in self.plot.y.ticks(6)), default=1)
        names = [text_px(mark.label) for mark in self.plot.marks] if self.plot.beside else []
        right = self.width - max([RIGHT, *(GAP_PX + name + 1 for name in names)])
        return Box(widest * DIGIT_PX + TICK_GAP_PX, TOP, right, self.height - BOTTOM)

    @property
    def x_ticks(self) -> Sequence[float]:
        """As many as there is room for."""
        return self.plot.x.ticks(max(2, round((self.frame.right - self.frame.left) / TICK_EVERY_PX)))

    def left(self, value: float) -> float:
        """Px from the left."""
        frame = self.frame
        return round(frame.left + (frame.right - frame.left) * self.plot.x(value) / 100, 1)

    def top(self, value: float) -> float:
        """Px from the top."""
        frame = self.frame
        return round(frame.bottom - (frame.bottom - frame.top) * self.plot.y(value) / 100, 1)

    def path(self, line: Line) -> str:
        """The line as the `points` of a polyline."""
        return " ".join(f"{self.left(x)},{self.top(y)}" for x, y in line.points)

    def drawn(self) -> list[Drawn]:
        """Every mark in its place, with its label."""
        marks = self.plot.marks
        points = [(self.left(mark.x), self.top(mark.y)) for mark in marks]
        whiskers = [box for mark, point in zip(marks, points, strict=True) for box in self._whiskers(mark, *point)]
        frame = self.frame
        room = Box(frame.right, frame.top, self.width, frame.bottom) if self.plot.beside else frame
        boxes = place(points, [mark.label for mark in marks], room, whiskers)
        return [Drawn(mark, x, y, box) for mark, (x, y), box in zip(marks, points, boxes, strict=True)]

    def _whiskers(self, mark: Mark, x: float, y: float) -> list[Box]:
        boxes = []
        if mark.x_ends:
            boxes.append(Box(self.left(mark.x_ends[0]), y - 1, self.left(mark.x_ends[1]), y + 1))
        if mark.y_ends:
            boxes.append(Box(x - 1, self.top(mark.y_ends[1]), x + 1, self.top(mark.y_ends[0])))
        return boxes

    def shape(self, mark: Mark) -> str:
        """The path of a mark."""
        return SHAPES[mark.shape]
