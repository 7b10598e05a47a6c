"""An ONNX Runtime session on the CPU: opened, run and timed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.bundle.pixels import Feeder
from deploy.targets.base import Tensors

MODEL = "model.onnx"
_ERRORS_ONLY = 3
# Without VNNI or AMX, its x86 kernels add two products of uint8 and int8 in 16 bits, which may overflow. With this
# entry they take uint8 weights there, whose products are added in 32 bits.
# Source: onnxruntime_session_options_config_keys.h.
_EXACT_SUMS = ("session.x64quantprecision", "1")


class ONNXRuntimeSession:
    """A session whose tensors are bound once and reused while it is timed."""

    def __init__(self, session: Any, feeder: Feeder) -> None:
        self._session = session
        self._feeder = feeder
        self.input_names = tuple(value.name for value in session.get_inputs())
        self.output_names = tuple(value.name for value in session.get_outputs())

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One inference."""
        values = self._session.run(list(self.output_names), self._feeder.ready(feeds))
        return dict(zip(self.output_names, values, strict=True))

    def time_ms(self, feeds: Tensors, runs: int) -> NDArray[np.float64]:
        """Milliseconds of each of `runs` inferences on bound tensors."""
        binding = self._session.io_binding()
        for name, value in self._feeder.ready(feeds).items():
            binding.bind_cpu_input(name, value)
        for name in self.output_names:
            binding.bind_output(name)
        samples = np.empty(runs)
        for index in range(runs):
            start = time.perf_counter()
            self._session.run_with_iobinding(binding)
            samples[index] = (time.perf_counter() - start) * 1e3
        return samples


def open_session(model: Path, threads: int, save_to: Path | None = None, profile_to: Path | None = None) -> Any:
    """An `InferenceSession` on the CPU, `threads` wide.

    Args:
        save_to: file that gets the optimised graph.
        profile_to: folder that gets the profile when `end_profiling` is called.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(*_EXACT_SUMS)
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    if profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_to / "profile")
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
