"""Pictures as network inputs, in parts that never share a picture: to calibrate, to choose by, and to test on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.files.artifacts import sha256_file
from core.files.image_file import read_image
from core.nearest import path_hint
from deploy.apps.quantize.network import PictureInput
from deploy.apps.quantize.options import MOST_PICTURES, Fit, Normalization
from deploy.plan.images import read_images

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
READY = frozenset({".npy", ".npz"})
BLOCKS = 20  # neighbours, as in a video, stay in one block
# The role of a block by its position in turns of five.
ROLES = ("calibrate", "calibrate", "calibrate", "choose", "test")


@dataclass(frozen=True)
class Prepare:
    """From a picture file to the network's input.

    Attributes:
        size: height and width in pixels.
        fit: "stretch" to the size, or scale the short side and "crop" the centre.
        bgr: True if channel 0 is blue.
    """

    input: PictureInput
    size: tuple[int, int]
    normalization: Normalization
    fit: Fit = "stretch"
    bgr: bool = False

    def __call__(self, path: Path) -> NDArray[Any]:
        """One picture in the layout of the input, as often as its batch is: float32, or uint8 where it takes pixels."""
        grey = self.input.channels == 1
        image = read_image(path, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
        image = image[:, :, np.newaxis] if grey else image if self.bgr else image[:, :, ::-1]
        fitted = fit(image, self.size, self.fit)
        if not self.input.pixels:
            mean, std = (np.asarray(part, np.float32) for part in (self.normalization.mean, self.normalization.std))
            fitted = (fitted.astype(np.float32) / 255 - mean) / std
        ordered = fitted.transpose(2, 0, 1) if self.input.layout == "NCHW" else fitted
        return np.ascontiguousarray(np.repeat(ordered[np.newaxis], self.input.batch, axis=0))


def fit(image: NDArray[Any], size: tuple[int, int], how: Fit) -> NDArray[Any]:
    """`image` (H, W, C) at another size, bilinear; averaged where it shrinks."""
    height, width = size
    if how == "crop":
        scale = max(height / image.shape[0], width / image.shape[1])
        rows, columns = (min(side, round(new / scale)) for side, new in zip(image.shape[:2], size, strict=True))
        top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
        image = image[top : top + rows, left : left + columns]
    shrinks = image.shape[0] > height and image.shape[1] > width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=method)
    return np.asarray(resized).reshape(height, width, image.shape[2])


class Pictures(Sequence[NDArray[Any]]):
    """Inputs, each made when it is read; `names` are the pictures that they are made from."""

    def __init__(self, names: Sequence[str], make: Sequence[Any], prepare: Any) -> None:
        self.names = tuple(names)
        self._made_from, self._prepare = make, prepare

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> NDArray[Any] | Pictures:
        if isinstance(index, slice):
            return self.part(range(len(self))[index])
        made: NDArray[Any] = self._prepare(self._made_from[index])
        return made

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def part(self, indices: Sequence[int]) -> Pictures:
        """Some of them."""
        return Pictures(
            [self.names[index] for index in indices], [self._made_from[index] for index in indices], self._prepare
        )


@dataclass(frozen=True)
class Parts:
    """Three sets of pictures without a common one; `choose` is `test` where there are too few."""

    calibrate: Pictures
    choose: Pictures
    test: Pictures

    def __str__(self) -> str:
        chosen = len(self.choose) if self.choose is not self.test else 0
        return f"{len(self.calibrate)} pictures to calibrate, {chosen} to choose by, {len(self.test)} to compare on"


def picture_files(data: Path, wanted: int | None) -> list[Path]:
    """Picture files below the folder `data` in order, evenly thinned out to `wanted`, no two with the same content.

    Raises:
        UserError: no folder, fewer pictures than `wanted`, or fewer than two.
    """
    if not data.is_dir():
        raise UserError(
            f"no folder {data}",
            fix=path_hint(data, "give --data a folder of pictures, or a .npy file of network inputs"),
        )
    files = [path for path in sorted(data.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    require_enough(len(files), wanted, f"{data} (files that end in {', '.join(sorted(SUFFIXES))})")
    distinct = list({sha256_file(path): path for path in reversed(thinned(files, wanted or MOST_PICTURES))}.values())
    require_enough(len(distinct), None, f"{data} without copies of the same picture")
    return sorted(distinct)


def require_enough(found: int, wanted: int | None, where: str) -> None:
    """Raise `UserError` with fewer than two pictures, or fewer than the user chose."""
    if not found:
        raise UserError(f"no pictures in {where}", fix="give --data a folder of pictures like those to come")
    if found == 1:
        raise UserError(
            f"one picture in {where}",
            why="ranges are measured on some pictures and the engines compared on others",
            fix="give at least two; a hundred are better",
        )
    if wanted is not None and found < wanted:
        raise UserError(
            f"{found} pictures in {where}, {wanted} asked for", fix=f"lower --pictures to {found}, or give more"
        )


def thinned(items: Sequence[Any], wanted: int) -> list[Any]:
    """At most `wanted` of `items`, evenly spread."""
    if len(items) <= wanted:
        return list(items)
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, wanted).round()]


def ready_inputs(data: Path, shape: Sequence[int], wanted: int | None) -> Pictures:
    """Network inputs from a file (see `deploy.plan.images`), which must have the sides of `shape`.

    Raises:
        UserError: another shape, or too few.
    """
    images = list(read_images(data))
    require_enough(len(images), wanted, str(data))
    found = images[0].shape[1:]
    if found != tuple(shape[1:]):
        raise UserError(
            f"{data} does not fit the network",
            why=f"it holds (C, H, W) {found}, the network takes {tuple(shape[1:])}",
            fix="write the file as the network's input has it",
        )
    chosen = thinned(range(len(images)), wanted or MOST_PICTURES)
    return Pictures([f"{data.name}[{index}]" for index in chosen], [images[index] for index in chosen], lambda x: x)


def split(pictures: Pictures) -> Parts:
    """Blocks of neighbours, of every five three to calibrate, one to choose by and one to test on."""
    total = len(pictures)
    if total < len(ROLES):  # the last is the test; the one before it chooses where two are left to calibrate
        cut = total - 1 if total < 4 else total - 2
        test = pictures.part([total - 1])
        return Parts(pictures.part(range(cut)), test if total < 4 else pictures.part([total - 2]), test)
    blocks = min(BLOCKS, total) // len(ROLES) * len(ROLES)
    roles = [ROLES[index * blocks // total % len(ROLES)] for index in range(total)]
    calibrate, choose, test = (
        pictures.part([index for index, own in enumerate(roles) if own == role]) for role in ROLES[2:]
    )
    return Parts(calibrate, choose, test)
