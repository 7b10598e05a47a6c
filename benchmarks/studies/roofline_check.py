"""Predicted against measured order of a CPU engine's layers: does the roofline of `deploy.apps.roofline` rank them?

python -m benchmarks.studies.roofline_check BUNDLE --device my_cpu.yaml [--runs 50]

The times are those of the vendor's own profiler. A rank correlation of 1 is the measured order, 0 is chance.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.cli.command import run_command
from core.cli.options import add_common_options, count
from core.cli.parser import Parser
from core.errors import UserError
from deploy.apps.roofline import estimate, find_device
from deploy.bundle.store import read_bundle
from deploy.hardware.cpu import cpu_model
from deploy.targets import get_backend
from deploy.targets.layer_times import layer_times


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's coefficient: the correlation of ranks, equal values at their mean rank."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    found = np.asarray(values)
    return np.array([(found < value).sum() + ((found == value).sum() - 1) / 2 for value in found])


def check(folder: Path, device_name: str, runs: int) -> str:
    """The lines that the command prints.

    Raises:
        UserError: the backend has no profiler here.
    """
    bundle = read_bundle(folder)
    name, device = find_device(device_name)
    layers = get_backend(bundle.backend).layers(bundle)
    predicted = {layer.name: layer.us for layer in estimate(layers, bundle.precision, name, device).layers}
    image = bundle.manifest["tensors"]["inputs"][0]
    noise = np.random.default_rng(0).uniform(0, 1, image["shape"]).astype(image["dtype"])
    times = layer_times(bundle, {image["name"]: noise}, runs)
    if times is None:
        raise UserError(f"{bundle.backend} has no profiler here", fix="give an OpenVINO or ONNX Runtime bundle")
    kinds = {layer.name: layer.kind for layer in layers}
    joined = [(predicted[time.name], time.ms * 1e3, kinds[time.name]) for time in times if time.name in predicted]
    lines = [f"{bundle.dir.name} on {cpu_model()}, {get_backend(bundle.backend).version()}, median of {runs} runs"]
    for label, rows in (("all layers", joined), ("convolutions", [row for row in joined if row[2] == "Conv"])):
        estimated, measured, _ = zip(*rows, strict=True)
        lines.append(
            f"{label}: {len(rows)}, rank correlation {rank_correlation(estimated, measured):.2f}, "
            f"estimate {sum(estimated):.0f} µs, measured {sum(measured):.0f} µs"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line; returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python -m benchmarks.studies.roofline_check") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("bundle", type=Path, help="folder of a CPU engine")
    made.add_argument("--device", required=True, metavar="NAME", help="as for `inspect`, such as my_cpu.yaml")
    made.add_argument("--runs", type=count, default=50, help="of the profiler")
    add_common_options(made)
    made.set_defaults(run=lambda given: print(check(given.bundle, given.device, given.runs)))
    return made


if __name__ == "__main__":
    sys.exit(main())
