"""Chooses between QAT and PTQ: the trained network ships only where it beats its own PTQ on the tuning split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import fx, nn

from core.config import Config, QatConfig
from core.console import say
from core.errors import UserError
from core.files.artifacts import write_json
from core.files.paths import RunPaths
from core.interval import Interval
from deploy.targets import get_backend, title_of
from qat.device import device_for
from qat.evaluation.engine import engine_answers
from qat.evaluation.evidence import LEAST_GROUPS, Answers, Comparison, Evaluator, Score
from qat.evaluation.simulate import save_calibration
from qat.processes.distributed import gathered
from qat.processes.stages import is_main
from qat.tasks import task_of, tuning_of
from qat.tasks.base import Task
from qat.training.train_log import MetricsFile

POINTS = "{:+.2f}".format
NATS = "{:+.2g}".format


@dataclass(frozen=True)
class Decision:
    """The network that ships, and the reason.

    Attributes:
        why: one sentence for people.
        comparison: the trained network minus PTQ on the tuning split; None where they were not compared.
        scores: on the tuning split, of "fp32", "ptq" and "qat".
        engines: the comparison on engines, by backend; made only where fake quantizers show a gain.
    """

    ships: Literal["ptq", "qat"]
    why: str
    comparison: Comparison | None = None
    scores: tuple[tuple[str, Score], ...] = ()
    engines: tuple[tuple[str, Comparison], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "ships": self.ships,
            "why": self.why,
            "qat_minus_ptq": self.comparison and self.comparison.to_json(),
            "qat_minus_ptq_engines": {name: compared.to_json() for name, compared in self.engines},
            "tuning": {name: score.to_json() for name, score in self.scores},
        }


class Contest:
    """Compares PTQ, measured before training, with the trained network."""

    def __init__(self, evaluator: Evaluator, ptq: fx.GraphModule, config: Config, paths: RunPaths) -> None:
        self.evaluator, self.ptq, self.config, self.paths = evaluator, ptq, config, paths
        self._before = evaluator.answers(ptq)
        say(f"ptq: {described(evaluator.score(self._before), evaluator.task)} on the tuning split, before training")

    def decide(self, trained: fx.GraphModule) -> Decision:
        """Compare the best epoch with PTQ, first with fake quantizers, then on the engines that can be built here.

        Engines round less than fake quantizers do (uint8 where no value is negative, fused layers), so training may
        repair an error that only the simulation has.
        """
        after = self.evaluator.answers(trained)
        compared = self._compared(after, self._before)
        networks = {"fp32": self.evaluator.fp32, "ptq": self._before, "qat": after}
        scores = tuple((name, self.evaluator.score(answers)) for name, answers in networks.items())
        ships, why = judged(compared, self.evaluator.task.metric)
        engines: dict[str, Comparison] = {}
        if ships == "qat":
            engines = self._on_engines(trained)
            verdicts = {name: judged(found, self.evaluator.task.metric) for name, found in engines.items()}
            refusals = [(name, why) for name, (ships, why) in verdicts.items() if ships == "ptq"]
            if refusals:
                ships, why = "ptq", f"on {title_of(refusals[0][0])}, {refusals[0][1]}"
        return Decision(ships, why, compared, scores, tuple(engines.items()))

    def _on_engines(self, trained: fx.GraphModule) -> dict[str, Comparison]:
        """Comparisons by backend. Each process builds the engines and runs them on its share of the images."""
        if is_main():
            save_calibration(self.config, self.paths)
        gathered(None)  # other processes wait for the first one
        found: dict[str, Comparison] = {}
        for name in self.config.deploy.backends:
            backend = get_backend(name)
            if backend.available("int8") is None and backend.runnable("int8") is None:
                ours, theirs = (
                    engine_answers(each, self.config, self.paths, backend, self.evaluator)
                    for each in (trained, self.ptq)
                )
                found[name] = self._compared(ours, theirs)
        return found

    def _compared(self, after: Answers, before: Answers) -> Comparison:
        return self.evaluator.compare(after, before, looks=max(self.config.qat.epochs, 1))


def judged(compared: Comparison, metric: str) -> tuple[Literal["ptq", "qat"], str]:
    """The choice between the two, and a sentence about it. A tie goes to PTQ, which needs no training.

    With labels the trained network must gain in the metric. It must not be farther from FP32 than PTQ is, either: on
    images like its training images, a network trained with labels gains as much as it loses elsewhere. Without labels
    it must be closer to FP32.
    """
    divergence = f"{compared.divergence.text(NATS)} KL per pixel"
    if compared.metric is None:
        if compared.divergence.high < 0 and compared.agreement.high >= 0:
            return "qat", f"QAT is closer to FP32 on the tuning split ({divergence}): the trained network ships"
        return "ptq", f"QAT is not closer to FP32 on the tuning split ({divergence}): the PTQ network ships"
    points = points_of(compared.metric, metric)
    if compared.metric.low <= 0:
        return "ptq", f"QAT showed no gain on the tuning split ({points}): the PTQ network ships"
    if compared.divergence.low > 0 or compared.agreement.high < 0:
        away = f"moved away from FP32 ({divergence}, {compared.agreement.text(POINTS)} % of pixels)"
        return "ptq", f"QAT gained on the tuning split ({points}) but {away}: the PTQ network ships"
    return "qat", f"QAT gained on the tuning split ({points}): the trained network ships"


def points_of(change: Interval, metric: str) -> str:
    """`+0.10 [-0.05, +0.24] mIoU`."""
    return f"{change.text(POINTS)} {metric}"


def described(score: Score, task: Task) -> str:
    """A score as progress shows it."""
    metric = "" if score.metric is None else f"{task.metric} {score.metric:.2f} %, "
    return f"{metric}{score.agreement:.2f} % of {task.answers} as FP32"


def without_contest(config: QatConfig) -> Decision:
    """The decision that the config fixes."""
    if config.epochs == 0:
        return Decision("ptq", "qat.epochs is 0: the PTQ network ships")
    return Decision("qat", "qat.keep is last: what was trained is kept, unproven")


def tuning_evaluator(config: Config, reference: nn.Module) -> Evaluator | None:
    """The evaluator of a training that chooses between epochs or networks; None where there is no choice.

    Raises:
        UserError: there are too few tuning images to choose by.
    """
    qat = config.qat
    if qat.epochs == 0 or (qat.keep == "last" and qat.early_stop_epochs is None):
        return None
    tuning = tuning_of(config)
    require_evidence(tuning.groups)
    network = reference.to(device_for(config.device))
    return Evaluator(tuning, network, config.data, config.model.num_classes, task_of(config))


def require_evidence(groups: Sequence[int]) -> None:
    """Raise `UserError` where tuning images are too few, or too alike, for an interval."""
    if len(set(groups)) < LEAST_GROUPS:
        raise UserError(
            f"the tuning split has {len(groups)} images in {len(set(groups))} groups: too few to choose by",
            why="it is held out from train, and with so few images it cannot show whether training helps",
            fix="add training images, raise data.tuning.share, or ship the trained network: qat.keep=last",
        )


def tuning_score(evaluator: Evaluator, model: nn.Module) -> float:
    """The score of an epoch, higher is better: the metric, or without labels the fidelity to FP32."""
    found = evaluator.score(evaluator.answers(model))
    return -found.divergence if found.metric is None else found.metric


def record(decision: Decision, paths: RunPaths, stage: str) -> None:
    """Print the decision, write it, and add it to the metrics."""
    say(f"{stage}: {decision.why}")
    write_json(paths.decision, decision.to_json())
    MetricsFile(paths.metrics, "decision", resumed_step=-1).append({"step": 0, **decision.to_json()})
