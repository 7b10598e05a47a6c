"""Where pictures go: one PNG each, or frames of an MP4."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import UnsupportedEnvironment, UserError
from core.files.artifacts import require_space, write_atomic
from deploy.apps.run.sources import Picture, Source, require_utf8

FOURCC = "mp4v"  # MPEG-4 part 2: the one MP4 encoder that OpenCV's wheels bring
FRAMES_PER_CHECK = 250
Write = Callable[[str, Picture], None]


@contextmanager
def open_sink(out: Path, source: Source) -> Iterator[Write]:
    """A function that takes name and picture, in order. `out` is a folder, or the file itself if it has a suffix.

    A video appears under its name only when the block ends without an error and all its frames can be read back.

    Raises:
        UserError: `out` names a file where a folder is needed, of another kind, or one that the frames are read from.
        UnsupportedEnvironment: OpenCV cannot encode MP4 here, or the disk is full.
    """
    if source.fps is None:
        if out.suffix and (source.total != 1 or out.suffix.lower() != ".png"):
            raise UserError(f"{out} cannot hold the results", why="they are PNG files", fix="give a folder with -o")

        def write(name: str, picture: Picture) -> None:
            target = out if out.suffix else out / f"{name}.png"
            _keep(source.files, target)
            write_png(target, picture)

        yield write
        return
    if out.suffix and out.suffix.lower() != ".mp4":
        raise UserError(f"{out} cannot hold the results", why="they are an MP4 video", fix="give a folder or an .mp4")
    target = out if out.suffix else out / f"{source.name}.mp4"
    require_utf8(target)
    _keep(source.files, target)
    with write_atomic(target) as temporary:
        video = _Video(temporary, target, source.fps)
        try:
            yield video.write
        finally:
            video.close()
        if not video.frames:
            raise UserError(f"{source.name} gave no frames", why="it is empty, damaged, or was stopped at once")
        video.require_whole()


def _keep(files: Sequence[Path], target: Path) -> None:
    if target.exists() and any(file.samefile(target) for file in files):
        raise UserError(f"{target} is not replaced", why="it is what the result was made from", fix="give another -o")


def require_own_folder(masks: Path, out: Path, source: Source) -> None:
    """Raise `UserError` where label maps would lie among the pictures they were made from, or replace the overlays."""
    if source.fps is not None:
        return
    others = [*(file.parent for file in source.files), out.parent if out.suffix else out]
    if any(masks.resolve() == other.resolve() for other in others):
        raise UserError(f"{masks} cannot hold the label maps", "they would replace pictures there", "name a new folder")


def write_masks(folder: Path, name: str, masks: Mapping[str, NDArray[np.uint8]]) -> None:
    """Write label maps as grey PNG files: `NAME.png`, or `NAME-ENGINE.png` where there are several engines."""
    folder.mkdir(parents=True, exist_ok=True)
    for engine, mask in masks.items():
        target = folder / (f"{name}.png" if len(masks) == 1 else f"{name}-{engine}.png")
        with write_atomic(target) as temporary:
            temporary.write_bytes(cv2.imencode(".png", mask)[1].tobytes())


def write_png(target: Path, picture: Picture) -> None:
    """Write an RGB picture atomically."""
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    with write_atomic(target) as temporary:
        temporary.write_bytes(encoded.tobytes())


class _Video:
    """Opened at the first frame, whose size all others have."""

    def __init__(self, path: Path, target: Path, fps: float) -> None:
        """Writes `path`; messages name `target`, which it becomes."""
        self._path, self._target, self._fps = path, target, fps
        self._writer: Any = None
        self.frames = 0

    def write(self, _: str, picture: Picture) -> None:
        if self._writer is None:
            size = (picture.shape[1], picture.shape[0])
            self._writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*FOURCC), self._fps, size)
            if not self._writer.isOpened():
                raise UnsupportedEnvironment(
                    "this OpenCV cannot write MP4",
                    why=f"no encoder for {FOURCC}",
                    fix="pip install opencv-python-headless",
                )
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self.frames += 1
        if self.frames % FRAMES_PER_CHECK == 0:  # a full disk ends a long video now, not when it is counted
            require_space(self._target)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def require_whole(self) -> None:
        """Count the frames in the closed file, since OpenCV's writer reports no failure; raise if some are missing."""
        reader = cv2.VideoCapture(str(self._path))
        found = 0
        while reader.grab():
            found += 1
        reader.release()
        if found == self.frames:
            return
        require_space(self._target)
        raise UnsupportedEnvironment(
            f"{self._target} cannot be written",
            why=f"only {found} of its {self.frames} frames can be read back",
            fix="check the disk, or write another file with -o",
        )
