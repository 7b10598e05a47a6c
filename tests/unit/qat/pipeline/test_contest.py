"""The decision between PTQ and the trained network, from intervals alone."""

import pytest

from core.config import QatConfig
from core.errors import UserError
from core.interval import Interval
from qat.evaluation.evidence import Comparison
from qat.pipeline.contest import judged, require_evidence, without_contest

SAME = Interval(0.0, -0.1, 0.1)
UP, DOWN = Interval(0.5, 0.1, 0.9), Interval(-0.5, -0.9, -0.1)


@pytest.mark.parametrize(
    ("metric", "divergence", "agreement", "ships", "says"),
    [
        (UP, SAME, SAME, "qat", "QAT gained on the tuning split (+0.50 [+0.10, +0.90] mIoU)"),
        (UP, DOWN, UP, "qat", "gained"),
        (UP, UP, SAME, "ptq", "moved away from FP32"),
        (UP, SAME, DOWN, "ptq", "moved away from FP32"),
        (SAME, DOWN, UP, "ptq", "QAT showed no gain on the tuning split (+0.00 [-0.10, +0.10] mIoU)"),
        (Interval(0.4, 0.0, 0.8), DOWN, UP, "ptq", "no gain"),
        (DOWN, SAME, SAME, "ptq", "no gain"),
        (None, DOWN, UP, "qat", "closer to FP32"),
        (None, DOWN, DOWN, "ptq", "not closer"),
        (None, SAME, UP, "ptq", "not closer"),
        (None, UP, DOWN, "ptq", "not closer"),
    ],
)
def test_the_trained_network_must_gain_and_stay_near_fp32(metric, divergence, agreement, ships, says):
    found, why = judged(Comparison(metric, divergence, agreement), "mIoU")
    assert found == ships
    assert says in why
    assert why.endswith("the trained network ships" if ships == "qat" else "the PTQ network ships")


def test_config_decides_where_nothing_is_compared():
    assert without_contest(QatConfig(epochs=0)).ships == "ptq"
    assert without_contest(QatConfig(epochs=2, keep="last")).ships == "qat"


@pytest.mark.parametrize("groups", [(), (0, 0, 0, 1, 1, 2)])
def test_too_few_groups_are_no_evidence(groups):
    with pytest.raises(UserError, match="too few to choose by"):
        require_evidence(groups)
    require_evidence((0, 1, 2, 3))
