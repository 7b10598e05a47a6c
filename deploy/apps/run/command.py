"""The command itself: open engines, push frames through them, draw, write, and count."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.console import say, track
from core.errors import UnsupportedEnvironment, UserError, last_line
from deploy.apps.run.inference import Mask, Mode, Requests, Wait, open_requests
from deploy.apps.run.overlay import difference, overlay, side_by_side, to_engine, with_legend
from deploy.apps.run.sinks import open_sink, require_own_folder, write_masks
from deploy.apps.run.sources import Frame, Picture, open_source
from deploy.bundle.advice import engines_near, rebuild
from deploy.bundle.meaning import MASK_SUFFIX, is_mask, mask_bundle_beside
from deploy.bundle.store import read_bundle
from deploy.bundle.types import Bundle
from deploy.targets import get_backend, title_of


@dataclass(frozen=True)
class Summary:
    """The number of frames, and the time they took.

    Attributes:
        seconds: from the first frame read to the last one written.
        ms: median from image to mask, by precision.
    """

    frames: int
    seconds: float
    ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Frames per second, reading, drawing and writing included."""
        return self.frames / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"frames": self.frames, "seconds": self.seconds, "fps": self.fps, "ms": dict(self.ms)}


def run(
    folder: Path,
    source_text: str,
    out: Path,
    mode: Mode = "latency",
    compare: Sequence[str] = (),
    threads: int = 1,
    limit: int | None = None,
    masks_to: Path | None = None,
) -> Summary:
    """Segment all frames of a source and write overlays.

    Args:
        folder: an engine bundle; that of a network alone stands for its image → mask neighbour.
        compare: precisions to show side by side in place of the bundle's own, with the time of each; two are followed
            by a picture of the pixels whose class differs.
        masks_to: a folder for label maps: grey PNG files of the engine's size, whose values are class indices.

    Raises:
        UserError: no such bundle, an unreadable source, or results that `out` cannot hold.
    """
    bundles: dict[str, Bundle] = {bundle.precision: bundle for bundle in select(folder, compare)}
    meaning = next(iter(bundles.values())).manifest["meaning"]
    colors = np.array([entry["color"] for entry in meaning["classes"]], np.uint8)
    size = meaning["input"]["height_px"], meaning["input"]["width_px"]
    source = open_source(source_text, limit)
    if masks_to is not None:
        require_own_folder(masks_to, out, source)
    with ExitStack() as stack:
        engines = {name: _opened(stack, bundle, mode, threads, size) for name, bundle in bundles.items()}
        write = stack.enter_context(open_sink(out, source))
        start, frames = time.perf_counter(), 0
        try:
            for frame, masks in segmented(engines, track(source.frames, source.name, total=source.total), size):
                captions = {name: _caption(name, requests) for name, requests in engines.items()}
                write(frame.name, drawn(frame.image, masks, colors, meaning["classes"], captions))
                if masks_to is not None:
                    write_masks(masks_to, frame.name, masks)
                frames += 1
        except KeyboardInterrupt:  # how a camera is stopped; what was recorded is kept
            say("stopped")
        seconds = time.perf_counter() - start
    times = {name: float(np.median(each.times_ms)) for name, each in engines.items() if each.times_ms}
    summary = Summary(frames, seconds, times)
    for name, ms in times.items():
        say(f"{title_of(bundles[name].backend)} {name}: {ms:.1f} ms per frame from image to mask")
    count = "1 frame" if summary.frames == 1 else f"{summary.frames} frames"
    say(f"{count}, {summary.fps:.1f} FPS with reading, drawing and writing: {out}")
    return summary


def _caption(name: str, requests: Requests) -> str:
    return f"{name}, {np.median(requests.times_ms):.1f} ms" if requests.times_ms else name


def _opened(stack: ExitStack, bundle: Bundle, mode: Mode, threads: int, size: tuple[int, int]) -> Requests:
    """The engine, after its first inference, which allocates what the others reuse."""
    try:
        requests = stack.enter_context(open_requests(bundle, mode, threads))
        requests.submit(np.zeros((*size, 3), np.uint8))()
    except (UserError, ModuleNotFoundError):
        raise
    except Exception as error:  # a vendor's library may raise anything
        raise UserError(f"{bundle.dir} does not run", last_line(error), rebuild(bundle.dir)) from error
    requests.times_ms.clear()
    return requests


def select(folder: Path, compare: Sequence[str]) -> list[Bundle]:
    """The image → mask bundles that the command line names.

    Raises:
        UserError: there is no such bundle.
        UnsupportedEnvironment: it cannot run here.
    """
    named = read_bundle(folder)
    home = mask_bundle_beside(named)
    folders = [home.with_name(f"{named.backend}-{precision}{MASK_SUFFIX}") for precision in compare] or [home]
    bundles = []
    for path in folders:
        if not path.is_dir():
            raise UserError(
                f"no image → mask engine in {path}",
                why="it was not built, or its build failed",
                fix=f"add the precision to deploy.image_to_mask of its run and build it; {engines_near(path)}",
            )
        bundle = read_bundle(path)
        if not is_mask(bundle):
            raise UserError(f"{path} is not an image → mask engine", fix=engines_near(path))
        blocked = get_backend(bundle.backend).runnable(bundle.precision)
        if blocked is not None:
            raise UnsupportedEnvironment(f"{path} cannot run here", why=blocked.why, fix=blocked.fix)
        bundles.append(bundle)
    return bundles


def segmented(
    engines: Mapping[str, Requests], frames: Iterator[Frame], size: tuple[int, int]
) -> Iterator[tuple[Frame, dict[str, Mask]]]:
    """Every frame with the mask of each engine, in order; as many frames are under way as all engines allow."""
    under_way: deque[tuple[Frame, dict[str, Wait]]] = deque()
    capacity = min(requests.capacity for requests in engines.values())
    for frame in frames:
        if len(under_way) == capacity:
            yield _finished(under_way.popleft())
        image = to_engine(frame.image, *size)
        under_way.append((frame, {name: requests.submit(image) for name, requests in engines.items()}))
    while under_way:
        yield _finished(under_way.popleft())


def _finished(item: tuple[Frame, dict[str, Wait]]) -> tuple[Frame, dict[str, Mask]]:
    frame, waits = item
    return frame, {name: wait() for name, wait in waits.items()}


def drawn(
    image: Picture,
    masks: Mapping[str, Mask],
    colors: NDArray[np.uint8],
    classes: Sequence[Mapping[str, Any]],
    captions: Mapping[str, str] | None = None,
) -> Picture:
    """Overlays with a legend; several are put side by side after the image, two also with their difference.

    Args:
        captions: texts above the overlays, by the name of the mask; None for the names.

    Raises:
        UserError: a mask holds a class without a colour.
    """
    for name, mask in masks.items():
        if mask.max() >= len(colors):
            raise UserError(
                f"the {name} engine gives class {mask.max()}",
                why=f"its manifest has {len(colors)} classes",
                fix="build it again with the classes of its network",
            )
    pictures = {(captions or {}).get(name, name): overlay(image, mask, colors) for name, mask in masks.items()}
    if len(pictures) == 1:
        return with_legend(next(iter(pictures.values())), classes)
    if len(masks) == 2:
        one, other = masks.values()
        pictures[f"difference, {(one != other).mean():.2%} of pixels"] = difference(image, one, other)
    return with_legend(side_by_side({"image": image, **pictures}), classes)
