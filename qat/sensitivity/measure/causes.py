"""The fault of a quantizer group that does the damage, and its remedy: the noise left without each fault is measured.

| fault | without it |
|---|---|
| clipping | there are as many steps of the same size as the values need |
| rounding | values within the range keep their digits |
| channels: one scale for all | each channel has a scale |
| tensors: one scale for all | each tensor that shares the quantizer has a scale |

Sharing a scale makes steps too coarse for some. Where scales of their own take away half of the noise, sharing is the
fault, and not rounding. A remedy is a change that an engine can have: the range of another calibrator, a scale for each
channel of a weight, a scale for each tensor. The measure is the noise at the network's output with the group alone
quantized, so no labels are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import torch

from core.config import ActivationCalibrator
from core.console import track
from deploy.plan.thresholds import amax_from
from qat.sensitivity.measure.distance import distance
from qat.sensitivity.measure.replaced import TINY, Replacement, Seen, int8, look, replacing
from qat.sensitivity.network.subject import Subject
from qat.sensitivity.types import Cause, QuantizerGroup
from qat.tracing.inputs import Inputs, apply

CALIBRATORS: tuple[ActivationCalibrator, ...] = get_args(ActivationCalibrator)
SAME_RANGE = 0.02  # ranges that differ by a smaller share are one

Changed = dict[str, Replacement]  # by path of the quantizer


def causes_of(
    subject: Subject, groups: Sequence[QuantizerGroup], images: Sequence[Inputs], calibration: Iterable[Inputs]
) -> tuple[Cause, ...]:
    """Faults and remedies of each group that adds noise; one that has a quantizer without a range is left out.

    Args:
        images: noise is measured on these.
        calibration: ranges of remedies come from these.
    """
    quantizers = {path: subject.all_switches[path] for group in groups for path in group.quantizers}
    seen = look(subject, quantizers, calibration)
    with torch.no_grad(), subject.only(frozenset()):
        references = [apply(subject.model, image) for image in images]
    found = []
    for group in track([group for group in groups if seen.keys() >= set(group.quantizers)], "causes"):
        noise = partial(_noise, subject, group, images, references)
        own = {path: seen[path] for path in group.quantizers}
        plain = noise({})
        if plain > 0:
            without, mends = ({name: noise(each) for name, each in made(own).items()} for made in (_faultless, _mended))
            found.append(Cause(group.name, plain, without, mends))
    return tuple(found)


def _faultless(seen: Mapping[str, Seen]) -> dict[str, Changed]:
    """The quantizers without each fault that they can have."""
    faults: dict[str, Changed] = {
        "clipping": {path: partial(int8, own.amax, clips=False) for path, own in seen.items()},
        "rounding": {path: partial(int8, own.amax, rounds=False) for path, own in seen.items()},
        "channels": {path: partial(_by_channel, own) for path, own in seen.items() if own.shared},
        "tensors": _apart(seen),
    }
    return {name: changed for name, changed in faults.items() if changed}


def _mended(seen: Mapping[str, Seen]) -> dict[str, Changed]:
    """The quantizers with each remedy that changes them."""
    weights = {path: own for path, own in seen.items() if own.part == "weight" and own.shared}
    mends: dict[str, Changed] = {
        "a scale per channel": {path: partial(_by_channel, own) for path, own in weights.items()},
        "a scale per tensor": _apart(seen),
    }
    for method in CALIBRATORS:
        ranges = {path: amax_from(own.histogram, method) for path, own in seen.items() if own.part == "activation"}
        mends[method] = {
            path: partial(int8, torch.tensor(amax))
            for path, amax in ranges.items()
            if abs(amax / float(seen[path].amax.max()) - 1) > SAME_RANGE
        }
    return {name: changed for name, changed in mends.items() if changed}


def _apart(seen: Mapping[str, Seen]) -> Changed:
    return {path: partial(_by_call, own) for path, own in seen.items() if len(own.calls) > 1}


def _by_channel(seen: Seen, x: torch.Tensor, call: int) -> torch.Tensor:
    return int8(seen.amax * seen.calls[call] / seen.largest, x)


def _by_call(seen: Seen, x: torch.Tensor, call: int) -> torch.Tensor:
    return int8(seen.amax * seen.calls[call].max() / seen.largest, x)


def _noise(
    subject: Subject, group: QuantizerGroup, images: Sequence[Inputs], references: Sequence[Any], changed: Changed
) -> float:
    """Energy of the output's error over that of the output, with `group` alone quantized."""
    found = []
    for image, reference in zip(images, references, strict=True):
        with torch.no_grad(), subject.only(frozenset({group.name})), replacing(subject.model, changed):
            found.append(distance(reference, apply(subject.model, image)))
    return sum(item["noise"] for item in found) / max(sum(item["signal"] for item in found), TINY)
