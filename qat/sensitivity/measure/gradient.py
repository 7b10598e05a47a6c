"""The gradient screen: what the loss changes by, to first order, when a unit is quantized; one backward pass for all.

A quantizer adds an error e(x) = Q(x) - x to the value x it sees. With the gradient g of the loss at that value the loss
changes by about the sum of g · e. The expansion is the one that Molchanov et al. ("Importance Estimation for Neural
Network Pruning", CVPR 2019) apply to removed weights; HAWQ (Dong et al., ICCV 2019) ranks layers by the second-order
term, which takes many more passes. It is taken image by image, in absolute value: over many images of a trained
network the signs cancel. An error that is not small is not described by its first-order term; the exact
measurements that follow are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.console import track
from core.errors import UserError
from qat.processes.distributed import gathered, rank, world_size
from qat.sensitivity.measure.bootstrap import mean, measured
from qat.sensitivity.measure.probes import FLOAT, Probes
from qat.sensitivity.network.switches import Switch
from qat.sensitivity.types import Measured
from qat.tracing.inputs import apply

PASSES = 3  # a backward pass costs about two forward passes


@dataclass
class Tap:
    """Calls of one quantizer in one pass: the error it would add, and where the loss's gradient is read."""

    errors: list[Tensor] = field(default_factory=list)
    places: list[Tensor] = field(default_factory=list)


def first_order(probes: Probes, indices: Sequence[int], seed: int) -> dict[str, Measured]:
    """By unit: mean over images of |sum of gradient times quantization error|, in units of the loss, with its interval.

    Raises:
        UserError: the loss has no gradient.
    """
    mine = indices[rank() :: world_size()]
    found = {index: _image(probes, index) for index in track(mine, "gradient screen")}
    probes.forwards += PASSES * len(mine)
    probes.check()
    merged = {index: changes for part in gathered(found) for index, changes in part.items()}
    scores = {}
    for unit in probes.subject.units:
        values = np.array([merged[index][unit.name] for index in indices])
        scores[unit.name] = measured(partial(mean, values), len(indices), seed)
    return scores


def _image(probes: Probes, index: int) -> dict[str, float]:
    """By unit, for one image."""
    subject = probes.subject
    inputs, target = probes.inputs((index,))
    with subject.only(FLOAT), _tapped(subject.model, subject.switches()) as taps, torch.enable_grad():
        loss = probes.criterion(apply(subject.model, inputs), target)
        places = [place for tap in taps.values() for place in tap.places]
        if not loss.requires_grad:
            raise UserError(
                "the loss has no gradient, which `screen: gradient` needs",
                why="forward() or the criterion detaches its result",
                fix="use screen: distance",
            )
        gradients = iter(torch.autograd.grad(loss, places, allow_unused=True))
    changes = {path: sum(_product(next(gradients), error) for error in tap.errors) for path, tap in taps.items()}
    return {unit.name: abs(sum(changes[path] for path in unit.quantizers)) for unit in subject.units}


def _product(gradient: Tensor | None, error: Tensor) -> float:
    return 0.0 if gradient is None else float((gradient.double() * error.double()).sum())


@contextmanager
def _tapped(model: nn.Module, switches: dict[str, Switch]) -> Iterator[dict[str, Tap]]:
    """Within the context every quantizer in `switches`, all of them off, notes what it would do."""
    taps = {path: Tap() for path in switches}
    hooks = [
        model.get_submodule(path).register_forward_hook(partial(_note, taps[path], switch))
        for path, switch in switches.items()
    ]
    try:
        yield taps
    finally:
        for hook in hooks:
            hook.remove()


def _note(tap: Tap, switch: Switch, quantizer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    with torch.no_grad():
        switch.turn(True)
        value = inputs[0].detach()
        tap.errors.append(quantizer.forward(value.clone()) - value)
        switch.turn(False)
    place = torch.zeros_like(output, requires_grad=True)
    tap.places.append(place)
    return output + place
