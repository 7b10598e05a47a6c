"""Measures the chosen engine: its loss, metric and latency beside the simulator's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.console import say
from deploy.targets.base import Session
from deploy.tuning.timing import paired_ratio
from qat.sensitivity.decide.engines import ALL_FLOAT, ALL_INT8, Engines, Skip
from qat.sensitivity.decide.pareto import median_ms
from qat.tracing.inputs import device_of

Score = Callable[[nn.Module], tuple[float, float | None]]  # loss and metric of a function from images to outputs


class EngineModule(nn.Module):
    """An engine as a PyTorch module; it runs image by image, since engines have a batch of one.

    Args:
        names: of the inputs, in the order in which the network takes them.
        device: of the outputs, and of an empty parameter that lets code find the network's device.
    """

    def __init__(self, session: Session, names: Sequence[str], device: torch.device) -> None:
        super().__init__()
        self._session, self._names = session, tuple(names)
        self.place = nn.Parameter(torch.empty(0, device=device), requires_grad=False)

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """The first output for each of the N images of the network's inputs, stacked."""
        given = {**dict(zip(self._names, inputs, strict=False)), **named}
        arrays = {name: _array(given[name]) for name in self._session.input_names}
        count, found = min(map(len, arrays.values())), []
        for index in range(count):
            image = {name: array[index : index + 1] for name, array in arrays.items()}
            found.append(self._session.run(image)[self._session.output_names[0]])
        return torch.from_numpy(np.concatenate(found)).to(self.place.device)


def _array(value: Tensor) -> NDArray[Any]:
    values: NDArray[Any] = (value.float() if value.is_floating_point() else value).detach().cpu().numpy()
    return values


def engine_check(engines: Engines, skip: Skip, simulated: nn.Module, score: Score) -> dict[str, Any]:
    """Build the chosen engine, time it beside all-INT8 and all-float engines, and score it and its simulation.

    Args:
        simulated: the fake-quantized model on which the choice was made.
        score: measures on the validation data.

    Returns:
        JSON values: loss and metric of the engine and of the simulation, latencies, convolutions in INT8.
    """
    wanted = {"chosen": skip, "int8": ALL_INT8, "float": ALL_FLOAT}
    samples = engines.time(wanted)
    with engines.backend.open(engines.bundle(skip)) as session:
        loss, metric = score(EngineModule(session, tuple(engines.feeds), device_of(simulated)))
    simulated_loss, simulated_metric = score(simulated)
    convs = [layer for layer in engines.backend.layers(engines.bundle(skip)) if layer.kind == "Conv"]
    say(f"engine: loss {loss:.4g}, simulated {simulated_loss:.4g}; {float(np.median(samples['chosen'])):.2f} ms")
    return {
        "backend": engines.backend.name,
        "version": engines.backend.version(),
        "threads": engines.bench.threads,
        "loss": loss,
        "metric": metric,
        "simulated_loss": simulated_loss,
        "simulated_metric": simulated_metric,
        "latency_ms": {name: asdict(median_ms(found)) for name, found in samples.items()},
        "speedup_vs_float": asdict(paired_ratio(samples["float"], samples["chosen"])),
        "convs_total": len(convs),
        "convs_int8": sum(layer.precision == "int8" for layer in convs),
    }
