"""Find every change of the start that is a gain by itself, and combine them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.console import say, track
from core.interval import Interval
from deploy.targets.tuned import Scheme
from deploy.tuning.choices import Choice

LEAST_GAIN = 0.0005  # share of the cost; below it a change is noise that the next machine does not have


@dataclass(frozen=True)
class Trial:
    """One change tried on the start.

    Attributes:
        change: of the cost, as a share of the start's; None where the engine was not built.
        verdict: "gains", "no gain", "same graph", or why it was refused.
    """

    choice: Choice
    change: Interval | None
    verdict: str

    @property
    def gains(self) -> bool:
        return self.verdict == "gains"


Compare = Callable[[Scheme, Scheme], Interval | str]  # (before, after): change of the cost, or why there is none


def search(start: Scheme, choices: Iterable[Choice], compare: Compare) -> list[Trial]:
    """Try each choice on the start by itself.

    A change gains when its whole 95 % interval lies below -`LEAST_GAIN`. Gains are local, so that many small ones,
    which no timing of the whole engine can resolve, may add up.
    """
    trials = []
    for choice in track(list(choices), "autotune"):
        trials.append(_tried(choice, compare(start, choice.apply(start))))
        change = trials[-1].change
        say(f"autotune: {choice.name}: {change.text('{:+.2%}'.format) if change else ''} {trials[-1].verdict}")
    return trials


def _tried(choice: Choice, found: Interval | str) -> Trial:
    if isinstance(found, str):
        return Trial(choice, None, found)
    return Trial(choice, found, "gains" if found.high < -LEAST_GAIN else "no gain")


def combined(start: Scheme, trials: Iterable[Trial], refused: Callable[[Scheme], str]) -> Scheme:
    """`start` with the changes that gain, the largest first, each unless the scheme is then refused."""
    best = start
    gains = [(trial.change.value, trial.choice) for trial in trials if trial.gains and trial.change]
    for _, choice in sorted(gains, key=lambda gain: gain[0]):
        if why := refused(choice.apply(best)):
            say(f"autotune: {choice.name} is left out of the sum: {why}")
        else:
            best = choice.apply(best)
    return best
