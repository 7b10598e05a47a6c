"""Quantizers that are watched, or that compute something else for a while; the network and its ranges stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from qat.calibration.histogram import TensorHistogram
from qat.quantization.fake_quant import broadcast
from qat.quantization.quantizers import QMAX, Quantizer
from qat.sensitivity.network.foreign import range_of
from qat.sensitivity.network.subject import Subject
from qat.sensitivity.network.switches import Switch
from qat.tracing.inputs import Inputs, apply, device_of

TINY = 1e-9

Replacement = Callable[[Tensor, int], Tensor]  # of a quantizer's input, and how often it was called before in this pass


@dataclass
class Seen:
    """One quantizer with a range, and what reaches it in the float network.

    Attributes:
        amax: the range, in a shape that broadcasts against the values.
        shared: it is the same for all channels.
        part: "weight" or "activation".
        histogram: of all magnitudes.
        calls: the largest magnitude of each channel, by call: several where tensors share the quantizer.
    """

    amax: Tensor
    shared: bool
    part: str
    histogram: TensorHistogram
    calls: list[Tensor] = field(default_factory=list)

    @property
    def largest(self) -> Tensor:
        """The largest value over all channels and all calls."""
        return torch.stack([call.max() for call in self.calls]).max().clamp_min(TINY)


def look(subject: Subject, quantizers: Mapping[str, Switch], inputs: Iterable[Inputs]) -> dict[str, Seen]:
    """The values that reach each quantizer on `inputs`; one without a range, or that nothing reaches, is left out."""
    found: dict[str, Seen] = {}

    def record(path: str, x: Tensor, call: int) -> Tensor:
        switch = quantizers[path]
        if path not in found:
            found[path] = _unseen(switch, path, x)
        own, largest = found[path], _of_channels(x, _axis(switch, x))
        own.histogram.update(x)
        if call < len(own.calls):
            own.calls[call] = torch.maximum(own.calls[call], largest)
        else:
            own.calls.append(largest)
        return x

    with_range = [path for path, switch in quantizers.items() if range_of(switch.quantizer) is not None]
    ranged = {path: partial(record, path) for path in with_range}
    for batch in inputs:
        with torch.no_grad(), subject.only(frozenset()), replacing(subject.model, ranged):
            apply(subject.model, send_to_device(batch, device_of(subject.model)))
    return found


@contextmanager
def replacing(model: nn.Module, replacements: Mapping[str, Replacement]) -> Iterator[None]:
    """Within the context, for one pass through `model`, the quantizers at these paths compute something else."""
    calls: Counter[str] = Counter()

    def replace(path: str, _quantizer: nn.Module, inputs: tuple[Any, ...], _output: Any) -> Tensor:
        calls[path] += 1
        return replacements[path](inputs[0], calls[path] - 1)

    handles = [model.get_submodule(path).register_forward_hook(partial(replace, path)) for path in replacements]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def int8(amax: Tensor, x: Tensor, _call: int = 0, *, rounds: bool = True, clips: bool = True) -> Tensor:
    """`x` through int8 with the range `amax`, which broadcasts against it."""
    step = (amax.to(x.device) / QMAX).clamp_min(TINY)
    steps = (x / step).round() if rounds else x / step
    return (steps.clamp(-QMAX - 1, QMAX) if clips else steps) * step


def _unseen(switch: Switch, path: str, x: Tensor) -> Seen:
    own = switch.quantizer
    if isinstance(own, Quantizer):
        amax, shared = broadcast(own.ranges.detach(), x, own.axis), own.axis is None or own.shared
    else:
        given = range_of(own)
        assert given is not None
        amax, shared = given, given.numel() == 1
    return Seen(amax, shared, switch.part, TensorHistogram(path))


def _axis(switch: Switch, x: Tensor) -> int:
    own = getattr(switch.quantizer, "axis", None)
    return own if isinstance(own, int) else 0 if switch.part == "weight" else min(1, x.ndim - 1)


def _of_channels(x: Tensor, axis: int) -> Tensor:
    return x.detach().abs().amax([dim for dim in range(x.ndim) if dim != axis], keepdim=True)
