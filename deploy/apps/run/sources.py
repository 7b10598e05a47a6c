"""Where frames come from: an image, a folder of images, a video file, or a camera."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.console import warn
from core.errors import UnsupportedEnvironment, UserError
from core.files.image_file import read_image
from core.nearest import path_hint

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
DEFAULT_FPS = 25.0  # of a video or camera that does not state its own
# Some containers hold no count: OpenCV then takes duration times frame rate, which may be a little more than there is.
UNSURE_FRAMES, UNSURE_SHARE = 2, 0.01

Picture = NDArray[np.uint8]  # RGB (H, W, 3)


@dataclass(frozen=True)
class Frame:
    """One picture and the name that a file made of it gets."""

    name: str
    image: Picture


@dataclass(frozen=True)
class Source:
    """Frames, read one at a time; `fps` is None for images, which become files of their own.

    `files` are the files that the frames are read from; results never replace them.
    """

    name: str
    frames: Iterator[Frame]
    total: int | None
    fps: float | None
    files: tuple[Path, ...] = ()


def open_source(text: str, limit: int | None = None) -> Source:
    """Return the frames of a file, a folder or a camera; a number that is not the name of a file is a camera's.

    Args:
        limit: how many frames at most.

    Raises:
        UserError: there is no such file, or it cannot be read (images: when their turn comes).
        UnsupportedEnvironment: there is no such camera.
    """
    path = Path(text)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not file.is_dir())
        files = files[:limit]
        if not files:
            raise UserError(
                f"no images in {path}", why=f"none of its files ends in {', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        stems = Counter(file.stem for file in files)
        names = [file.stem if stems[file.stem] == 1 else file.name for file in files]  # a.jpg and a.png stay apart
        return Source(path.name, map(read_frame, files, names), len(files), None, tuple(files))
    if text.isdecimal() and not path.exists():
        return _video(cv2.VideoCapture(int(text)), f"camera{text}", limit, _no_camera(text))
    if not path.is_file():
        raise UserError(
            f"no file or folder {path}",
            fix=path_hint(path, "give an image, a folder, a video, or the number of a camera"),
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Source(path.stem, iter([read_frame(path)]), 1, None, (path,))
    require_utf8(path)
    return replace(_video(cv2.VideoCapture(str(path)), path.stem, limit, _no_video(path)), files=(path,))


def read_frame(path: Path, name: str = "") -> Frame:
    """An image file under that name, or its own; raises `UserError` when OpenCV cannot decode it."""
    return Frame(name or path.stem, _rgb(read_image(path)))


def require_utf8(video: Path) -> None:
    """Raise `UserError` for a file name that OpenCV's video code cannot take: it would crash."""
    try:
        str(video).encode()
    except UnicodeEncodeError as error:
        shown = str(video).encode(errors="replace").decode()
        raise UserError(f"{shown} cannot be a video here", "its name is not valid UTF-8", "rename the file") from error


def _video(capture: Any, name: str, limit: int | None, refusal: UserError) -> Source:
    if not capture.isOpened():
        capture.release()
        raise refusal
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    total = min(count, limit or count) if count > 0 else limit
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return Source(name, islice(_decoded(capture, name, count), limit), total, fps if fps > 0 else DEFAULT_FPS)


def _decoded(capture: Any, name: str, promised: int) -> Iterator[Frame]:
    """Frames until the decoder finds no more; `promised` is their number by the file's header, 0 if it has none."""
    try:
        number = 0
        while True:
            there, image = capture.read()
            if not there:
                break
            yield Frame(f"{name}_{number:06d}", _rgb(image))
            number += 1
    finally:
        capture.release()
    missing = promised - number
    if missing > max(UNSURE_FRAMES, UNSURE_SHARE * promised):
        raise UserError(
            f"{name} ends after {number} of {promised} frames",
            why="the file is cut short or damaged",
            fix=f"copy it again, or take what is there with --frames {number}",
        )
    if missing > 0:
        warn(f"{name} has {number} frames, its header says {promised}")


def _no_camera(number: str) -> UserError:
    return UnsupportedEnvironment(
        f"camera {number} cannot be opened", why="it is absent, busy, or not permitted", fix="see /dev/video*"
    )


def _no_video(path: Path) -> UserError:
    return UserError(
        f"{path} cannot be opened as a video",
        why="it is not a video, or this OpenCV has no decoder for its codec",
        fix="convert it, for example with `ffmpeg -i IN -c:v libx264 OUT.mp4`",
    )


def _rgb(image: Any) -> Picture:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
