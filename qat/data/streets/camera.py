"""The pinhole camera of the streets generator: metres in the scene to pixels in the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR_M = 1.0  # nothing is drawn closer to the camera than this


@dataclass(frozen=True)
class Camera:
    """A camera that looks along a street.

    Scene axes: x right of the street's middle, y up from the ground, z ahead of the camera, all in metres.

    Attributes:
        height_px, width_px: image size.
        focal_px: focal length.
        center_x_px, horizon_px: vanishing point of the street if it were straight.
        x_m, y_m: position of the camera.
        bend_per_m: curvature of the street; it leads `bend_per_m * z**2` to the right.
    """

    height_px: int
    width_px: int
    focal_px: float
    center_x_px: float
    horizon_px: float
    x_m: float
    y_m: float
    bend_per_m: float

    def project(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        """Scene points (..., 3) in metres to pixel coordinates (..., 2) as (column, row)."""
        z = np.maximum(points[..., 2], NEAR_M)
        per_metre = self.focal_px / z
        pixels = np.empty((*z.shape, 2))
        pixels[..., 0] = (
            self.center_x_px + (points[..., 0] - self.x_m) * per_metre + self.focal_px * self.bend_per_m * z
        )
        pixels[..., 1] = self.horizon_px + (self.y_m - points[..., 1]) * per_metre
        far_outside = 8.0 * (self.height_px + self.width_px)  # keeps rasterisation within its fixed-point range
        np.minimum(np.maximum(pixels, -far_outside, out=pixels), far_outside, out=pixels)
        return np.rint(pixels, out=pixels).astype(np.int32)

    def pixel(self, x: float, y: float, z: float) -> tuple[int, int]:
        """`project` for a single point."""
        z = max(z, NEAR_M)
        per_metre = self.focal_px / z
        column = self.center_x_px + (x - self.x_m) * per_metre + self.focal_px * self.bend_per_m * z
        return round(column), round(self.horizon_px + (self.y_m - y) * per_metre)

    def size_px(self, metres: float, z: float) -> float:
        """The number of pixels that `metres` cover at depth `z`."""
        return self.focal_px * metres / max(z, NEAR_M)

    def sees_right_side(self, x: float, z: float) -> bool:
        """Return True if the camera sees the right-hand side, not the left-hand side, of a thing at (x, z)."""
        return x + self.bend_per_m * z * z < self.x_m
