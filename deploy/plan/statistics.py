"""The statistics pass over a float ONNX graph: measures magnitudes of tensors on calibration images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from core.console import track
from core.errors import UserError
from deploy.graph.debug_session import watching
from deploy.plan.histogram import Histogram


def collect(graph: gs.Graph, tensors: Sequence[str], images: Sequence[NDArray[np.float32]]) -> dict[str, Histogram]:
    """A histogram of |x| of each of `tensors`; ONNX Runtime runs the graph with nothing fused.

    Args:
        graph: float, with one input; each image is repeated to fill a larger fixed batch.
        tensors: activations of `graph`.
        images: network inputs, float32 (1, C, H, W) each.

    Raises:
        UserError: the images do not fit the graph, or a tensor is not finite on one of them.
    """
    session = watching(gs.export_onnx(graph), tensors)
    feed = session.get_inputs()[0]
    batch = feed.shape[0] if isinstance(feed.shape[0], int) else 1
    histograms = [Histogram(name) for name in tensors]
    for image in track(images, "observe"):
        try:
            values = session.run(list(tensors), {feed.name: np.repeat(image, max(1, batch // len(image)), axis=0)})
        except Exception as error:  # ONNX Runtime has one exception type per status code
            raise UserError("the calibration images do not fit the graph", why=str(error)) from error
        for histogram, value in zip(histograms, values, strict=True):
            histogram.update(value)
    return dict(zip(tensors, histograms, strict=True))
