"""The SNR budget: operators go back to float until it holds, first the operators that win most SNR for their work.

The order comes from the noise that each operator alone brings (`deploy.checks.noise`); every step is then measured on
an engine and taken back if it gains nothing. The plan names each operator in float, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.console import say
from deploy.apps.quantize.choose import Chooser, Recipe, Trial
from deploy.apps.quantize.pictures import thinned
from deploy.checks.fidelity import lost_points
from deploy.checks.noise import Noise, noise_by_node
from deploy.plan.plan import BUDGET, SkippedNode
from deploy.targets.base import Backend, Tensors

LEAST_SHARE = 0.01  # of the output noise, for a step to be worth its measurement
NOISE_ON = 3  # pictures that operators are ordered by
MOST = 16  # operators in float; a network that needs more needs training
PATIENCE = 3  # steps in a row that gain nothing


@dataclass(frozen=True)
class Budget:
    """The loss that INT8 may bring.

    Attributes:
        snr_db: the least SNR of each output.
        tolerance: points of agreement or IoU with FP32; None: any.
    """

    snr_db: float
    tolerance: float | None = None

    def holds(self, trial: Trial) -> bool:
        """Return True if a trial stays within the budget."""
        lost = lost_points(trial.outputs)
        close = self.tolerance is None or lost is None or lost <= self.tolerance
        return close and min(each.snr_db for each in trial.outputs) >= self.snr_db


def within(
    budget: Budget,
    best: Trial,
    chooser: Chooser,
    backend: Backend,
    images: Sequence[Any],
    references: Sequence[Tensors],
) -> list[Trial]:
    """`best` and the steps from it, the last step that gained first.

    Args:
        images: to choose by.
        references: outputs of FP32 on them.
    """
    if budget.holds(best):
        return [best]
    taken, refused, trials = [best], 0, list[Trial]()
    for item in _order(best.recipe, chooser, backend, thinned(images, NOISE_ON)):
        if refused == PATIENCE or len(taken[0].recipe.in_float) == MOST or budget.holds(taken[0]):
            break
        kept = (*taken[0].recipe.in_float, item)
        trial = chooser.trial(replace(best.recipe, in_float=kept), backend, images, references)
        if trial.gains(taken[0], clearly=False):
            say(f"in float: {item.node}: {item.why}")
            taken.insert(0, trial)
            refused = 0
        else:
            trials.append(trial)
            refused += 1
    return [*taken, *trials]


def _order(recipe: Recipe, chooser: Chooser, backend: Backend, images: Sequence[Any]) -> list[SkippedNode]:
    own = chooser.following(replace(recipe, bias_correction=False))
    found = noise_by_node(own.graph, own.decided(backend), images)
    power, work = (max(sum(getattr(item, name) for item in found), 1e-30) for name in ("power", "work"))
    loud = [item for item in found if item.power >= LEAST_SHARE * power]
    return [SkippedNode(node=item.node, rule=BUDGET, why=_why(item, power, work)) for item in loud]


def _why(item: Noise, power: float, work: float) -> str:
    return f"its INT8 brings {item.power / power:.1%} of the output noise and does {item.work / work:.1%} of the work"
