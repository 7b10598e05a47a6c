"""Calibration images: network inputs from a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError

_FIX = "give a .npy file of float32 (N, C, H, W), or the calibration.npz of a run"
# Damaged files raise errors of zipfile, zlib, ast and tokenize in np.load; a header may demand any amount of memory.
_UNREADABLE = Exception


def read_images(path: Path) -> Iterator[NDArray[np.float32]]:
    """Network inputs, float32 (1, C, H, W), one at a time.

    Two kinds of file are read: `.npy` with float32 (N, C, H, W), ready to feed; and the `.npz` of the QAT stage, with
    `images` uint8 (N, H, W, C) RGB and `mean` and `std` of x / 255, one float for each channel.

    Raises:
        UserError: the file has neither form, or holds no images, only zeros, or values that are not finite.
    """
    yield from _prepared(path) if path.suffix == ".npz" else _ready(path)


def _ready(path: Path) -> Iterator[NDArray[np.float32]]:
    images = _load(path)
    if not isinstance(images, np.ndarray) or images.ndim != 4 or images.dtype.kind != "f":
        found = f"{images.dtype} of shape {images.shape}" if isinstance(images, np.ndarray) else "several arrays"
        raise UserError(f"{path} does not hold network inputs", why=f"it holds {found}", fix=_FIX)
    with np.errstate(over="ignore"):  # values beyond float32 become infinity, which is refused
        images = images.astype(np.float32, copy=False)
    _require_values(path, images)
    yield from (image[np.newaxis] for image in images)


def _prepared(path: Path) -> Iterator[NDArray[np.float32]]:
    stored = _load(path)
    if isinstance(stored, np.ndarray):
        raise UserError(f"{path} holds one array without a name", fix=_FIX)
    with stored:
        if missing := {"images", "mean", "std"} - set(stored.files):
            raise UserError(f"{path} lacks {', '.join(sorted(missing))}", fix=_FIX)
        try:
            images, mean, std = (stored[key] for key in ("images", "mean", "std"))
        except _UNREADABLE as error:
            raise UserError(f"{path} is damaged", why=str(error), fix=_FIX) from error
    if images.ndim != 4 or images.dtype != np.uint8 or not mean.shape == std.shape == images.shape[3:]:
        shapes = f"images {images.dtype} {images.shape}, mean {mean.shape}, std {std.shape}"
        raise UserError(f"{path} does not hold calibration images", why=f"it holds {shapes}", fix=_FIX)
    if mean.dtype.kind != "f" or std.dtype.kind != "f" or not np.isfinite(mean).all() or not (std > 0).all():
        raise UserError(
            f"{path}: mean and std are not finite numbers above zero", why=f"mean {mean}, std {std}", fix=_FIX
        )
    _require_values(path, images)
    for image in images:
        floats = (image.astype(np.float32) / 255 - mean.astype(np.float32)) / std.astype(np.float32)
        yield np.ascontiguousarray(floats.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except _UNREADABLE as error:
        raise UserError(f"{path} is not a calibration file", why=str(error), fix=_FIX) from error


def _require_values(path: Path, images: NDArray[Any]) -> None:
    if not images.size:
        raise UserError(f"{path} holds no images", why=f"its shape is {images.shape}", fix=_FIX)
    if not np.isfinite(images).all():
        raise UserError(f"{path} holds NaN or infinity", why="a range cannot be measured on it", fix="check the file")
    if not images.any():
        raise UserError(f"{path} holds nothing but zeros", why="every range would be empty", fix=_FIX)
