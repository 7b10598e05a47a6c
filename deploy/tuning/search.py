"""Keep every change that makes the engine measurably faster and costs no accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.console import say, track
from deploy.targets.tuned import Scheme
from deploy.tuning.choices import Choice
from deploy.tuning.timing import Ratio

LEAST_GAIN = 0.003  # share of the time; below it a change is noise that the next machine does not have


@dataclass(frozen=True)
class Trial:
    """One change tried on the best scheme so far.

    Attributes:
        time: of the changed engine over the best so far; None where it was not built.
        verdict: "kept", "no faster", "same graph", or why it was refused.
    """

    choice: str
    time: Ratio | None
    verdict: str

    @property
    def kept(self) -> bool:
        return self.verdict == "kept"


Compare = Callable[[Scheme, Scheme], Ratio | str]  # (best, changed): time of changed over best, or why there is none


def search(start: Scheme, choices: Iterable[Choice], compare: Compare) -> tuple[Scheme, list[Trial]]:
    """Try each choice once on the best scheme so far.

    A change is kept when the whole 95 % interval of its time lies below 1 - `LEAST_GAIN` times the best so far.
    """
    best, trials = start, []
    for choice in track(list(choices), "autotune"):
        changed = choice.apply(best)
        found = compare(best, changed)
        trial = _judge(choice, found)
        trials.append(trial)
        if trial.kept:
            best = changed
        shown = trial.time.text("{:.4f}".format) if trial.time else ""
        say(f"autotune: {choice.name}: {shown} {trial.verdict}")
    return best, trials


def _judge(choice: Choice, found: Ratio | str) -> Trial:
    if isinstance(found, str):
        return Trial(choice.name, None, found)
    return Trial(choice.name, found, "kept" if found.high < 1 - LEAST_GAIN else "no faster")
