"""The findings of an analysis: results.json, the `skip:` list for a run config, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from core.errors import GateMissed
from core.files.artifacts import write_json, write_text
from qat.sensitivity.config import RankingMode
from qat.sensitivity.decide.pareto import Milliseconds, Point
from qat.sensitivity.decide.search import Chosen, layers_of
from qat.sensitivity.network.foreign import range_of
from qat.sensitivity.types import DAMAGE_TITLES, Baseline, Cause, QuantizerGroup, Ranking, ToleranceKind

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Findings:
    """The results of one run of the analysis.

    Attributes:
        ranges: amax by quantizer name, one value or one for each channel.
        model: where the best model was saved.
        per_class: metric of each class in percent, by its name or number, for the networks "float",
            "quantized" and "chosen".
        mode: a group's scores are those of quantizing only it (one_in), or all but it (one_out).
        weights_sha256: of the file of weights; None where no file was read.
        engine: see `qat.sensitivity.decide.engine_check`; None when no engine was wanted or none can be built.
        latency: by group, the milliseconds that the engine takes longer with it in float.
        front: points of the Pareto search.
        recovered: the effect of fine-tuning (see `qat.sensitivity.decide.recover`).
        causes: of the damage in the worst groups.
        histograms: of weights and activations of the worst groups (see `qat.sensitivity.report.distributions`).
        left_float: layers whose quantizers `get_model` had turned off.
        notes: parts of the analysis that could not be done, and why.
    """

    tolerance: float
    tolerance_kind: ToleranceKind
    groups: Sequence[QuantizerGroup]
    baseline: Baseline
    ranking: Ranking
    chosen: Chosen
    ranges: Mapping[str, Sequence[float]]
    model: Path
    command: str
    mode: RankingMode = "one_in"
    weights_sha256: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    engine: Mapping[str, Any] | None = None
    front: Sequence[Point] = ()
    latency: Mapping[str, Milliseconds] = field(default_factory=dict)
    recovered: Mapping[str, Any] | None = None
    causes: Sequence[Cause] = ()
    histograms: Sequence[Mapping[str, Any]] = ()
    left_float: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def met(self) -> bool:
        """The model that was saved is within the tolerance."""
        return bool(self.recovered["met"]) if self.recovered else self.chosen.met

    @property
    def labels(self) -> dict[str, str]:
        """The label of each group by its name."""
        return {group.name: group.label for group in self.groups}

    @property
    def skip(self) -> tuple[str, ...]:
        """Node names for `placement.skip`."""
        return (*self.left_float, *layers_of(self.groups, self.chosen.float_groups))


def to_json(found: Findings) -> dict[str, Any]:
    """`found` as JSON values; documented in docs/guides/sensitivity.md."""
    values = asdict(found)
    by_name = {group.name: asdict(group) for group in found.groups}
    ranking = values.pop("ranking")
    values |= {
        "schema": SCHEMA_VERSION,
        "met": found.met,
        "model": str(found.model),
        "tolerance": {"kind": values.pop("tolerance_kind"), "limit": found.tolerance},
        "damage": DAMAGE_TITLES[found.tolerance_kind],
        "chosen": values["chosen"] | {"skip": found.skip},
        "groups": [
            by_name[score["group"]]
            | {"rank": place, "scores": score["scores"], "exact": score["exact"]}
            | {"float": score["group"] in found.chosen.float_groups}
            for place, score in enumerate(ranking["groups"], start=1)
        ],
        "causes": [
            {**asdict(cause), "fault": cause.fault, "share": cause.share, "mend": cause.mend} for cause in found.causes
        ],
        "latency": {name: {**asdict(cost), "is_noise": cost.is_noise} for name, cost in found.latency.items()},
        "front": [{**asdict(point), "is_noise": point.is_noise} for point in found.front],
        "cost": {"full_evaluations": found.ranking.full_evaluations},
    }
    return values


def skip_yaml(found: Findings) -> str:
    """The section to paste into a run config, so that `make qat` leaves the chosen groups in float."""
    return yaml.safe_dump({"placement": {"skip": list(found.skip)}}, sort_keys=False)


def write_results(found: Findings, folder: Path) -> None:
    """Write `results.json` and `skip.yaml` into `folder`."""
    write_json(folder / "results.json", to_json(found))
    write_text(folder / "skip.yaml", skip_yaml(found))


def ranges_of(model: nn.Module) -> dict[str, list[float]]:
    """amax of every quantizer, ours or another toolkit's, by module path; quantizers without one are left out."""
    ranges = {name: range_of(module) for name, module in model.named_modules()}
    return {
        name: amax.reshape(-1).tolist()
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
            why="no set of float groups that was tried brings the model within it",
            fix=f"raise `tolerance`, or add a `recover:` section; the model as it is: {found.model}",
        )
