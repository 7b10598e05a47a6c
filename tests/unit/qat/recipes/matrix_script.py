"""Every pair of recipe settings, trained straight and interrupted.

`python matrix_script.py FOLDER TOOLKIT`, alone or under torchrun.

Prints one JSON object a row of `ROWS`: a hash of the weights, scales and ranges that each process ended with, straight
and resumed, whether every quantizer has a range, and how many epochs it took.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from qat.calibration.approaches import finish
from qat.processes.distributed import gathered, world_size
from qat.processes.stages import is_main
from qat.quantization.quantizers import quantizers
from tests.unit.qat.recipes.qat_script import STEPS_PER_EPOCH, Run

FEATURES = {"weight": 1.0, "temperature": 2.0, "features": ["stem", "blocks.*"], "feature_weight": 0.5}
FACTORS: dict[str, Sequence[Any]] = {
    "approach": ("calibrate", "stats_only", "direct"),
    "learned_scales": (False, True),
    "ema_decay": (None, 0.8),
    "early_stop_epochs": (None, 1),
    "distill": ({}, FEATURES, {"weight": 1.0, "labels": False}),
    "batch_norm_steps": (0, 4),
    "clip_norm": (None, 0.5),
    "freeze_last_epochs": (0.5, 1.0),
}
EPOCHS = 3
INTERRUPTED_AT = 5  # in the second epoch; the last checkpoint is that of step 4


def pairwise(factors: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Few combinations in which every two settings of different factors meet."""
    indices = [range(len(values)) for values in factors.values()]
    rows = list(product(*indices))
    pairs = {row: {((a, row[a]), (b, row[b])) for a, b in combinations(range(len(row)), 2)} for row in rows}
    open_pairs, chosen = set().union(*pairs.values()), []
    while open_pairs:
        chosen.append(max(rows, key=lambda row: len(pairs[row] & open_pairs)))
        open_pairs -= pairs[chosen[-1]]
    return [{name: factors[name][i] for name, i in zip(factors, row, strict=True)} for row in chosen]


ROWS = pairwise(FACTORS)


def digest(model: nn.Module) -> str:
    """Of every tensor and every extra state."""
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(name.encode())
        total.update(value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
    return total.hexdigest()


class Flat(Run):
    """Every epoch is as good as the first, so that a row with early stopping ends after two."""

    def score(self) -> float:
        return 0.0


def outcome(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of one row: digests of all processes, straight and resumed."""
    settings = {**settings, "epochs": EPOCHS, "batch_size": 2 // world_size()}
    straight = Flat(folder / "straight", **settings)
    straight.start()
    with suppress(InterruptedError):
        Flat(folder / "resumed", **settings).start(stop_at=INTERRUPTED_AT)
    resumed = Flat(folder / "resumed", **settings)
    resumed.start()
    for run in (straight, resumed):
        finish(run.model)
    lines = straight.plan.metrics.read_text(encoding="utf-8").splitlines()
    return {
        "straight": gathered(digest(straight.model)),
        "resumed": gathered(digest(resumed.model)),
        "ready": all(gathered(all(quantizer.is_set for quantizer in quantizers(straight.model).values()))),
        "epochs": max(json.loads(line)["step"] for line in lines) / STEPS_PER_EPOCH,
    }


def main(folder: Path, toolkit: str) -> None:
    torch.set_num_threads(1)
    PartialState(cpu=True)
    for number, settings in enumerate(ROWS):
        found = outcome(folder / str(number), {**settings, "toolkit": toolkit})
        if is_main():
            print(json.dumps({"settings": settings, **found}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
