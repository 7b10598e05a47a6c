"""What values tensors take on calibration images: scales for pairs that were not there in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.console import track
from core.errors import UserError
from deploy.apply.insert import QMAX, Scale
from deploy.graph.debug_session import watching

SMALLEST_AMAX = 1e-6  # a tensor that is all zero quantizes to zero with any scale


def observe(graph: gs.Graph, tensors: Sequence[str], calibration: Path) -> dict[str, Scale]:
    """The symmetric scale that covers the largest magnitude of each of `tensors`, per tensor.

    The float graph is run by ONNX Runtime, nothing fused.

    Args:
        graph: a float graph with one input; one of a larger batch gets each image that often.
        tensors: activations of `graph`.
        calibration: see `read_images`.

    Raises:
        UserError: the file is no calibration file, or its images do not fit the graph.
    """
    session = watching(gs.export_onnx(graph), tensors)
    feed = session.get_inputs()[0]
    batch = feed.shape[0] if isinstance(feed.shape[0], int) else 1
    largest = np.zeros(len(tensors))
    for image in track(list(read_images(calibration)), "observe"):
        try:
            values = session.run(list(tensors), {feed.name: np.repeat(image, batch, axis=0)})
        except Exception as error:  # ONNX Runtime has an exception type for each of its status codes
            raise UserError(f"{calibration} does not fit the graph", why=str(error)) from error
        largest = np.maximum(largest, [float(np.abs(value).max()) for value in values])
    if not np.isfinite(largest).all():
        wrong = [name for name, value in zip(tensors, largest, strict=True) if not np.isfinite(value)]
        raise UserError(f"tensor {wrong[0]} is not finite on the calibration images", fix="check the model")
    amax = np.maximum(largest, SMALLEST_AMAX)
    return {name: Scale(np.array(value / QMAX, dtype=np.float32)) for name, value in zip(tensors, amax, strict=True)}


def read_images(path: Path) -> Iterator[NDArray[np.float32]]:
    """Network inputs, one at a time with a batch axis.

    Two kinds of file are read: `.npy` with float32 (N, C, H, W), ready to feed; and the `.npz` that the QAT stage
    writes, with `images` uint8 (N, H, W, C) RGB and `mean` and `std` of x / 255.
    """
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is no calibration file", why=str(error), fix="give .npy or .npz, see --help"
        ) from error
    if isinstance(stored, np.ndarray):
        yield from (image[np.newaxis].astype(np.float32) for image in stored)
        return
    with stored:
        if missing := {"images", "mean", "std"} - set(stored.files):
            raise UserError(f"{path} lacks {', '.join(sorted(missing))}", fix="give the calibration.npz of a run")
        images, mean, std = (stored[key] for key in ("images", "mean", "std"))
    for image in images:
        floats = (image.astype(np.float32) / 255 - mean.astype(np.float32)) / std.astype(np.float32)
        yield np.ascontiguousarray(floats.transpose(2, 0, 1)[np.newaxis], dtype=np.float32)
