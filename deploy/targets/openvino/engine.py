"""An OpenVINO IR on the CPU: compiled, run and timed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.bundle.pixels import Feeder
from deploy.hardware.signal_stack import make_room
from deploy.targets.base import Tensors

MODEL, WEIGHTS = "model.xml", "model.bin"


def compile_model(model: Path, properties: Mapping[str, Any]) -> Any:
    """`openvino.CompiledModel` of an IR on the CPU."""
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", dict(properties))
    make_room()
    return compiled


class OpenVINOSession:
    """One compiled model with one request, whose tensors are filled and read in place."""

    def __init__(self, compiled: Any, feeder: Feeder) -> None:
        self._request = compiled.create_infer_request()
        self._feeder = feeder
        self.input_names = tuple(port.get_any_name() for port in compiled.inputs)
        self.output_names = tuple(port.get_any_name() for port in compiled.outputs)

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One inference; the results are copies that the next one leaves alone."""
        self._fill(feeds)
        self._request.infer()
        return {name: self._request.get_tensor(name).data.copy() for name in self.output_names}

    def time_ms(self, feeds: Tensors, runs: int) -> NDArray[np.float64]:
        """Milliseconds of each of `runs` inferences, inputs in place."""
        self._fill(feeds)
        samples = np.empty(runs)
        for index in range(runs):
            start = time.perf_counter()
            self._request.infer()
            samples[index] = (time.perf_counter() - start) * 1e3
        return samples

    def _fill(self, feeds: Tensors) -> None:
        for name, value in feeds.items():
            self._feeder.put(value, self._request.get_tensor(name).data)
