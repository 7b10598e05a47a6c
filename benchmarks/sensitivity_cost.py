"""What a ranking costs: ours against one full evaluation for each unit, in one run on one machine.

python benchmarks/sensitivity_cost.py --config examples/sensitivity_pidnet/config.yaml [--debug]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":  # run as a file: Python looks in benchmarks/ only, and may not be the project's own
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from core.bootstrap import use_project_environment

    use_project_environment()

from core.console import track
from core.errors import run_cli


def main() -> int:
    """Command line; prints JSON, returns the exit code."""
    parser = argparse.ArgumentParser(prog="python benchmarks/sensitivity_cost.py", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args()
    return run_cli(lambda: print(json.dumps(cost(arguments.config), indent=2)), debug=arguments.debug)


def cost(path: Path) -> dict[str, float]:
    """Seconds of both rankings; neither finds anything in a cache."""
    import torch

    from qat.sensitivity.config import load_sensitivity_config
    from qat.sensitivity.pipeline import analyse

    with tempfile.TemporaryDirectory() as folder:
        config = load_sensitivity_config(path).model_copy(update={"cache": Path(folder) / "probes.jsonl"})
        found = analyse(config)
    probes, subject = found.judge.probes, found.subject
    started = time.perf_counter()
    with torch.no_grad():
        for unit in track(subject.units, "naive: one full evaluation a unit"):
            for chunk in probes.images.chunks(range(len(probes.images))):
                image, target = probes.inputs(chunk)
                with subject.only(frozenset({unit.name})):
                    probes.criterion(subject.model(image), target)
    naive = time.perf_counter() - started
    ours = found.ranking.cost["total_s"]
    return {
        "units": len(subject.units),
        "images": len(probes.images),
        "naive_s": naive,
        "ours_s": ours,
        "times_faster": naive / ours,
        "ours_in_full_evaluations_by_time": ours / (naive / len(subject.units)),
        "ours_in_full_evaluations_by_nodes": found.ranking.cost["full_evaluations"],
    }


if __name__ == "__main__":
    sys.exit(main())
