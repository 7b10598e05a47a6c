"""Drawing for the streets generator: every primitive marks the image and the label map with the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import cv2
import numpy as np
from numpy.typing import NDArray

from qat.data.streets.camera import Camera

Color = tuple[float, float, float]  # RGB, 0..255
Point = tuple[float, float, float]  # scene, metres
Outline = Sequence[tuple[float, float]]  # metres
Quad = tuple[Point, Point, Point, Point]


def scaled(color: Color, factor: float) -> Color:
    """A brighter or darker version of a colour; may exceed 255 until it is drawn."""
    red, green, blue = color
    return red * factor, green * factor, blue * factor


def mixed(color: Color, other: Color, share: float) -> Color:
    """`color` with a `share` (0..1) of `other`."""
    (red, green, blue), (red_to, green_to, blue_to) = color, other
    return red + (red_to - red) * share, green + (green_to - green) * share, blue + (blue_to - blue) * share


@dataclass(frozen=True)
class Light:
    """The light of a scene.

    Attributes:
        gain: factor of every colour, per channel.
        haze: colour of the air, and of the sky at the horizon.
        zenith: colour of the sky at the top.
        haze_m: depth at which an object has lost 63 % of its own colour to the haze.
        sun: side from which the sun shines (-1 left, 1 right), 0 when it casts no shadows.
        lamps: lamps and some windows are lit.
    """

    gain: Color
    haze: Color
    zenith: Color
    haze_m: float
    sun: int
    lamps: bool


class Canvas:
    """An image and its label map, drawn from far to near."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera, self.light = camera, light
        self.image = np.zeros((camera.height_px, camera.width_px, 3), np.uint8)
        self.label = np.zeros((camera.height_px, camera.width_px), np.uint8)

    def tint(self, color: Color, z: float, shade: float = 1.0) -> Color:
        """The appearance of `color` at depth `z` under this light; `shade` darkens surfaces turned away from it."""
        kept = exp(-z / self.light.haze_m)
        (red, green, blue), gain, haze = color, self.light.gain, self.light.haze
        return (
            min(255.0, red * shade * gain[0]) * kept + haze[0] * (1 - kept),
            min(255.0, green * shade * gain[1]) * kept + haze[1] * (1 - kept),
            min(255.0, blue * shade * gain[2]) * kept + haze[2] * (1 - kept),
        )

    def polygon(self, points: Sequence[Point], color: Color, class_id: int, shade: float = 1.0) -> None:
        """Fill a polygon of scene points."""
        outline = np.array([self.camera.pixel(*point) for point in points], np.int32)
        self._fill([outline], self.tint(color, points[0][2], shade), class_id)

    def polygons(self, points: NDArray[np.float64], color: Color, class_id: int, shade: float = 1.0) -> None:
        """Fill many polygons (M, N, 3) of one colour."""
        if len(points):
            self._fill(list(self.camera.project(points)), self.tint(color, float(points[0, 0, 2]), shade), class_id)

    def pieces(self, points: NDArray[np.float64], color: Color, class_id: int) -> None:
        """Fill the polygons (M, N, 3) of one long surface, each with the haze of its own depth."""
        for outline, z in zip(self.camera.project(points), points[:, 0, 2].tolist(), strict=True):
            self._fill([outline], self.tint(color, z), class_id)

    def upright(self, outline: Outline, x: float, z: float, color: Color, class_id: int) -> None:
        """Fill a polygon of (x, y) offsets in metres that stands at (x, z) and faces the camera."""
        self.polygon([(x + across, up, z) for across, up in outline], color, class_id)

    def disc(self, x: float, y: float, z: float, radius: tuple[float, float], color: Color, class_id: int) -> None:
        """Fill an ellipse of radii (horizontal, vertical) in metres that faces the camera."""
        center = self.camera.pixel(x, y, z)
        axes = [max(1, round(self.camera.size_px(metres, z))) for metres in radius]
        cv2.ellipse(self.image, center, axes, 0, 0, 360, self.tint(color, z), cv2.FILLED)
        cv2.ellipse(self.label, center, axes, 0, 0, 360, class_id, cv2.FILLED)

    def stroke(self, start: Point, end: Point, width_m: float, color: Color, class_id: int) -> None:
        """A line between two scene points, at least one pixel wide."""
        first, last = self.camera.pixel(*start), self.camera.pixel(*end)
        thickness = max(1, round(self.camera.size_px(width_m, start[2])))
        cv2.line(self.image, first, last, self.tint(color, start[2]), thickness)
        cv2.line(self.label, first, last, class_id, thickness)

    def ring(self, x: float, y: float, z: float, radius: float, width_m: float, color: Color, class_id: int) -> None:
        """A circle outline that faces the camera, at least one pixel wide."""
        center = self.camera.pixel(x, y, z)
        size = max(1, round(self.camera.size_px(radius, z)))
        thickness = max(1, round(self.camera.size_px(width_m, z)))
        cv2.circle(self.image, center, size, self.tint(color, z), thickness)
        cv2.circle(self.label, center, size, class_id, thickness)

    def _fill(self, polygons: Sequence[NDArray[np.int32]], color: Color, class_id: int) -> None:
        cv2.fillPoly(self.image, polygons, color)
        cv2.fillPoly(self.label, polygons, class_id)


