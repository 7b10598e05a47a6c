"""The report of a climb: the decision first, the frontier, and the exit code."""

import json

import pytest

from core.errors import GateMissed
from core.interval import Interval
from qat.evaluation.evidence import Comparison, Score
from qat.ship.climb import Shipped
from qat.ship.report import decision, require_shipped, text
from qat.ship.trial import Trial

FP32 = Score(60.0, 0.0, 100.0)


def trial(title, ms, low, high=None, step="PTQ", labels=True, backend="openvino"):
    high = low + 0.4 if high is None else high
    points = Interval((low + high) / 2, low, high)
    change = Comparison(points if labels else None, Interval(0.01, 0.0, 0.02), points)
    score = Score(60 + points.value if labels else None, 0.01, 99.0)
    return Trial(
        step, title, backend, "run", "mIoU", score, change, ms, Interval(46 / ms, 5.0, 8.0), 75, 75, "engines/x"
    )


def shipped(winner, trials, val=None, stopped=""):
    return Shipped(0.5, winner, val, tuple(trials), (), FP32, 62, 11, 125.0, stopped)


def val(low, high):
    points = Interval((low + high) / 2, low, high)
    return FP32, Score(59.0, 0.01, 99.0), Comparison(points, points, points)


MSE, MAX = trial("PTQ, mse", 7.0, -0.08), trial("PTQ, max", 7.1, -0.9)


def test_the_decision_comes_first_and_the_runners_up_follow():
    found = shipped(MSE, [MAX, MSE], val(-0.1, 0.2))
    lines = text(found).splitlines()
    assert lines[0] == "Ship OpenVINO INT8 (PTQ, mse): 6.6× FP32, +0.12 mIoU [-0.08, +0.32], 75/75 in INT8"
    assert "val: mIoU 59.00 %, FP32 60.00 %" in text(found)
    assert [line for line in lines if line.startswith("runner-up: OpenVINO INT8 (PTQ, max)")]
    assert "2 min 5 s" in text(found)


def test_the_interval_must_lie_within_the_tolerance():
    assert trial("a", 1.0, -0.5).met(0.5)
    assert not trial("a", 1.0, -0.51, high=3.0).met(0.5)


def test_without_labels_the_agreement_decides():
    found = trial("a", 1.0, -0.4, labels=False)
    assert found.kept == found.change.agreement
    assert "% agreement" in decision(shipped(found, [found]))


def test_the_frontier_holds_what_nothing_beats():
    fast, slow, good, even = trial("f", 5, -1.0), trial("s", 9, -1.2), trial("g", 8, 0.0), trial("e", 8, -0.3)
    found = shipped(None, [fast, slow, good, even])
    assert [item.title for item in found.trials if found.on_front(item)] == ["f", "g"]


def test_nothing_within_the_tolerance_is_a_missed_gate_that_names_the_nearest():
    found = shipped(None, [MAX, trial("PTQ, entropy", 7.0, -2.0)])
    assert decision(found).startswith(
        "Nothing keeps the metric within 0.5 points of FP32; nearest: OpenVINO INT8 (PTQ, max)"
    )
    with pytest.raises(GateMissed) as error:
        require_shipped(found)
    assert "PTQ, max" in error.value.why
    with pytest.raises(GateMissed, match="no engine") as error:
        require_shipped(shipped(None, [], stopped="the budget of 20 min 0 s was spent"))
    assert "budget" in error.value.why


def test_val_only_vetoes_what_it_refutes():
    require_shipped(shipped(MSE, [MSE], val(-0.9, 0.1)))
    with pytest.raises(GateMissed, match="on val"):
        require_shipped(shipped(MSE, [MSE], val(-1.9, -0.6)))


def test_a_trial_is_read_back_as_it_was_written():
    for item in (MSE, trial("b", 3.0, -0.2, labels=False)):
        assert Trial.of_json(json.loads(json.dumps(item.to_json()))) == item
