"""What each unit costs in float: milliseconds of the engine, measured once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core.artifacts import read_json, sha256_json, write_json
from core.console import track
from deploy.tuning.timing import BOOTSTRAP_RESAMPLES, Samples
from qat.sensitivity.decide.engines import ALL_INT8, Engines
from qat.sensitivity.types import Unit

BASELINE = "all INT8"


@dataclass(frozen=True)
class Milliseconds:
    """A latency or a difference of two, with its 95 % interval over rounds."""

    value: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Of a difference: whether it cannot be told from none."""
        return self.low <= 0 <= self.high


def latency_table(engines: Engines, units: Sequence[Unit], file: Path) -> dict[str, Milliseconds]:
    """By unit: how much slower the engine is with this unit in float than with everything in INT8.

    All engines take turns with the all-INT8 one in one run, and differences are taken round by round. What `file`
    already holds for the same network, backend and settings is not measured again.
    """
    known = read_json(file) if file.is_file() else {}
    keys = {unit.name: sha256_json([engines.key, sorted(unit.layers)]) for unit in units}
    missing = [unit for unit in units if keys[unit.name] not in known]
    if missing:
        for unit in track(missing, "building an engine for each unit"):
            engines.bundle(unit.layers)
        samples = engines.time({BASELINE: ALL_INT8} | {f"unit {unit.name}": unit.layers for unit in missing})
        known |= {
            keys[unit.name]: asdict(slower_by(samples[f"unit {unit.name}"], samples[BASELINE])) for unit in missing
        }
        write_json(file, known)
    return {unit.name: Milliseconds(**known[keys[unit.name]]) for unit in units}


def slower_by(candidate: Samples, baseline: Samples, seed: int = 0) -> Milliseconds:
    """Median over rounds of each round's difference, with a percentile-bootstrap interval over rounds."""
    differences = np.median(candidate, axis=1) - np.median(baseline, axis=1)
    draws = np.random.default_rng(seed).integers(len(differences), size=(BOOTSTRAP_RESAMPLES, len(differences)))
    low, high = np.percentile(np.median(differences[draws], axis=1), (2.5, 97.5))
    return Milliseconds(float(np.median(differences)), float(low), float(high))


def median_ms(samples: Samples, seed: int = 0) -> Milliseconds:
    """Median over rounds of the median run, with a percentile-bootstrap interval over rounds."""
    return slower_by(samples, np.zeros_like(samples), seed)
