"""`metric_relative` is a share of FP32's metric on all images, also where a metric of few images is 0."""

from __future__ import annotations

import math

import pytest

from core.errors import UserError
from qat.sensitivity.pipeline import analyse
from tests.sensitivity.users import PLAIN, write_user

ALL_ONLY = "def evaluate(model, loader):\n    return 80.0 if len(loader.dataset) > 20 else 0.0\n"
NOTHING = "def evaluate(model, loader):\n    return 0.0\n"


@pytest.mark.parametrize("mode", ["one_in", "one_out"])
def test_folds_with_a_metric_of_zero_have_a_damage(tmp_path, mode: str) -> None:
    config = write_user(tmp_path, PLAIN, later=ALL_ONLY, mode=mode, tolerance_kind="metric_relative")
    exact = [score.exact for score in analyse(config).ranking.groups if score.exact]
    assert exact
    assert all(math.isfinite(value) for one in exact for value in (one.value, one.low, one.high))


def test_a_share_of_nothing_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="the metric of the float network is 0"):
        analyse(write_user(tmp_path, PLAIN, later=NOTHING, tolerance_kind="metric_relative"))
