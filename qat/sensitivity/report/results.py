"""What the analysis found: results.json, the `skip:` list for a run config, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from core.artifacts import write_json, write_text
from core.errors import GateMissed
from qat.sensitivity.config import ProbeMode
from qat.sensitivity.decide.search import Chosen, layers_of
from qat.sensitivity.network.foreign import range_of
from qat.sensitivity.types import DAMAGE_TITLES, Baseline, Measured, Ranking, ToleranceKind, Unit

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Findings:
    """Everything one run of the analysis has to tell.

    Attributes:
        ranges: amax by quantizer name, one value or one for each channel.
        model: where the best model was saved.
        cost: seconds, evaluations and what else was counted, by name.
        per_class: metric of each class in percent, for the networks "float", "quantized" and "chosen".
        mode: whether a unit's scores are those of quantizing only it, or of all but it.
        weights_sha256: of the file of weights, which tells whose analysis this is; None where no file was read.
        engine: see `qat.sensitivity.decide.engine_check`; None when no engine was asked for or none can be built.
        latency: by unit, the milliseconds that the engine takes longer with it in float, and whether that is more than
            noise.
        front: points of the Pareto search (see `qat.sensitivity.decide.pareto`).
        recovered: what fine-tuning changed (see `qat.sensitivity.decide.recover`).
        histograms: of weights and activations of the worst units (see `qat.sensitivity.report.distributions`).
        left_float: layers whose quantizers `get_model` had turned off.
        notes: what could not be done, and why.
    """

    tolerance: float
    tolerance_kind: ToleranceKind
    units: Sequence[Unit]
    baseline: Baseline
    ranking: Ranking
    chosen: Chosen
    ranges: Mapping[str, Sequence[float]]
    model: Path
    command: str
    mode: ProbeMode = "one_in"
    weights_sha256: str | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    engine: Mapping[str, Any] | None = None
    front: Sequence[Mapping[str, Any]] = ()
    latency: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recovered: Mapping[str, Any] | None = None
    histograms: Sequence[Mapping[str, Any]] = ()
    left_float: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def met(self) -> bool:
        """Whether the model that was saved is within the tolerance."""
        return bool(self.recovered["met"]) if self.recovered else self.chosen.met

    @property
    def labels(self) -> dict[str, str]:
        """What a reader is shown for a unit, by its name."""
        return {unit.name: unit.label for unit in self.units}

    @property
    def skip(self) -> tuple[str, ...]:
        """Node names for `placement.skip`."""
        return (*self.left_float, *layers_of(self.units, self.chosen.float_units))


def to_json(found: Findings) -> dict[str, Any]:
    """`found` as JSON values; documented in docs/sensitivity.md."""
    by_name = {unit.name: unit for unit in found.units}
    return {
        "schema": SCHEMA_VERSION,
        "met": found.met,
        "weights_sha256": found.weights_sha256,
        "tolerance": {"kind": found.tolerance_kind, "limit": found.tolerance},
        "mode": found.mode,
        "damage": DAMAGE_TITLES[found.tolerance_kind],
        "baseline": asdict(found.baseline),
        "chosen": {**asdict(found.chosen), "skip": list(found.skip)},
        "model": str(found.model),
        "units": [
            {
                **asdict(by_name[score.unit]),
                "rank": place,
                "scores": {name: _value(value) for name, value in score.scores.items()},
                "exact": score.exact and asdict(score.exact),
                "float": score.unit in found.chosen.float_units,
            }
            for place, score in enumerate(found.ranking.units, start=1)
        ],
        "ranges": {name: list(values) for name, values in found.ranges.items()},
        "per_class": {name: dict(values) for name, values in found.per_class.items()},
        "latency": {name: dict(cost) for name, cost in found.latency.items()},
        "front": [dict(point) for point in found.front],
        "engine": found.engine,
        "recovered": found.recovered,
        "cost": {**found.ranking.cost, **found.cost},
        "histograms": list(found.histograms),
        "notes": list(found.notes),
        "environment": dict(found.environment),
        "command": found.command,
    }


def _value(score: Measured | float) -> Any:
    return asdict(score) if isinstance(score, Measured) else float(score)


def skip_yaml(found: Findings) -> str:
    """The section to paste into a run config, so that `make qat` leaves the chosen units in float."""
    return yaml.safe_dump({"placement": {"skip": list(found.skip)}}, sort_keys=False)


def write_results(found: Findings, folder: Path) -> None:
    """Write `results.json` and `skip.yaml` into `folder`."""
    write_json(folder / "results.json", to_json(found))
    write_text(folder / "skip.yaml", skip_yaml(found))


def ranges_of(model: nn.Module) -> dict[str, list[float]]:
    """amax of every quantizer, ours or another toolkit's, by module path; quantizers without one are left out."""
    ranges = {name: range_of(module) for name, module in model.named_modules()}
    return {
        name: [float(value) for value in amax.reshape(-1)]
        for name, amax in ranges.items()
        if amax is not None and bool(amax.isfinite().all())
    }


def verdict(found: Findings) -> str:
    """One line: the damage of the chosen set against the tolerance."""
    damage = found.chosen.damage
    interval = f"[{damage.low:.4g}, {damage.high:.4g}]"
    word = "met" if found.met else "MISSED"
    recovered = f", after recovery {found.recovered['after']:.4g}" if found.recovered else ""
    return (
        f"tolerance {word}: {found.tolerance_kind} {damage.value:.4g} {interval}{recovered}, limit {found.tolerance:g}"
    )


def require_met(found: Findings) -> None:
    """Raise `GateMissed` (exit code 1) when the tolerance was missed."""
    if not found.met:
        raise GateMissed(
            verdict(found),
            why="no set of float units that was tried brings the model within it",
            fix=f"raise `tolerance`, or add a `recover:` section; the model as it is: {found.model}",
        )
