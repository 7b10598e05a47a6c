"""The cost of a ranking: ours against one full evaluation for each group, in turns in one run on one machine.

python benchmarks/studies/sensitivity_cost.py --config examples/sensitivity_pidnet/config.yaml [--rounds 3] [--debug]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from core.cli.bootstrap import use_project_environment

    use_project_environment()

from core.cli.command import run_command
from core.cli.options import add_common_options, count
from core.cli.parser import Parser
from core.console import track

if TYPE_CHECKING:
    from qat.sensitivity.pipeline import Analysis


def main() -> int:
    """Command line; prints JSON, returns the exit code."""
    return run_command(parser())


def parser(prog: str = "python benchmarks/studies/sensitivity_cost.py") -> Parser:
    """The options of this command."""
    made = Parser(prog=prog, description=__doc__)
    made.add_argument("--config", type=Path, required=True, metavar="FILE", help="such as config.yaml of an analysis")
    made.add_argument("--rounds", type=count, default=3, metavar="N", help="rankings of ours")
    add_common_options(made)
    made.set_defaults(run=lambda given: print(json.dumps(cost(given.config, given.rounds), indent=2)))
    return made


def cost(path: Path, rounds: int) -> dict[str, Any]:
    """Seconds of both rankings; neither finds anything in a cache, and ours includes the baseline.

    Each round makes one whole ranking of ours and evaluates one share of the groups, so that a machine that becomes
    faster or slower does so for both.
    """
    import numpy as np

    from qat.sensitivity.config import load_sensitivity_config
    from qat.sensitivity.pipeline import analyse

    with tempfile.TemporaryDirectory() as folder:
        config = load_sensitivity_config(path).model_copy(update={"cache": Path(folder) / "trials.jsonl"})
        found = analyse(config)
    groups = [group.name for group in found.subject.groups]
    ours, naive, executed = list[float](), list[list[float]](), 0.0
    for number in range(rounds):
        seconds, executed = _ranking(found)
        ours.append(seconds)
        naive.append([_evaluation(found, group) for group in track(groups[number::rounds], "naive")])
    return {
        "groups": len(groups),
        "images": len(found.evaluator.trials.images),
        "ours_s": ours,
        "naive_s": sum(map(sum, naive)),
        "ours_in_full_evaluations_by_time": [one / float(np.mean(many)) for one, many in zip(ours, naive, strict=True)],
        "ours_in_full_evaluations_by_executed_nodes": executed,
    }


def _ranking(found: Analysis) -> tuple[float, float]:
    """Seconds of the baseline and the ranking, and the share of the network that was computed, in full evaluations."""
    from qat.sensitivity.measure.cache import TrialCache
    from qat.sensitivity.measure.evaluator import ImageEvaluator
    from qat.sensitivity.measure.rank import rank_groups
    from qat.sensitivity.measure.trials import Trials

    known = found.evaluator.trials
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        cache = TrialCache(Path(folder) / "trials.jsonl", "cost")
        trials = Trials(found.subject, known.images, known.criterion, cache, known.evaluate)
        rank_groups(ImageEvaluator(trials, found.config))
        return time.perf_counter() - started, trials.forwards / len(known.images)


def _evaluation(found: Analysis, group: str) -> float:
    """Seconds for the loss on all images with only this group quantized."""
    import torch

    trials, subject = found.evaluator.trials, found.subject
    started = time.perf_counter()
    with torch.no_grad(), subject.only(frozenset({group})):
        for chunk in trials.images.chunks(range(len(trials.images))):
            image, target = trials.inputs(chunk)
            trials.criterion(subject.model(image), target)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
