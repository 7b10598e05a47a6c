"""What the way from image to mask costs over the network alone, and whether it gives the same masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from benchmarks import timing
from benchmarks.accuracy import Prepare, predict
from benchmarks.results import EndToEnd, Row
from benchmarks.strip import spread
from core.console import say
from deploy.targets.base import Backend, Bundle, Session
from deploy.tuning.timing import Samples
from qat.data.base import SegmentationDataset


def opened_masks(
    stack: ExitStack,
    bundles: Mapping[str, Bundle],
    backends: Mapping[str, Backend],
    dataset: SegmentationDataset,
) -> dict[str, Session]:
    """Sessions of image → mask engines by row name; one that fails is told and left out."""
    sessions = {}
    rgb = dataset[0].image[np.newaxis]
    for name, bundle in bundles.items():
        try:
            session = stack.enter_context(backends[bundle.backend].open(bundle))
            session.run({session.input_names[0]: rgb})
        except Exception as error:  # vendor runtimes raise what they like; the network's own row does not depend on it
            say(f"{name}, image to mask, failed: {' '.join(str(error).split())}")
        else:
            sessions[name] = session
    return sessions


def timing_name(row: str) -> str:
    """What the image → mask engine of a row is called among the samples."""
    return f"{row} image → mask"


def compared(
    rows: Sequence[Row],
    masks: Mapping[str, Session],
    networks: Mapping[str, Session],
    samples: Mapping[str, Samples],
    dataset: SegmentationDataset,
    prepare: Prepare,
    images: int,
) -> list[Row]:
    """The rows, with `end_to_end` where there is an image → mask engine.

    Args:
        images: how many of the data set, evenly spread, give the agreement of both ways.
    """
    return [
        row.model_copy(
            update={
                "end_to_end": EndToEnd(
                    latency_ms=timing.summarize(samples[timing_name(row.name)]),
                    cost=timing.speedup(samples[timing_name(row.name)], samples[row.name]),
                    pixel_agreement=agreement(masks[row.name], networks[row.name], dataset, prepare, images),
                )
            }
        )
        if row.name in masks
        else row
        for row in rows
    ]


def agreement(mask: Session, network: Session, dataset: SegmentationDataset, prepare: Prepare, images: int) -> float:
    """Percent of pixels that get the same class from image → mask as from preparing and upsampling outside."""
    equal = []
    for index in spread(len(dataset), images):
        sample = dataset[index]
        got = mask.run({mask.input_names[0]: sample.image[np.newaxis]})[mask.output_names[0]][0]
        equal.append(np.mean(got == predict(network, prepare(sample.image), sample.label)))
    return 100 * float(np.mean(equal))
