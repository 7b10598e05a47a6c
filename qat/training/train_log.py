"""The log of a training run: JSON lines in a file, and progress on the terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from core.console import PLAIN_PERIOD_S, duration, say
from core.files.artifacts import write_text


class MetricsFile:
    """Appends one JSON object a line; several stages share the file, each line names its own.

    Opening drops the stage's lines past `resumed_step`: those steps are about to be done again. Of several processes
    only one is `enabled`.
    """

    def __init__(self, path: Path, stage: str, resumed_step: int, *, enabled: bool = True) -> None:
        self.path, self.stage, self.enabled = path, stage, enabled
        if not enabled:
            return
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        kept = "".join(f"{line}\n" for line in text.splitlines() if self._is_kept(line, resumed_step))
        if kept != text or not path.exists():
            write_text(path, kept)

    def append(self, values: dict[str, Any]) -> None:
        """Add a line with the stage's name and `values`."""
        if not self.enabled:
            return
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, **values}) + "\n")

    def _is_kept(self, line: str, resumed_step: int) -> bool:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # the process died while it wrote this line
            return False
        return bool(record["stage"] != self.stage or record["step"] <= resumed_step)


class Progress:
    """Says every ten seconds, and at the last step, how far the training is."""

    def __init__(self, stage: str, first_step: int, total_steps: int, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.stage, self.first_step, self.total_steps = stage, first_step, total_steps
        self.started_s = self.said_s = time.monotonic()

    def report(self, step: int, loss: float) -> None:
        """`step` steps of the whole training are done; `loss` is that of the last one."""
        now_s = time.monotonic()
        if not self.enabled or (now_s - self.said_s < PLAIN_PERIOD_S and step < self.total_steps):
            return
        self.said_s = now_s
        seconds_per_step = (now_s - self.started_s) / (step - self.first_step)
        left = duration((self.total_steps - step) * seconds_per_step)
        say(f"{self.stage}: step {step}/{self.total_steps}, loss {loss:.4f}, {left} left")
