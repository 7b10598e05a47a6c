"""Kills the QAT pipeline over and over: `python kill_script.py FOLDER APPROACH TOOLKIT SEED`.

One line runs without interruption in FOLDER/straight. Another in FOLDER/killed dies by SIGKILL, at chosen points of
its work and at random moments, and is started again until it finishes. Both run in forks of this process, which has
imported everything, so that a start takes no time. Prints the points at which it died, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import qat.calibration.statistics
import qat.training.train
from core.config import Config, load_config
from core.files.paths import RunPaths
from qat.pipeline import run as pipeline
from qat.quantization.toolkits import with_toolkit_chosen
from tests.small_line import CONFIG, settings

FACTORY = """
from torch import nn
from tests.nets.residual import ResidualNet


def net(num_classes):
    return nn.Sequential(ResidualNet(num_classes), nn.Dropout(0.2))
"""
OVERRIDES = [
    "model.checkpoint=null",
    "train.epochs=1",
    "train.batch_size=2",
    "train.checkpoint_every_steps=1",
    "qat.epochs=6",
    "qat.learned_scales=true",
    "qat.warmup_steps=2",
    "qat.clip_norm=1.0",
    "qat.batch_norm_steps=2",
    "qat.ema_decay=0.8",
    "qat.early_stop_epochs=9",
    "qat.distill.weight=1.0",
]
# Counted events, and the occurrences at which the run dies, each in a separate start.
POINTS = {
    "step": (2, 3, 2),
    "half a file": (1, 2, 3),
    "before a rename": (2, 3),
    "after a rename": (1, 2, 4),
}
RANDOM_KILLS = 6
KEPT = "last.resume.pt"


def main(folder: Path, approach: str, toolkit: str, seed: int) -> None:
    torch.set_num_threads(1)
    chosen = f"qat.approach={approach}", f"qat.toolkit={toolkit}"
    chance = random.Random(seed)
    straight = config_in(folder / "straight", *chosen)
    with_toolkit_chosen(straight)  # imports it, so that no fork needs to
    begun = time.monotonic()
    assert start(straight) == 0
    whole_s = time.monotonic() - begun
    points = {**POINTS, "calibrated tensor": () if approach == "direct" else (1, 9)}
    deaths: list[Any] = [(what, occurrence) for what, occurrences in points.items() for occurrence in occurrences]
    # Exporting takes most of the time: later kills would leave no training for the chosen points.
    deaths += [chance.uniform(0.02, 0.12) * whole_s for _ in range(RANDOM_KILLS)]
    chance.shuffle(deaths)
    config = config_in(folder / "killed", *chosen)
    died = [death for death in [*deaths, ("evaluation", 1)] if start(config, death) == -signal.SIGKILL]
    assert start(config) == 0
    print(json.dumps(died))


def config_in(folder: Path, *own: str) -> Config:
    """The config of a run in `folder`, which becomes the current directory of its processes."""
    folder.mkdir(parents=True)
    files = settings(folder)
    (folder / "net.py").write_text(FACTORY, encoding="utf-8")
    os.chdir(folder)
    relative = [setting.replace(f"{folder}/", "") for setting in files]
    return load_config(CONFIG, [*relative, *OVERRIDES, *own])


def start(config: Config, death: Any = None) -> int:
    """Run the line in a fork that dies at `death`: (what, occurrence), or after so many seconds; its exit status."""
    child = os.fork()
    if child == 0:
        _run(config, death if isinstance(death, tuple) else None)
    if isinstance(death, float):
        time.sleep(death)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run(config: Config, death: tuple[str, int] | None) -> None:
    status = 1
    try:
        if death:
            _die_at(*death)
        _keep_last_checkpoint(RunPaths(config.run))
        pipeline.ensure(config)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _die_at(what: str, occurrence: int) -> None:
    left = [occurrence]

    def wrapped(function: Callable[..., Any], before: Callable[..., None]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                before(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return counted

    def nothing(*_: Any) -> None:
        pass

    def half(_value: Any, file: Path) -> None:
        file.write_bytes(b"PK\x03\x04 half of a checkpoint")

    owner, name, before = {
        "calibrated tensor": (qat.calibration.statistics, "_record", nothing),
        "step": (qat.training.train.Stepper, "step", nothing),
        "half a file": (torch, "save", half),
        "before a rename": (os, "replace", nothing),
        "after a rename": (os, "replace", os.replace),
        "evaluation": (pipeline, "save_predictions", nothing),
    }[what]
    setattr(owner, name, wrapped(getattr(owner, name), before))


def _keep_last_checkpoint(paths: RunPaths) -> None:
    """The pipeline deletes it at the end: it holds the optimizer, the average and the best epoch."""
    last = pipeline.save_calibration

    def saving(*arguments: Any) -> None:
        last(*arguments)
        shutil.copy(paths.qat_checkpoint.with_name("qat.resume.pt"), KEPT)

    pipeline.save_calibration = saving


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
