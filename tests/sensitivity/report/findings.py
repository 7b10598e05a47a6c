"""Findings of an analysis, made up: of three groups, and of as many as wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qat.sensitivity.decide.pareto import Milliseconds
from qat.sensitivity.decide.search import Chosen, search
from qat.sensitivity.report.results import Findings
from qat.sensitivity.types import Cause, GroupScore, Measured, QuantizerGroup, Ranking
from tests.sensitivity.decide.formula import Formula


def findings(tolerance: float = 0.1) -> Findings:
    evaluator = Formula({"stem": 0.01, "body.0": 0.3, "head": 0.02}, tolerance)
    exact = Measured(0.3, 0.25, 0.35, 8)
    scores = (
        GroupScore("body.0", {"snr_db": Measured(11.0, 10.0, 12.0, 4)}, exact),
        GroupScore("head", {}),
        GroupScore("stem", {"snr_db": exact}),
    )
    ranking = Ranking(scores, 2.0)
    return Findings(
        tolerance=tolerance,
        tolerance_kind="loss_increase",
        groups=evaluator.groups,
        baseline=evaluator.baseline,
        ranking=ranking,
        chosen=search(evaluator, ranking),
        ranges={"body.0.weight_quantizer": [1.0, 2.0]},
        model=Path("best.pt"),
        command="python sensitivity_analysis.py --config config.yaml",
        causes=[Cause("body.0", 0.1, {"clipping": 0.1, "rounding": 0.0, "channels": 0.01}, {"max": 0.09})],
    )


def many(count: int) -> Findings:
    """Groups with long names of many layers each, all of them with every score, and latencies of the first ones."""
    names = [f"backbone.stages.{index}.blocks.{index}.attention.projection" for index in range(count)]
    groups = tuple(QuantizerGroup(name, (name,), "both", (name, "cat", "head.conv")) for name in names)
    damage = Measured(-0.000123, -0.000456, 0.00789, 24)
    scores = {name: Measured(0.12345, 0.1, 0.2, 24) for name in ("snr_db", "cosine", "kl")}
    cost = Milliseconds(0.25, 0.1, 0.3)
    return replace(
        findings(),
        groups=groups,
        ranking=Ranking(tuple(GroupScore(name, scores, damage) for name in names)),
        chosen=Chosen((names[0],), damage, True, True, (), 3),
        latency={names[0]: cost, names[1]: replace(cost, low=-0.1)},
        causes=(),
    )
