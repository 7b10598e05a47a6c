"""The gradient screen: the first-order change of the loss when a group is quantized; one backward pass for all.

A quantizer adds an error e(x) = Q(x) - x to the value x it sees. With the gradient g of the loss at that value the loss
changes by about the sum of g · e. Molchanov et al. ("Importance Estimation for Neural Network Pruning", CVPR 2019)
apply this expansion to removed weights; HAWQ (Dong et al., ICCV 2019) ranks layers by the second-order term, which
takes many more passes. The sum is taken image by image, in absolute value: over many images of a trained network the
signs cancel. The first-order term does not describe large errors; the exact measurements that follow do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.console import track
from core.errors import UserError
from qat.processes.distributed import gathered, rank, world_size
from qat.sensitivity.measure.bootstrap import measured
from qat.sensitivity.measure.trials import FLOAT, Trials
from qat.sensitivity.network.switches import Switch
from qat.sensitivity.types import Measured
from qat.tasks.bootstrap import mean
from qat.tracing.inputs import apply

PASSES = 3  # a backward pass costs about two forward passes


Tap = list[tuple[Tensor, Tensor]]  # calls of one quantizer: the error it would add, and the tensor with gradient g


def first_order(trials: Trials, indices: Sequence[int], seed: int) -> dict[str, Measured]:
    """Change of the loss by group: mean over images of |sum of gradient times quantization error|.

    Raises:
        UserError: the loss has no gradient.
    """
    mine = indices[rank() :: world_size()]
    found = {index: _image(trials, index) for index in track(mine, "gradient screen")}
    trials.forwards += PASSES * len(mine)
    trials.check()
    merged = {index: changes for part in gathered(found) for index, changes in part.items()}
    scores = {}
    for group in trials.subject.groups:
        values = np.array([merged[index][group.name] for index in indices])
        scores[group.name] = measured(partial(mean, values), len(indices), seed)
    return scores


def _image(trials: Trials, index: int) -> dict[str, float]:
    """Change of the loss by group, for one image."""
    subject = trials.subject
    inputs, target = trials.inputs((index,))
    with subject.only(FLOAT), _tapped(subject.model, subject.switches()) as taps, torch.enable_grad():
        loss = trials.criterion(apply(subject.model, inputs), target)
        places = [place for tap in taps.values() for _, place in tap]
        if not loss.requires_grad:
            raise UserError(
                "the loss has no gradient, which `screen: gradient` needs",
                why="forward() or the criterion detaches its result",
                fix="use screen: distance",
            )
        gradients = iter(torch.autograd.grad(loss, places, allow_unused=True))
    changes = {path: sum(_product(next(gradients), error) for error, _ in tap) for path, tap in taps.items()}
    return {group.name: abs(sum(changes[path] for path in group.quantizers)) for group in subject.groups}


def _product(gradient: Tensor | None, error: Tensor) -> float:
    return 0.0 if gradient is None else float((gradient.double() * error.double()).sum())


@contextmanager
def _tapped(model: nn.Module, switches: dict[str, Switch]) -> Iterator[dict[str, Tap]]:
    """Within the context, record the error that every quantizer in `switches` would add; all of them are off."""
    taps: dict[str, Tap] = {path: [] for path in switches}
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
        error = quantizer.forward(value.clone()) - value
        switch.turn(False)
    place = torch.zeros_like(output, requires_grad=True)
    tap.append((error, place))
    return output + place
