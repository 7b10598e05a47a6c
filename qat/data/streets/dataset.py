"""The embedded data set: generated streets, rendered on demand, so that every stage runs without a download."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from core.files.artifacts import sha256_json
from qat.data.base import Sample
from qat.data.camvid import CLASS_NAMES, COLORS
from qat.data.streets.actors import paint_bicyclist, paint_car, paint_pedestrian
from qat.data.streets.canvas import Canvas
from qat.data.streets.scene import Scene, Thing, sample_scene
from qat.data.streets.still import (
    paint_bin,
    paint_building,
    paint_fence,
    paint_ground,
    paint_hedge,
    paint_lamp,
    paint_sign,
    paint_signal,
    paint_sky,
    paint_street_end,
    paint_tree,
)

GENERATOR_VERSION = 1  # raise it with every change that alters a picture: hashes of runs depend on it
SPLITS = ("train", "val", "tuning")
DEFAULT_SIZES = {"train": 1000, "val": 200}

_PAINTERS: dict[str, Callable[[Canvas, Thing, Generator], None]] = {
    "building": paint_building,
    "fence": paint_fence,
    "railing": paint_fence,
    "tree": paint_tree,
    "hedge": paint_hedge,
    "lamp": paint_lamp,
    "sign": paint_sign,
    "signal": paint_signal,
    "bin": paint_bin,
    "car": paint_car,
    "pedestrian": paint_pedestrian,
    "bicyclist": paint_bicyclist,
}
# Surface roughness in grey levels by class: (grain, blotches).
_ROUGHNESS = (
    (0.5, 0.5), (5, 5), (3, 2), (6, 4), (6, 5), (17, 14), (3, 2), (6, 4), (2, 3), (6, 5), (6, 5)
)  # fmt: skip


class Streets:
    """Random streets with CamVid's 11 classes; sample i depends on (seed, split, i) and the size only."""

    class_names = CLASS_NAMES
    colors = COLORS

    def __init__(
        self,
        split: Literal["train", "val", "tuning"],
        height_px: int,
        width_px: int,
        size: int | None = None,
        seed: int = 0,
    ) -> None:
        self._split, self._seed = split, seed
        self._height_px, self._width_px = height_px, width_px
        self._size = size if size is not None else DEFAULT_SIZES[split]

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self._size:
            raise IndexError(f"sample {index} of {self._size}")
        rng = np.random.default_rng((self._seed, SPLITS.index(self._split), index))
        image, label = render(sample_scene(rng, self._height_px, self._width_px), rng)
        return Sample(image, label, self.names[index])

    @property
    def names(self) -> tuple[str, ...]:
        """Split and number: no street follows another."""
        return tuple(f"{self._split}_{index:06d}" for index in range(self._size))

    def fingerprint(self) -> str:
        return sha256_json([GENERATOR_VERSION, self._split, self._seed, self._size, self._height_px, self._width_px])


def render(scene: Scene, rng: Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paint a scene: uint8 image (H, W, 3) RGB and uint8 label (H, W)."""
    canvas = Canvas(scene.camera, scene.light)
    grain, blotches, clouds = (_window(field, rng) for field in _noise(scene.camera.height_px, scene.camera.width_px))
    paint_sky(canvas, clouds, rng.uniform(0.1, 0.6))
    paint_ground(canvas, scene, rng)
    paint_street_end(canvas, scene, rng)
    for thing in scene.things:
        _PAINTERS[thing.kind](canvas, thing, rng)
    return _photograph(canvas, scene, grain, blotches, rng), canvas.label


def _photograph(
    canvas: Canvas, scene: Scene, grain: NDArray[np.float32], blotches: NDArray[np.float32], rng: Generator
) -> NDArray[np.uint8]:
    """Give surfaces their texture, then the blur and the sensor noise of a camera."""
    texture = grain * _GRAIN[canvas.label] + blotches * _BLOTCHES[canvas.label]
    level = sum(scene.light.gain) / 3
    image = canvas.image + (texture * level)[..., None]
    scale = scene.camera.height_px / 192
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), scene.blur_px * scale))
    sensor = _window(_noise(scene.camera.height_px, scene.camera.width_px)[0], rng)
    image += (sensor * scene.noise)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


@lru_cache(maxsize=2)
def _noise(height_px: int, width_px: int) -> tuple[NDArray[np.float32], ...]:
    """Noise fields of unit variance, larger than an image: grain, blotches, clouds. Images take windows of them."""
    shape = (height_px * 2, width_px * 2)
    white = np.random.default_rng(20240229).standard_normal((3, *shape), dtype=np.float32)
    scale = height_px / 192
    sigmas = ((0.6, 0.6), (2.5, 2.0), (26.0, 9.0))
    fields = [
        cv2.GaussianBlur(w, (0, 0), sx * scale, sigmaY=sy * scale) for w, (sx, sy) in zip(white, sigmas, strict=True)
    ]
    return tuple((field - field.mean()) / field.std() for field in fields)


def _window(field: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    height, width = field.shape[0] // 2, field.shape[1] // 2
    top, left = int(rng.integers(height + 1)), int(rng.integers(width + 1))
    return field[top : top + height, left : left + width]


def _lookup(column: int) -> NDArray[np.float32]:
    table = np.full(256, 3.0, np.float32)
    table[: len(_ROUGHNESS)] = [amounts[column] for amounts in _ROUGHNESS]
    return table


_GRAIN, _BLOTCHES = _lookup(0), _lookup(1)
