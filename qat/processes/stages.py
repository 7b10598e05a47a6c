"""Stages under several processes: the first one decides, all take part, the first one writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from core.stages import Stage, begin, ensure, record
from qat.device import device_for, process_on


def is_main() -> bool:
    """Return True if this process writes files (there is one such process)."""
    return bool(_process().is_main_process)


def on_all_processes(stage: Stage, manifest: Path, build: Callable[[], None]) -> None:
    """`core.stages.ensure`, with `build` run by every process if the first one finds the stage stale."""
    process = _process()
    if process.num_processes == 1:
        ensure(stage, manifest, build)
        return
    decision = [begin(stage, manifest) if process.is_main_process else None]
    broadcast_object_list(decision)
    if decision[0]:
        build()
        process.wait_for_everyone()
        if process.is_main_process:
            record(stage, manifest)
    process.wait_for_everyone()


def _process() -> PartialState:
    return process_on(device_for())