@dataclass(frozen=True)
class Block:
    """A box whose top may be smaller than its bottom: x, y and z ranges in metres, and the inset of the top."""

    x: tuple[float, float]
    y: tuple[float, float]
    z: tuple[float, float]
    inset_x: float = 0.0
    inset_z: float = 0.0

    def near_face(self) -> Quad:
        (x0, x1), (y0, y1), z0 = self.x, self.y, self.z[0]
        top = z0 + self.inset_z
        return (x0, y0, z0), (x1, y0, z0), (x1 - self.inset_x, y1, top), (x0 + self.inset_x, y1, top)

    def side_face(self, camera: Camera) -> Quad:
        """The face along the street that the camera sees."""
        right = camera.sees_right_side((self.x[0] + self.x[1]) / 2, self.z[0])
        bottom = self.x[1] if right else self.x[0]
        top = bottom - self.inset_x if right else bottom + self.inset_x
        (y0, y1), (z0, z1) = self.y, self.z
        return (bottom, y0, z0), (bottom, y0, z1), (top, y1, z1 - self.inset_z), (top, y1, z0 + self.inset_z)

    def top_face(self) -> Quad:
        (x0, x1), y1, (z0, z1) = self.x, self.y[1], self.z
        left, right, front, back = x0 + self.inset_x, x1 - self.inset_x, z0 + self.inset_z, z1 - self.inset_z
        return (left, y1, front), (right, y1, front), (right, y1, back), (left, y1, back)


def draw_block(canvas: Canvas, block: Block, color: Color, class_id: int, side_shade: float = 0.8) -> None:
    """Fill the faces of a block that the camera can see."""
    if block.y[1] < canvas.camera.y_m:
        canvas.polygon(block.top_face(), color, class_id, 1.15)
    canvas.polygon(block.side_face(canvas.camera), color, class_id, side_shade)
    canvas.polygon(block.near_face(), color, class_id)


def within(face: Quad, across: tuple[float, float], up: tuple[float, float]) -> Quad:
    """The part of a face between the shares `across` and `up` of its sides (each 0..1)."""
    (left, right), (low, high) = across, up
    return _at(face, left, low), _at(face, right, low), _at(face, right, high), _at(face, left, high)


def panels(face: Quad, across: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """`within` for M parts at once: shares `across` and `up` of shape (M, 2) to quads of shape (M, 4, 3)."""
    corners = np.array(face, np.float64)
    share, height = across[:, (0, 1, 1, 0), None], up[:, (0, 0, 1, 1), None]
    bottom = corners[0] + (corners[1] - corners[0]) * share
    top = corners[3] + (corners[2] - corners[3]) * share
    quads: NDArray[np.float64] = bottom + (top - bottom) * height
    return quads


def _at(face: Quad, share: float, height: float) -> Point:
    """The point of a face at a share of its width and of its height."""
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2), (x3, y3, z3) = face
    a, b, c, d = (1 - share) * (1 - height), share * (1 - height), share * height, (1 - share) * height
    return a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3, a * z0 + b * z1 + c * z2 + d * z3
