"""core/interval.py: one record for a value with its interval, as text, as JSON, and unchangeable."""

import dataclasses

import pytest

from core.interval import Interval


def test_text_has_the_unit_behind_the_value_and_the_bounds_in_brackets():
    ratio = Interval(1.4321, 1.4, 1.46)
    assert ratio.text() == "1.43 [1.40, 1.46]"
    assert ratio.text("{:.1f}".format, "×") == "1.4× [1.4, 1.5]"


def test_json_has_the_three_numbers():
    assert Interval(2.0, 1.0, 3.0).to_json() == {"value": 2.0, "low": 1.0, "high": 3.0}


def test_it_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Interval(2.0, 1.0, 3.0).value = 4.0
