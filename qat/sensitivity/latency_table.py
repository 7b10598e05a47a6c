"""What each unit costs in float: milliseconds of the engine, measured once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core.artifacts import read_json, sha256_json, write_json
from core.console import track
from deploy.timing import BOOTSTRAP_RESAMPLES, Samples
from qat.sensitivity.engines import ALL_INT8, Engines
from qat.sensitivity.types import Unit


@dataclass(frozen=True)
class Milliseconds:
    """A latency or a difference of two, with its 95 % interval over rounds."""

    value: float
    low: float
    high: float


def latency_table(engines: Engines, units: Sequence[Unit], file: Path) -> dict[str, Milliseconds]:
    """By unit: how much slower the engine is with this unit in float than with everything in INT8.

    Each pair of engines is timed in turns. What `file` already holds for the same network, backend and settings is
    not measured again, so the table survives an interruption.
    """
    known = read_json(file) if file.is_file() else {}
    table: dict[str, Milliseconds] = {}
    for unit in track(units, "latency of the units"):
        key = sha256_json([engines.key, sorted(unit.layers)])
        if key not in known:
            samples = engines.time({"int8": ALL_INT8, "float": unit.layers})
            known[key] = asdict(slower_by(samples["float"], samples["int8"]))
            write_json(file, known)
        table[unit.name] = Milliseconds(**known[key])
    return table


def slower_by(candidate: Samples, baseline: Samples, seed: int = 0) -> Milliseconds:
    """Median over rounds of each round's difference, with a percentile-bootstrap interval over rounds."""
    differences = np.median(candidate, axis=1) - np.median(baseline, axis=1)
    draws = np.random.default_rng(seed).integers(len(differences), size=(BOOTSTRAP_RESAMPLES, len(differences)))
    low, high = np.percentile(np.median(differences[draws], axis=1), (2.5, 97.5))
    return Milliseconds(float(np.median(differences)), float(low), float(high))


def median_ms(samples: Samples, seed: int = 0) -> Milliseconds:
    """Median over rounds of the median run, with a percentile-bootstrap interval over rounds."""
    return slower_by(samples, np.zeros_like(samples), seed)
